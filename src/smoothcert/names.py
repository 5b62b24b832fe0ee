"""Text that comes from others (folder names, notes in files), made harmless to show or to store."""

import re
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's controls, formats (direction marks, zero widths), lone surrogates, separators."""

_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet computes: with the ASCII signs, or their wide forms."""

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")


def visible(text: str, keep: str = "") -> str:
    """The text with everything that is not seen, or moves what is seen, as an escape.

    So a name cannot colour a terminal, reverse what stands behind it or break a line, and can be
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
    """A count with the noun as it fits: `1 class`, `2 classes`, `0 runs`."""
    ending = "es" if what.endswith("s") else "s"
    return f"{count} {what}{'' if count == 1 else ending}"


def cell(text: str) -> str:
    """A text cell of a CSV or TSV table that no spreadsheet takes for a formula.

    A leading apostrophe is the spreadsheets' own mark of text. Not for numbers: they stay numbers.
    """
    shown = visible(text)
    return f"'{shown}" if _FORMULA.match(text) or shown != text else shown


def is_plain_file(name: str) -> bool:
    """Whether it names a file in the folder at hand and in no other, on every system."""
    return _FILE.fullmatch(name) is not None
