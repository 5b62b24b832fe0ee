"""Figures as text, cut to the safe side and never rounded to the nearest."""

import math
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction


def units_below(value: float | Fraction, digits: int) -> int:
    """The largest whole number of units of so many decimals that is not above the value."""
    return math.floor(Fraction(value) * 10**digits)  # exactly, whatever the binary expansion


def floor_to(value: float | Fraction, digits: int) -> str:
    """A figure cut, not rounded, to so many decimals: 0.49961 is 0.499 and never 0.5."""
    units = units_below(value, digits)
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), 10**digits)
    return f"{sign}{whole}.{part:0{digits}d}"


def ceil_to(value: float, digits: int) -> str:
    """`floor_to` for upper limits: cut upward."""
    return floor_to(-value, digits).removeprefix("-")


def level(*alphas: float) -> str:
    """The sum of error probabilities, at most 1, in six digits and cut upward."""
    total = sum((Decimal(repr(float(alpha))) for alpha in alphas), Decimal(0))
    return f"{float(Context(prec=6, rounding=ROUND_CEILING).plus(min(total, Decimal(1)))):g}"


def percent(share: float, count: int) -> str:
    """A share of `count` things in percent, cut after one decimal; 29 of 100 is 29.0."""
    tenths = round(share * count) * 1000 // count
    return f"{tenths // 10}.{tenths % 10} %"
