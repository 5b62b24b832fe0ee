"""The exact test with gains: cached votes, replayed winners and replayed losers in one region.

K of n cached draws are votes for the class. At k votes, a plan that was fixed before any counted
draw was looked at replays M(k) of the winners, of which X are lost, and L(k) of the losers, of
which Y are gained. So K ~ Bin(n, p), X ~ Bin(M, u), Y ~ Bin(L, v), and p' = p (1 - u) + (1 - p) v.
Ordering, limit and rounding are as in `exact`; a cell here is a rectangle of two shares,
P[f = c = f'] and P[f = c != f'] (docs/theory.md, section 13).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds.buehler import SCALE, TIE, cached_draws, limits, worth
from smoothcert.bounds.counts import rising
from smoothcert.bounds.gains_supremum import holds, solve
from smoothcert.compilation import compiled

_ATTEMPTS = 16  # at a theta that holds, each with one more place to climb from


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
    k, flips, gains = np.broadcast_arrays(
        rising(k=k, n=n)[0],
        rising(flips=flips, winners=winners)[0],
        rising(gains=gains, losers=losers)[0],
    )
    votes = np.arange(n + 1)
    enough = (votes >= winners) & (n - votes >= losers)
    plan = np.where(enough, winners, 0), np.where(enough, losers, 0)
    proven = enough[k.astype(np.int64)]
    flips, gains = np.where(proven, flips, 0), np.where(proven, gains, 0)
    return lower_planned(k, flips, gains, *plan, alpha)


def lower_planned(
    k: ArrayLike,
    flips: ArrayLike,
    gains: ArrayLike,
    winners: ArrayLike,
    losers: ArrayLike,
    alpha: float,
) -> NDArray[np.float64]:
    """Lower limits of p' where the cached votes decide how many winners and losers are replayed.

    Args:
        k: cached votes for the class, any shape.
        flips: replayed winners that the new classifier does not give the class; broadcasts with k.
        gains: replayed losers that the new classifier gives the class; broadcasts with k.
        winners: winners replayed at 0, 1, ..., n cached votes, shape (n + 1,), at most as many.
        losers: losers likewise, at most as many as there are.
        alpha: error probability, in (0, 1); less than `buehler.LEAST_ALPHA` gives 0.

    Returns:
        Array of the broadcast shape, with P[limit > p'] <= alpha if both functions were fixed
        before any draw that is counted here was looked at; rounded down. 0 where no winner is
        replayed.

    Raises:
        InvalidInput: alpha out of range, or counts that are not whole or exceed what they are of.
    """
    winners, losers = np.asarray(winners), np.asarray(losers)
    n = cached_draws(len(winners) - 1)
    votes = np.arange(n + 1)
    winners = rising(winners=winners, votes=votes)[0].astype(np.int64)
    losers = rising(losers=losers, others=n - votes)[0].astype(np.int64)
    k = rising(k=k, n=n)[0].astype(np.int64)
    k, flips, gains = np.broadcast_arrays(k, flips, gains)
    outcome = (
        k,
        rising(flips=flips, winners=winners[k])[0].astype(np.int64),
        rising(gains=gains, losers=losers[k])[0].astype(np.int64),
    )
    return limits(lambda row, z: _limit(*row, winners, losers, alpha, z), outcome, alpha)


@compiled
def _limit(k: Any, x: Any, y: Any, winners: Any, losers: Any, alpha: Any, z: Any) -> Any:
    """The limit at one outcome."""
    n, mw = len(winners) - 1, winners[k]
    level = _statistic(k, n, x, mw, y, losers[k], z)
    if level <= 0:
        return 0.0
    region = _region(level - TIE, winners, losers, z)
    starts = np.empty((_ATTEMPTS, 2))  # of climbs: shares of theta and of 1 - theta
    starts[0] = 0.98, (k + 1.0) / (n + 2.0) * (x + 1.0) / (mw + 2.0)
    theta = level
    for attempt in range(_ATTEMPTS):
        theta = solve(region, theta, alpha, starts[: attempt + 1])
        theta = np.floor(theta * (1 - 1e-6 * 4.0**attempt + 1e-6) * SCALE) / SCALE
        if theta <= 0:
            break
        shown, a, b = holds(region, theta, alpha)
        if shown:
            return theta
        if attempt + 1 < _ATTEMPTS:  # where another maximum is, higher than those climbed
            starts[attempt + 1] = a / theta, b / (1 - theta)
    return 0.0


@njit(error_model="numpy")
def _statistic(k, n, x, mw, y, ml, z):
    """The estimate of p' less z standard errors, of a gain that counts at most half a kept vote.

    Times what so many winners are worth, which changes the order between sizes alone. Where
    positive it rises with the votes and falls with the flips; -1 where it might not, and where
    less than half the votes are for the class or no winner is replayed.
    """
    p, kept = (k + 1.0) / (n + 2.0), (mw - x + 1.0) / (mw + 2.0)
    other = 1 - p
    if mw == 0 or p < 0.5 or p * n < 4 * z * z * other:
        return -1.0
    gained = min((y + 1.0) / (ml + 2.0), 0.5 * kept) if ml > 0 else 0.0
    rest, spread = kept - gained, kept * (1 - kept) / mw
    if rest < z * np.sqrt(spread):
        return -1.0
    variance = rest * rest * p * other / n + p * p * spread
    if ml > 0:
        variance += other * other * gained * (1 - gained) / ml
    return (gained + p * rest - z * np.sqrt(variance)) * worth(mw, z)


@njit(error_model="numpy")
def _region(level, winners, losers, z):
    """(counts, blocks, full, start, least): what is ordered as high as a positive level.

    The counts are n, the most winners and losers replayed, and the fewest and most votes in it.

    A block is a run of votes with the same sizes: the first and the last votes, the sizes, and
    where its rows begin, one for each number of gains. Row r holds fewer than `full[r]` flips at
    all votes of the block, and full[r] + i flips from `least[start[r] + i]` votes on. So that it
    is closed under more gains, each row holds the one before.
    """
    n = len(winners) - 1
    blocks = _blocks(level, winners, losers)
    rows = blocks[-1, 4] + blocks[-1, 3] + 1
    full, start, least = np.zeros(rows, np.int64), np.zeros(rows + 1, np.int64), [np.int64(0)]
    start[0] = 1  # the list's first entry gives it a type
    for i in range(len(blocks)):
        first, last, mw, ml, row = blocks[i]
        for r in range(row, row + ml + 1):
            k, more = first, 0 if r == row else full[r - 1] + start[r] - start[r - 1]
            start[r + 1] = start[r]
            for x in range(mw + 1):
                k = _fewest_votes(level, n, k, last, x, mw, r - row, ml, z)
                votes = k
                if x < more:
                    at = x - full[r - 1]
                    votes = min(k, first if at < 0 else least[start[r - 1] + at])
                if votes > last:
                    break
                if votes == first:
                    full[r] = x + 1
                else:
                    least.append(votes)
                    start[r + 1] += 1
    fewest = n
    for i in range(len(blocks)):
        r = blocks[i, 4] + blocks[i, 3]
        if full[r] > 0:
            fewest = min(fewest, blocks[i, 0])
        elif start[r + 1] > start[r]:
            fewest = min(fewest, least[start[r]])
    counts = n, blocks[:, 2].max(), blocks[:, 3].max(), fewest, blocks[-1, 1]
    return counts, blocks, full, start, np.array(least)


@njit(error_model="numpy")
def _blocks(level, winners, losers):
    """The blocks with votes at which an estimate may be as high as a level."""
    n = len(winners) - 1
    blocks = np.empty((n + 1, 5), np.int32)
    count, rows, first = 0, 0, 0
    for k in range(n + 1):
        mw, ml = winners[k], losers[k]
        if k == n or winners[k + 1] != mw or losers[k + 1] != ml:
            p, kept = (k + 1.0) / (n + 2.0), (mw + 1.0) / (mw + 2.0)
            if mw > 0 and kept * (0.5 + 0.5 * p if ml > 0 else p) >= level:
                blocks[count] = first, k, mw, ml, rows
                count, rows = count + 1, rows + ml + 1
            first = k + 1
    return blocks[:count].copy()


@njit(error_model="numpy")
def _fewest_votes(level, n, low, last, x, mw, y, ml, z):
    """The fewest votes from `low` on at which the statistic is at least a level; else last + 1."""
    if low > last or _statistic(low, n, x, mw, y, ml, z) >= level:
        return low
    step, high = 1, last + 1  # low is out, high is in or beyond all
    while low + step <= last:
        if _statistic(low + step, n, x, mw, y, ml, z) >= level:
            high = low + step
            break
        low, step = low + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if _statistic(middle, n, x, mw, y, ml, z) >= level:
            high = middle
        else:
            low = middle
    return high
