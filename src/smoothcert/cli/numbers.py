"""Numbers as people write them: 1e5, 100k or 100,000 draws, a sigma of 64/255."""

import re
from contextlib import suppress
from fractions import Fraction

import typer

_TIMES = {"k": 1000, "m": 10**6}
_GROUPED = re.compile(r"[1-9]\d{0,2}([,_']\d{3})+")


def count(text: str | int) -> int:
    """A whole number: `100000`, `1e5`, `100k`, `0.1M`, `100,000`."""
    written = str(text).strip()
    plain = re.sub("[,_']", "", written) if _GROUPED.fullmatch(written) else written
    times = _TIMES.get(plain[-1:].lower(), 1)
    value = _fraction(plain[:-1] if times > 1 else plain)
    # 100.000 is a hundred to some and a hundred thousand to others.
    unclear = "." in plain and times == 1 and "e" not in plain.lower()
    if unclear or value is None or (value * times).denominator != 1:
        raise typer.BadParameter(f"{written!r} is no whole number; write it as 100000, 1e5 or 100k")
    return int(value * times)


def real(text: str | float) -> float:
    """A number: `0.25`, `1e-3`, or a fraction as `64/255`."""
    written = str(text).strip()
    with suppress(ValueError):
        return float(written)  # its range, and what is not finite, is for who uses it
    value = _fraction(written)
    if value is None:
        dotted = written.replace(",", ".")
        hint = f". Did you mean {dotted}?" if _fraction(dotted) is not None else ""
        raise typer.BadParameter(f"{written!r} is no number; write it as 0.25 or 64/255{hint}")
    return float(value)


def _fraction(text: str) -> Fraction | None:
    """The value, if it is written in plain digits and is of a size that a float has."""
    over, _, under = text.partition("/")
    try:
        floats = float(over), float(under or 1)
        if len(text) > 100 or not all(abs(one) < 1e300 for one in floats):
            return None
        return Fraction(over) / Fraction(under or 1)
    except (ValueError, ZeroDivisionError):
        return None
