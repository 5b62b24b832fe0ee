"""The rounded Gaussian's distribution function as 64-bit integers, by exact-enough arithmetic.

A threshold is `round(2^64 * Phi(z))` at `z = (e - 1/2) / ratio`. Floats carry 53 bits of it,
so it is computed in 256-bit fixed point from `Phi(z) = 1/2 + phi(z) * sum z^(2k+1)/(2k+1)!!`.
"""

from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BITS = 256
_ONE = 1 << _BITS
_DIGITS = 90
_PI = Decimal(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803"
)


@lru_cache(maxsize=16)
def thresholds(ratio: Fraction) -> NDArray[np.uint64]:
    """Increasing T with T[j] = round(2^64 * P[E <= j - len(T)/2]), E the rounded Gaussian.

    Args:
        ratio: sigma divided by the grid step, exactly.

    Returns:
        uint64 array of even length 2m: `searchsorted(T, u, "right") - m` turns a uniform
        64-bit u into a draw in -m..m. What lies beyond rounds to no 64-bit integer at all.
    """
    above = []
    while True:
        tail = _upper_tail(Fraction(2 * len(above) + 1, 2) / ratio)
        if tail == 0:
            break
        above.append(tail)
    lower_half = np.array(above[::-1], dtype=np.uint64)
    # P[E <= e - 1] = 1 - P[E >= e]: in 64-bit wrap-around, 2^64 - t is 0 - t.
    table = np.concatenate([lower_half, np.uint64(0) - lower_half[::-1]])
    table.setflags(write=False)
    return table


def _upper_tail(z: Fraction) -> int:
    """round(2^64 * (1 - Phi(z))) for z > 0; the 256-bit sums are good to about 180 bits."""
    fixed = (z.numerator << _BITS) // z.denominator
    square = fixed * fixed >> _BITS
    term, total, odd = fixed, 0, 1
    while term:
        total += term
        odd += 2
        term = (term * square >> _BITS) // odd
    tail = (_ONE >> 1) - (total * _density(z) >> _BITS)
    return max(0, tail + (1 << (_BITS - 65))) >> (_BITS - 64)


def _density(z: Fraction) -> int:
    """The standard normal density at z, times 2^256."""
    with localcontext() as context:
        context.prec = _DIGITS
        exponent = -((Decimal(z.numerator) / Decimal(z.denominator)) ** 2) / 2
        return int(exponent.exp() / (2 * _PI).sqrt() * _ONE)
