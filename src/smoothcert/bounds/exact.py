"""The exact test of p': cached votes and replays in one region, with all of alpha.

K of n cached draws are votes for the class. At k votes, a plan that was fixed before any counted
draw was looked at replays M(k) of them, of which X are lost, or asks for F(k) fresh draws, of which
H are votes. So K ~ Bin(n, p), X ~ Bin(M, u), H ~ Bin(F, p'), and p' >= p (1 - u).

The outcomes are ordered beforehand. The limit at an outcome is the largest theta at which the
outcomes ordered as high have together at most probability alpha, under every law with p' <= theta
(Buehler 1957). The supremum over these laws is bounded cell by cell, never read off a grid of
points, and rounded to the safe side. docs/theory.md, section 13.
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
    worth,
)
from smoothcert.bounds.counts import rising
from smoothcert.compilation import compiled

_SPARED = 0.01  # of alpha: what may be left of it, so that few cells show that it is kept
_ATTEMPTS = 16  # at a theta that holds, each with one more place to climb from
_MOST_CELLS = 100_000  # for one theta, which counts as no limit if it needs more


def lower(k: ArrayLike, n: int, flips: ArrayLike, m: int, alpha: float) -> NDArray[np.float64]:
    """Lower limits of p' where a fixed number of the cached votes is replayed.

    Args:
        k: cached votes for the class, any shape.
        n: cached draws.
        flips: replayed votes that the new classifier does not give the class; broadcasts with k.
        m: votes that are replayed, fixed beforehand; of fewer than m, all are.
        alpha: error probability, in (0, 1); less than `buehler.LEAST_ALPHA` gives 0.

    Returns:
        Array of the broadcast shape, with P[limit > p'] <= alpha; rounded down.

    Raises:
        InvalidInput: alpha out of range; not whole numbers 0 <= flips <= min(m, k), k <= n and
            m <= n; or more than `buehler.MOST_DRAWS` cached draws.
    """
    n = cached_draws(n)
    m = int(rising(m=m, n=n)[0])
    replays = np.minimum(np.arange(n + 1), m)
    return lower_planned(k, flips, replays, np.zeros(n + 1, np.int64), alpha)


def lower_planned(
    k: ArrayLike, seen: ArrayLike, replays: ArrayLike, fresh: ArrayLike, alpha: float
) -> NDArray[np.float64]:
    """Lower limits of p' where the cached votes decide what is evaluated.

    Args:
        k: cached votes for the class, any shape.
        seen: of the replays, those that are lost; where there are none, the votes among the fresh
            draws. Broadcasts with k.
        replays: votes replayed at 0, 1, ..., n cached votes, shape (n + 1,), at most as many.
        fresh: fresh draws likewise, which count only where nothing is replayed.
        alpha: error probability, in (0, 1); less than `buehler.LEAST_ALPHA` gives 0.

    Returns:
        Array of the broadcast shape, with P[limit > p'] <= alpha if both functions were fixed
        before any draw that is counted here was looked at; rounded down. 0 where nothing is
        evaluated.

    Raises:
        InvalidInput: alpha out of range, or counts that are not whole or exceed what they are of.
    """
    replays, fresh = np.asarray(replays), np.asarray(fresh)
    n = len(replays) - 1
    replays, fresh = rising(replays=replays, votes=np.arange(n + 1))[0], rising(fresh=fresh)[0]
    plan = replays.astype(np.int64), np.where(replays > 0, 0, fresh).astype(np.int64)
    k = rising(k=k, n=n)[0].astype(np.int64)
    k, seen = np.broadcast_arrays(k, seen)
    seen = rising(seen=seen, evaluated=(plan[0] + plan[1])[k])[0].astype(np.int64)
    return limits(lambda outcome, z: _limit(*outcome, *plan, alpha, z), (k, seen), alpha)


@compiled
def _limit(k: Any, seen: Any, replays: Any, fresh: Any, alpha: Any, z: Any) -> Any:
    """The limit at one outcome."""
    n = len(replays) - 1
    level = 0.0
    if replays[k] > 0:
        level = _replayed_statistic(k, n, seen, replays[k], z)
    elif fresh[k] > 0:
        level = _fresh_statistic(seen, fresh[k], z)
    if level <= 0:
        return 0.0
    edge = _region(level - TIE, replays, fresh, z)
    starts = np.empty(_ATTEMPTS)  # of climbs: where between theta and 1
    starts[0] = (_scan(edge, replays, fresh, level) - level) / (1 - level)
    theta = level
    for attempt in range(_ATTEMPTS):
        theta = _solve(edge, replays, fresh, theta, alpha, starts[: attempt + 1])
        theta = np.floor(theta * (1 - 1e-6 * 4.0**attempt + 1e-6) * SCALE) / SCALE
        if theta <= 0:
            break
        holds, p = _holds(edge, replays, fresh, theta, alpha)
        if holds:
            return theta
        if attempt + 1 < _ATTEMPTS:  # where another maximum is, higher than those climbed
            starts[attempt + 1] = max(0.0, (p - theta) / (1 - theta))
    return 0.0


@njit(error_model="numpy")
def _solve(edge, replays, fresh, theta, alpha, starts):
    """The theta at which the largest chance near the starts is just below alpha; 0 for none."""
    low, high, below, above = 0.0, 1.0, -np.inf, np.inf
    aim = np.log(alpha * (1 - _SPARED))
    for _ in range(60):  # regula falsi on the logarithm
        largest = 0.0
        for i in range(len(starts)):
            largest = max(largest, _climb(edge, replays, fresh, theta, starts[i]))
        log = np.log(largest) - aim
        if log > 0:
            high, above = theta, log
        else:
            low, below = theta, log
        if -0.5 * _SPARED < log <= 0 or high - low < 1 / SCALE or theta < 1 / SCALE:
            break
        theta = next_theta(theta, low, high, below, above)
    return low


@njit(error_model="numpy")
def _replayed_statistic(k, n, x, m, z):
    """The estimate of p (1 - u) less z standard errors. Where positive it rises as x falls."""
    p, kept = (k + 1.0) / (n + 2.0), (m - x + 1.0) / (m + 2.0)
    variance = kept * kept * p * (1 - p) / n + p * p * kept * (1 - kept) / m
    return (p * kept - z * np.sqrt(variance)) * worth(m, z)


@njit(error_model="numpy")
def _fresh_statistic(hits, draws, z):
    """The estimate of p' less z standard errors. Where positive it rises with the hits."""
    p = (hits + 1.0) / (draws + 2.0)
    return (p - z * np.sqrt(p * (1 - p) / draws)) * worth(draws, z)


@njit(error_model="numpy")
def _region(level, replays, fresh, z):
    """The edge of what is ordered as high as a positive level, by votes.

    The most lost replays, or the fewest fresh hits; -1 where nothing is in the region.
    """
    n = len(replays) - 1
    edge = np.full(n + 1, -1, np.int64)
    for k in range(n + 1):
        m, draws = replays[k], fresh[k]
        if m > 0 and _replayed_statistic(k, n, 0, m, z) >= level:
            low, high = 0, m + 1  # the first is in the region, the last is not
            while high - low > 1:
                middle = (low + high) // 2
                if _replayed_statistic(k, n, middle, m, z) >= level:
                    low = middle
                else:
                    high = middle
            edge[k] = low
        elif m == 0 and draws > 0 and _fresh_statistic(draws, draws, z) >= level:
            low, high = -1, draws  # the first is not in the region, the last is
            while high - low > 1:
                middle = (low + high) // 2
                if _fresh_statistic(middle, draws, z) >= level:
                    high = middle
                else:
                    low = middle
            edge[k] = high
    return edge


@njit(error_model="numpy")
def _sums(n, p):
    """(first, sums): P[Bin(n, p) <= first + i]."""
    first, weights = weights_of(n, p)
    total = 0.0
    for i in range(len(weights)):
        total += weights[i]
        weights[i] = total
    weights /= total
    return first, weights


@njit(error_model="numpy")
def _at_least(hits, draws, p):
    """P[Bin(draws, p) >= hits]."""
    first, sums = _sums(draws, p)
    at = hits - 1 - first
    if at < 0:
        return 1.0
    return 1 - sums[at] if at < len(sums) else 0.0


@njit(error_model="numpy")
def _chance(edge, replays, fresh, theta, p, u, tilt):
    """P[what is seen is in the region], rounded up, with exp(tilt) a factor for each replay."""
    first, weights = weights_of(len(replays) - 1, p)
    total, inside, value = 0.0, 0.0, 0.0
    m, draws, last, start, sums, factor = -1, -1, -2, 0, weights, 1.0
    for i in range(len(weights)):
        k = first + i
        total += weights[i]
        if edge[k] != last or replays[k] != m or fresh[k] != draws:
            last, draws = edge[k], fresh[k]
            if replays[k] != m:
                m = replays[k]
                start, sums = _sums(m, u)
                factor = np.exp(m * tilt)
            if last < 0:
                value = 0.0
            elif m > 0:
                at = min(last - start, len(sums) - 1)
                value = sums[at] * factor if at >= 0 else 0.0
            else:
                value = _at_least(last, draws, theta)
        inside += weights[i] * value
    return inside / total * (1 + RELATIVE) + ABSOLUTE


@njit(error_model="numpy")
def _on_curve(edge, replays, fresh, theta, p):
    """The chance at p with the fewest flips, u = max(0, 1 - theta / p)."""
    return _chance(edge, replays, fresh, theta, p, max(0.0, 1 - theta / p), 0.0)


@njit(error_model="numpy")
def _on_cell(edge, replays, fresh, theta, low, high):
    """What the chance on the curve is at most for p between two values on one side of theta.

    There the probability of (k, x) is a constant times p^(k-M) (1-p)^(n-k) (p-theta)^x, or below
    theta p^k (1-p)^(n-k). As M <= k, its logarithm is concave in p, so it lies below the
    exponential of the tangent at the cell's middle. The sum of these exponentials over the region
    is convex in p, so the larger of its two ends is a bound. Each is a chance under tilted p and u.
    """
    c, w, n = 0.5 * (low + high), 0.5 * (high - low), len(replays) - 1
    u, bound = max(0.0, 1 - theta / c), 0.0
    for y in (-w, w):
        votes, lost = y / (c * (1 - c)), y / (c - theta) if c > theta else 0.0
        if max(votes, lost) > 30:
            return np.inf
        grown, flipped = c * np.expm1(votes), u * np.expm1(lost)
        whole = n * (np.log1p(grown) - y / (1 - c))
        tilt = np.log1p(flipped) - y / c if c > theta else 0.0
        if whole + n * max(0.0, tilt) > 300:
            return np.inf
        tilted_p, tilted_u = c * np.exp(votes) / (1 + grown), u * np.exp(lost) / (1 + flipped)
        chance = _chance(edge, replays, fresh, theta, tilted_p, tilted_u, tilt)
        bound = max(bound, np.exp(whole) * chance)
    return bound * (1 + RELATIVE)


@njit(error_model="numpy")
def _scan(edge, replays, fresh, theta):
    """A first p near the one where the chance is largest."""
    best, at = -1.0, theta
    for i in range(40):
        u = 1e-5 * 1.45**i
        if u < 1 - theta:
            chance = _on_curve(edge, replays, fresh, theta, theta / (1 - u))
            if chance > best:
                best, at = chance, theta / (1 - u)
    return at


@njit(error_model="numpy")
def _climb(edge, replays, fresh, theta, start):
    """The largest chance that steps from a start lead to, halved where none goes up."""
    p = theta + start * (1 - theta)
    best = _on_curve(edge, replays, fresh, theta, p)
    step = np.sqrt(p * (1 - p) / len(replays)) + 1e-9
    least = step / 200
    while step > least:
        moved = False
        for other in (min(1.0, p + step), max(theta, p - step)):
            chance = _on_curve(edge, replays, fresh, theta, other)
            if chance > best:
                best, p, moved = chance, other, True
                break
        step *= 1.5 if moved else 0.5
    return best


@njit(error_model="numpy")
def _holds(edge, replays, fresh, theta, alpha):
    """(whether the chance is shown to be at most alpha under every law with p' <= theta, p).

    p is one at which it is more, or 0. At a given p the chance falls with u and rises with p', so
    the curve has the largest. Its cells are halved until the bound on each is at most alpha.
    """
    lows, highs = np.empty(200), np.empty(200)
    lows[0], highs[0], lows[1], highs[1], left = 0.0, theta, theta, 1.0, 2
    for _ in range(_MOST_CELLS):
        if left == 0:
            return True, 0.0
        left -= 1
        low, high = lows[left], highs[left]
        if _on_cell(edge, replays, fresh, theta, low, high) <= alpha:
            continue
        middle = 0.5 * (low + high)
        if not low < middle < high or left > 190:
            break
        if _on_curve(edge, replays, fresh, theta, middle) > alpha:
            return False, middle
        lows[left], highs[left] = low, middle
        lows[left + 1], highs[left + 1] = middle, high
        left += 2
    return False, 0.0
