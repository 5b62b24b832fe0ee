"""Text: untrusted names escaped, figures rounded to the safe side, counts with their nouns."""

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's controls, formats (direction marks, zero widths), lone surrogates, separators."""

_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""How a cell that a spreadsheet computes begins: with the ASCII signs, or their wide forms."""

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")


def visible(text: str, keep: str = "") -> str:
    """The text with every character that is invisible, or moves visible text, escaped.

    So a name cannot colour a terminal, reverse the text after it or break a line, and can be
    written as UTF-8. The characters of `keep` stay.
    """
    return "".join(
        character.encode(
            "unicode_escape" if character.isascii() else "ascii", "backslashreplace"
        ).decode("ascii")
        if character not in keep and unicodedata.category(character) in _HIDDEN
        else character
        for character in text
    )


def many(count: int, what: str) -> str:
    """A count with its noun, singular or plural: `1 class`, `2 classes`, `0 runs`."""
    ending = "es" if what.endswith("s") else "s"
    return f"{count} {what}{'' if count == 1 else ending}"


def cell(text: str) -> str:
    """A text cell of a CSV or TSV table that no spreadsheet reads as a formula.

    A leading apostrophe is how spreadsheets mark text. Not for numbers: they stay numbers.
    """
    shown = visible(text)
    return f"'{shown}" if _FORMULA.match(text) or shown != text else shown


def is_plain_file(name: str) -> bool:
    """Whether it names a file in the current folder and in no other, on every system."""
    return _FILE.fullmatch(name) is not None


def units_below(value: float | Fraction, digits: int) -> int:
    """The largest multiple of 10^-digits not above the value, as a whole number of such units."""
    return math.floor(Fraction(value) * 10**digits)  # exactly, whatever the binary expansion


def floor_to(value: float | Fraction, digits: int) -> str:
    """A figure rounded down to a number of decimals: 0.49961 is 0.499 and never 0.5."""
    units = units_below(value, digits)
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), 10**digits)
    return f"{sign}{whole}.{part:0{digits}d}"


def ceil_to(value: float | Fraction, digits: int) -> str:
    """`floor_to` for upper limits: rounded up."""
    return floor_to(-value, digits).removeprefix("-")


def p_value(p: float, exact: bool = True) -> str:
    """A p-value, rounded up: `1`, `0.0313`, `< 0.001`; with `about` where it is approximate."""
    about = "" if exact else "about "
    if p < 0.001:
        return f"< {about}0.001"
    return f"{about}{ceil_to(p, 4) if p <= 0.9999 else 1}"


def level(*alphas: float) -> str:
    """The sum of error probabilities, at most 1, in six digits, rounded up."""
    total = sum((Decimal(repr(float(alpha))) for alpha in alphas), Decimal(0))
    return f"{float(Context(prec=6, rounding=ROUND_CEILING).plus(min(total, Decimal(1)))):g}"


def percent(share: float, count: int) -> str:
    """A share of `count` things in percent, rounded down to one decimal; 29 of 100 is 29.0."""
    tenths = round(share * count) * 1000 // count
    return f"{tenths // 10}.{tenths % 10} %"


def delimited(rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    """Rows of cells as CSV, or with another delimiter; see `cell`."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()
