"""A linear classifier whose smoothed probabilities are known exactly."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVELS = 16


@dataclass(frozen=True)
class PixelSum:
    """Class 1 where the sum of the pixels, in grid steps, is above threshold + 1/2."""

    threshold: int
    levels: int = LEVELS
    name: str = "pixel-sum"
    device: str = "cpu"
    fixed_batch: int | None = None

    @property
    def fingerprint(self) -> str:
        return f"pixel-sum-{self.threshold}"

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        total = np.rint(images * self.levels).sum(axis=(1, 2, 3))
        margin = total - self.threshold - 0.5
        return np.stack([-margin, margin], axis=1)


def sum_law(sigma: float, levels: int, elements: int) -> tuple[NDArray[np.float64], int]:
    """Probabilities of the sum of rounded Gaussian noise, and the value of the first of them."""
    reach = int(np.ceil(10 * sigma * levels))
    edges = (np.arange(-reach, reach + 2) - 0.5) / (sigma * levels)
    one = np.diff(special.ndtr(edges))
    law = np.ones(1)
    for _ in range(elements):
        law = np.convolve(law, one)
    return law, -reach * elements


def probability_above(threshold: int, pixels: NDArray, sigma: float, levels: int = LEVELS) -> float:
    """P[sum of pixels and noise > threshold], to float precision."""
    law, first = sum_law(sigma, levels, pixels.size)
    needed = threshold + 1 - int(pixels.sum()) - first
    return float(law[max(0, needed) :].sum())


def tail(k: int, n: int, p: float) -> tuple[Fraction, Fraction]:
    """Rigorous lower and upper bounds on P[Bin(n, p) >= k] for 0 < p < 1 a float.

    Terms relative to the mode come from exact rational ratios, rounded down and up in 320-bit
    fixed point; what lies beyond the last term is bounded by a geometric series.
    """
    if k <= 0:
        return Fraction(1), Fraction(1)
    m, d = p.as_integer_ratio()
    odds = (m, d - m)
    mode = min(n, int((n + 1) * Fraction(p)))
    above = _walk(n, mode, odds, +1)
    below = _walk(n, mode, odds, -1)
    terms = dict(below) | dict(above)
    rest = 1 << 200  # generous: the last term is below 2^-120 of the mode's and ratios are < 1/2
    hits = [terms[i] for i in terms if i >= k]
    low = sum(t[0] for t in hits)
    high = sum(t[1] for t in hits) + rest
    misses = [terms[i] for i in terms if i < k]
    low_miss, high_miss = sum(t[0] for t in misses), sum(t[1] for t in misses) + rest
    return Fraction(low, low + high_miss), Fraction(high, high + low_miss)


_BITS = 320


def _walk(n: int, mode: int, odds: tuple[int, int], step: int) -> list:
    """(i, (low, high)) of term i over the mode's term, from the mode outwards until negligible."""
    low = high = 1 << _BITS
    terms = [(mode, (low, high))]
    i = mode
    while 0 <= i + step <= n:
        if step > 0:
            top, bottom = (n - i) * odds[0], (i + 1) * odds[1]
        else:
            top, bottom = i * odds[1], (n - i + 1) * odds[0]
        low = low * top // bottom
        high = -(-high * top // bottom)
        i += step
        terms.append((i, (low, high)))
        if high < 1 << (_BITS - 140) and 2 * top < bottom:
            break
        if high < 1 << (_BITS - 200):
            break
    return terms
