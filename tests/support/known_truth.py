"""A linear classifier whose smoothed probabilities are known exactly."""

from dataclasses import dataclass
from fractions import Fraction

import mpmath
import numpy as np
from mpmath import mpf
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


@dataclass(frozen=True)
class PixelBins:
    """The class is how many thresholds + 1/2 the sum of the pixels, in grid steps, is above."""

    thresholds: tuple[int, ...]
    levels: int = LEVELS
    name: str = "pixel-bins"
    device: str = "cpu"
    fixed_batch: int | None = None

    @property
    def fingerprint(self) -> str:
        return f"pixel-bins-{self.thresholds}"

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        total = np.rint(images * self.levels).sum(axis=(1, 2, 3))
        above = (total[:, None] > np.array(self.thresholds) + 0.5).sum(axis=1)
        return np.eye(len(self.thresholds) + 1, dtype=np.float32)[above]


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


def log_tail(k: int, n: int, p: float | mpf) -> mpf:
    """log P[Bin(n, p) >= k] to some 30 digits, also at 10^9 trials and 10^-300.

    The continued fraction of the incomplete beta function (DLMF 8.17.22), on the side where it
    converges, by Lentz's algorithm at 50 digits.
    """
    if k <= 0:
        return mpf(0)
    with mpmath.workdps(50):
        p, a, b = mpf(p), mpf(k), mpf(n - k + 1)
        if p * (a + b + 2) < a + 1:
            return _log_beta_part(a, b, p)
        return mpmath.log1p(-mpmath.exp(_log_beta_part(b, a, 1 - p)))


def _log_beta_part(a: mpf, b: mpf, x: mpf) -> mpf:
    d = 1 / (1 - (a + b) * x / (a + 1))
    c, fraction, m, change = mpf(1), d, 0, mpf(0)
    while abs(change - 1) > mpf(10) ** -40:
        m += 1
        change = mpf(1)
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + step * d), 1 + step / c
            change = c * d
            fraction *= change
    log_beta = mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)
    return (
        a * mpmath.log(x) + b * mpmath.log1p(-x) - mpmath.log(a) - log_beta + mpmath.log(fraction)
    )


def hypergeometric_tail(hits: int, sampled: int, size: int, members: int) -> mpf:
    """P[Hypergeometric >= hits] to some 25 digits, for populations too large for fractions."""

    def choose(n, k):
        return mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)

    least, most = max(0, sampled - (size - members)), min(sampled, members)
    if hits <= least:
        return mpf(1)
    upwards = hits * size > sampled * members
    j, step = (hits, 1) if upwards else (hits - 1, -1)
    with mpmath.workdps(40):
        log_term = choose(members, j) + choose(size - members, sampled - j) - choose(size, sampled)
        total = term = mpmath.exp(log_term)
        while least < j < most or (j == least and upwards) or (j == most and not upwards):
            if upwards:
                term *= mpf((members - j) * (sampled - j)) / (
                    (j + 1) * (size - members - sampled + j + 1)
                )
            else:
                term *= mpf(j * (size - members - sampled + j)) / (
                    (members - j + 1) * (sampled - j + 1)
                )
            total, j = total + term, j + step
            if term < total * mpf(10) ** -30:
                break
        return total if upwards else 1 - total
