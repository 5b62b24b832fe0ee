"""The exact test with gains: cached votes, replayed winners and replayed losers in one region.

K of n cached draws are votes for the class. Of the winners, m_w are replayed and X of them are
lost; of the losers, m_l are replayed and Y of them are gained. Both sizes were fixed before any
counted draw was looked at. So K ~ Bin(n, p), X ~ Bin(m_w, u), Y ~ Bin(m_l, v), and
p' = p (1 - u) + (1 - p) v. Ordering, limit and rounding are as in `exact`; a cell here is a
rectangle of two shares, P[f = c = f'] and P[f = c != f'] (docs/theory.md, section 13).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds.buehler import (
    ABSOLUTE,
    RELATIVE,
    SCALE,
    TIE,
    cached_draws,
    limits,
    next_theta,
    weights_of,
)
from smoothcert.bounds.counts import rising
from smoothcert.compilation import compiled

_SPARED = 0.05  # of alpha: what may be left of it, so that few cells show that it is kept
_ATTEMPTS = 16  # at a theta that holds, each with one more place to climb from
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1), (1, 1), (-1, -1))
_MOST_CELLS = 200_000  # for one theta, which counts as no limit if it needs more


def lower(
    k: ArrayLike,
    n: int,
    flips: ArrayLike,
    winners: int,
    gains: ArrayLike,
    losers: int,
    alpha: float,
) -> NDArray[np.float64]:
    """Lower limits of p' where fixed numbers of winners and losers are replayed.

    Args:
        k: cached votes for the class, any shape.
        n: cached draws.
        flips: replayed winners that the new classifier does not give the class; broadcasts with k.
        winners: winners that are replayed, at least 1; fixed beforehand.
        gains: replayed losers that the new classifier gives the class; broadcasts with k.
        losers: losers that are replayed, at least 1; fixed beforehand.
        alpha: error probability, in (0, 1); less than `buehler.LEAST_ALPHA` gives 0.

    Returns:
        Array of the broadcast shape, with P[limit > p'] <= alpha; rounded down. 0 where there are
        fewer winners or losers than are to be replayed.

    Raises:
        InvalidInput: alpha out of range, counts that are not whole or exceed what they are of, or
            more than `buehler.MOST_DRAWS` cached draws.
    """
    n = cached_draws(n)
    winners = int(rising(one=1, winners=winners, n=n)[1])
    losers = int(rising(one=1, losers=losers, n=n)[1])
    k, flips, gains = np.broadcast_arrays(k, flips, gains)
    outcome = (
        rising(k=k, n=n)[0].astype(np.int64),
        rising(flips=flips, winners=winners)[0].astype(np.int64),
        rising(gains=gains, losers=losers)[0].astype(np.int64),
    )
    return limits(
        lambda row, z: _limit(row[0], n, row[1], winners, row[2], losers, alpha, z), outcome, alpha
    )


@compiled
def _limit(k: Any, n: Any, x: Any, mw: Any, y: Any, ml: Any, alpha: Any, z: Any) -> Any:
    """The limit at one outcome."""
    level = _statistic(k, n, x, mw, y, ml, z)
    if level <= 0 or k < mw or n - k < ml:
        return 0.0
    least = _region(level - TIE, n, mw, ml, z)
    starts = np.empty((_ATTEMPTS, 2))  # of climbs: shares of theta and of 1 - theta
    starts[0] = 0.98, (k + 1.0) / (n + 2.0) * (x + 1.0) / (mw + 2.0)
    theta = level
    for attempt in range(_ATTEMPTS):
        theta = _solve(least, n, theta, alpha, starts[: attempt + 1])
        theta = np.floor(theta * (1 - 1e-6 * 4.0**attempt + 1e-6) * SCALE) / SCALE
        if theta <= 0:
            break
        holds, a, b = _holds(least, n, theta, alpha)
        if holds:
            return theta
        if attempt + 1 < _ATTEMPTS:  # where another maximum is, higher than those climbed
            starts[attempt + 1] = a / theta, b / (1 - theta)
    return 0.0


@njit(error_model="numpy")
def _statistic(k, n, x, mw, y, ml, z):
    """The estimate of p' less z standard errors, of a gain that counts at most half a kept vote.

    -1 where less than half the votes are for the class, or where it might fall as they grow.
    """
    p, kept = (k + 1.0) / (n + 2.0), (mw - x + 1.0) / (mw + 2.0)
    gained, other = min((y + 1.0) / (ml + 2.0), 0.5 * kept), 1 - p
    rest, spread = kept - gained, kept * (1 - kept) / mw
    if p < 0.5 or rest < z * np.sqrt(spread):
        return -1.0
    variance = rest * rest * p * other / n + p * p * spread
    variance += other * other * gained * (1 - gained) / ml
    return gained + p * rest - z * np.sqrt(variance)


@njit(error_model="numpy")
def _region(level, n, mw, ml, z):
    """The least votes in the region, by flips and gains; n + 1 where there are none.

    The region holds what is ordered as high as a positive level, which rises with the votes, and,
    so that it is monotone, all with as few flips and as many gains as that.
    """
    least = np.full((mw + 1, ml + 1), n + 1, np.int32)
    for x in range(mw + 1):
        for y in range(ml + 1):
            low, high = mw - 1, n - ml + 1  # the first is out, the last is in or beyond all
            while high - low > 1:
                middle = (low + high) // 2
                if _statistic(middle, n, x, mw, y, ml, z) >= level:
                    high = middle
                else:
                    low = middle
            if high <= n - ml:
                least[x, y] = high
    for x in range(mw - 1, -1, -1):
        for y in range(ml + 1):
            least[x, y] = min(least[x, y], least[x + 1, y])
    for x in range(mw + 1):
        for y in range(1, ml + 1):
            least[x, y] = min(least[x, y], least[x, y - 1])
    return least


@njit(error_model="numpy")
def _chance(least, n, p, u, v):
    """P[(K, X, Y) in the region], rounded up."""
    first, votes = weights_of(n, p)
    total = 0.0
    for i in range(len(votes) - 1, -1, -1):
        total += votes[i]
        votes[i] = total  # P[K >= first + i], but for the factor
    lowest_x, flips = weights_of(least.shape[0] - 1, u)
    lowest_y, gains = weights_of(least.shape[1] - 1, v)
    inside, last = 0.0, first + len(votes) - 1
    for i in range(len(flips)):
        row = 0.0
        for j in range(len(gains)):
            k = least[lowest_x + i, lowest_y + j]
            if k <= last:
                row += gains[j] * votes[max(0, k - first)]
        inside += row * flips[i]
    return inside / (total * flips.sum() * gains.sum()) * (1 + RELATIVE) + ABSOLUTE


@njit(error_model="numpy")
def _at(least, n, theta, a, b):
    """The chance at p (1 - u) = a, p u = b and p' = theta."""
    p = a + b
    u = min(1.0, b / p) if p > 0 else 0.0
    v = min(1.0, (theta - a) / (1 - p)) if p < 1 else 0.0
    return _chance(least, n, p, u, v)


@njit(error_model="numpy")
def _on_cell(least, n, theta, cell, alpha):
    """What the chance is at most for a and b in [cell[0], cell[1]] x [cell[2], cell[3]].

    It may stop at the first corner that is above alpha, as the cell is halved then in any case.

    The probability of (k, x, y) is a constant times (a + b)^(k - m_w) (1 - a - b)^(n - k - m_l)
    b^x a^(m_w - x) (theta - a)^y (1 - theta - b)^(m_l - y). No exponent is negative, so its
    logarithm is concave. As in `exact`, the exponentials of the tangents at the cell's middle add
    up to a convex function, which is largest at a corner. Where that is worth nothing, at the
    edges, the most votes, the fewest flips and the most gains of the cell bound the chance.
    """
    a0, a1, b0, b1 = cell
    da, db = 0.5 * (a1 - a0), 0.5 * (b1 - b0)
    a, b = a0 + da, b0 + db
    mw, ml = least.shape[0] - 1, least.shape[1] - 1
    p, other, last = a + b, theta - a, 1 - theta - b
    u, v = b / p, other / (1 - p)
    bound = 0.0
    for corner in range(4):
        ya, yb = da if corner & 1 else -da, db if corner & 2 else -db
        votes, lost = (ya + yb) / (p * (1 - p)), yb / b - ya / a
        gained = yb / last - ya / other
        if max(votes, lost, gained) > 30:
            return _extreme(least, n, theta, cell)
        by_k, by_x, by_y = p * np.expm1(votes), u * np.expm1(lost), v * np.expm1(gained)
        factor = n * (np.log1p(by_k) - (ya + yb) / (1 - p))
        factor += mw * (np.log1p(by_x) - (ya + yb) / p + ya / a)
        factor += ml * (np.log1p(by_y) + (ya + yb) / (1 - p) - yb / last)
        if factor > 30:
            return _extreme(least, n, theta, cell)
        tilted_p, tilted_u = p * np.exp(votes) / (1 + by_k), u * np.exp(lost) / (1 + by_x)
        tilted_v = v * np.exp(gained) / (1 + by_y)
        chance = np.exp(factor) * _chance(least, n, tilted_p, tilted_u, tilted_v)
        bound = max(bound, chance * (1 + RELATIVE))
        if bound > alpha:
            return min(bound, _extreme(least, n, theta, cell)) if da < 1e-5 or db < 1e-5 else bound
    return bound


@njit(error_model="numpy")
def _extreme(least, n, theta, cell):
    """The chance with the most votes, the fewest flips and the most gains of a cell."""
    a0, a1, b0, b1 = cell
    u = b0 / (a1 + b0) if a1 + b0 > 0 else 0.0
    v = (theta - a0) / (1 - a0 - b1) if 1 - a0 - b1 > 0 else 1.0
    return _chance(least, n, min(1.0, a1 + b1), max(0.0, u), min(1.0, max(0.0, v)))


@njit(error_model="numpy")
def _climb(least, n, theta, start):
    """The largest chance that steps from a start lead to, halved where none goes up."""
    a, b, step = start[0] * theta, start[1] * (1 - theta), 0.02
    best = _at(least, n, theta, a, b)
    while step > 2e-4:
        moved = False
        for direction in range(8):
            i, j = _DIRECTIONS[direction]
            c = min(theta, max(0.0, a + i * step * theta))
            d = min(1 - theta, max(0.0, b + j * step * (1 - theta)))
            value = _at(least, n, theta, c, d)
            if value > best:
                best, a, b, moved = value, c, d, True
                break
        if not moved:
            step *= 0.5
    return best


@njit(error_model="numpy")
def _solve(least, n, theta, alpha, starts):
    """The theta at which the largest chance near the starts is just below alpha; 0 for none."""
    low, high, below, above = 0.0, 1.0, -np.inf, np.inf
    aim = np.log(alpha * (1 - _SPARED))
    for _ in range(60):
        largest = 0.0
        for i in range(len(starts)):
            largest = max(largest, _climb(least, n, theta, starts[i]))
        log = np.log(largest) - aim
        if log > 0:
            high, above = theta, log
        else:
            low, below = theta, log
        if -0.3 * _SPARED < log <= 0 or high - low < 1 / SCALE or theta < 1 / SCALE:
            break
        theta = next_theta(theta, low, high, below, above)
    return low


@njit(error_model="numpy")
def _holds(least, n, theta, alpha):
    """(whether at most alpha is shown under every law with p' <= theta, a, b): else where not.

    The chance falls with u and rises with v, so the laws with p' = theta have the largest.
    """
    cells = np.empty((400, 4))
    cells[0] = np.array([0.0, theta, 0.0, 1 - theta])
    mw, ml, left = least.shape[0] - 1, least.shape[1] - 1, 1
    for _ in range(_MOST_CELLS):
        if left == 0:
            return True, 0.0, 0.0
        if left > 390:
            break
        left -= 1
        cell = cells[left].copy()
        if _on_cell(least, n, theta, cell, alpha) <= alpha:
            continue
        a, b = 0.5 * (cell[0] + cell[1]), 0.5 * (cell[2] + cell[3])
        p = a + b
        if not (cell[0] < a < cell[1] and cell[2] < b < cell[3] and p < 1):
            break
        if _at(least, n, theta, a, b) > alpha:
            return False, a, b
        # Halved along the side on which the likelihood changes more.
        votes = (n - mw - ml) / (p * (1 - p))
        by_a = votes + mw / (a * p) + ml / ((theta - a) * (1 - p))
        by_b = votes + mw / (b * p) + ml / ((1 - theta - b) * (1 - p))
        cells[left], cells[left + 1] = cell, cell
        if (cell[1] - cell[0]) * np.sqrt(by_a) >= (cell[3] - cell[2]) * np.sqrt(by_b):
            cells[left, 1], cells[left + 1, 0] = a, a
        else:
            cells[left, 3], cells[left + 1, 2] = b, b
        left += 2
    return False, 0.0, 0.0
