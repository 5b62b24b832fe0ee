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
)
from smoothcert.bounds.counts import rising
from smoothcert.bounds.ordering import Looks, region_of, statistic
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
    none = np.zeros(n + 1, np.int64)
    fresh = np.where(replays > 0, 0, fresh).astype(np.int64)
    plan = Looks(replays.astype(np.int64), fresh, none, none, none - 1)
    k = rising(k=k, n=n)[0].astype(np.int64)
    k, seen = np.broadcast_arrays(k, seen)
    seen = rising(seen=seen, evaluated=(plan.first + fresh)[k])[0].astype(np.int64)
    return limits(lambda outcome, z: limit(*outcome, False, plan, alpha, z), (k, seen), alpha)


@compiled
def _limit(k: Any, seen: Any, again: Any, plan: Any, alpha: Any, z: Any) -> Any:
    """The limit at one outcome.

    Args:
        k: cached votes.
        seen: replayed votes that are lost, or fresh hits.
        again: whether there was a second look.
        plan: what is evaluated, as `ordering.Looks`.
        alpha: error probability.
        z: standard errors that the ordering takes off an estimate.

    Returns:
        The limit, rounded down.
    """
    level = statistic(k, seen, again, plan, z)
    if level <= 0:
        return 0.0
    region = region_of(level - TIE, plan, z)
    starts = np.empty(_ATTEMPTS)  # of climbs: where between theta and 1
    starts[0] = (_scan(region, level) - level) / (1 - level)
    theta = level
    for attempt in range(_ATTEMPTS):
        theta = _solve(region, theta, alpha, starts[: attempt + 1])
        theta = np.floor(theta * (1 - 1e-6 * 4.0**attempt + 1e-6) * SCALE) / SCALE
        if theta <= 0:
            break
        holds, p = _holds(region, theta, alpha)
        if holds:
            return theta
        if attempt + 1 < _ATTEMPTS:  # where another maximum is, higher than those climbed
            starts[attempt + 1] = max(0.0, (p - theta) / (1 - theta))
    return 0.0


limit: Any = _limit


@njit(error_model="numpy")
def _solve(region, theta, alpha, starts):
    """The theta at which the largest chance near the starts is just below alpha; 0 for none."""
    low, high, below, above = 0.0, 1.0, -np.inf, np.inf
    aim = np.log(alpha * (1 - _SPARED))
    for _ in range(60):  # regula falsi on the logarithm
        largest = 0.0
        for i in range(len(starts)):
            largest = max(largest, _climb(region, theta, starts[i]))
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
def _sums(n, p):
    """(first, shares, sums): P[Bin(n, p) = first + i] and P[Bin(n, p) <= first + i]."""
    first, weights = weights_of(n, p)
    sums, total = np.empty(len(weights)), 0.0
    for i in range(len(weights)):
        total += weights[i]
        sums[i] = total
    return first, weights / total, sums / total


@njit(error_model="numpy")
def _at_least(hits, draws, p):
    """P[Bin(draws, p) >= hits]."""
    first, _, sums = _sums(draws, p)
    at = hits - 1 - first
    if at < 0:
        return 1.0
    return 1 - sums[at] if at < len(sums) else 0.0


@njit(error_model="numpy")
def _at_most(lost, law):
    """P[Bin <= lost], of a law from `_sums`."""
    at = lost - law[0]
    if at < 0:
        return 0.0
    return law[2][min(at, len(law[2]) - 1)]


@njit(error_model="numpy")
def _second_look(least, most, second, first, more):
    """P[least <= X <= most, X + Y <= second] for X and Y of two laws from `_sums`."""
    inside = 0.0
    for x in range(max(least, first[0]), min(most, second, first[0] + len(first[1]) - 1) + 1):
        inside += first[1][x - first[0]] * _at_most(second - x, more)
    return inside


@njit(error_model="numpy")
def _chance(region, theta, p, u, tilt):
    """P[what is seen is in the region], rounded up, with exp(tilt) a factor for each replay."""
    plan, edge, second, change = region
    first, weights = weights_of(len(edge) - 1, p)
    total, inside, m, more, i = 0.0, 0.0, -1, -1, 0
    law, law_of_more = _sums(0, 0.0), _sums(0, 0.0)
    while i < len(weights):
        k, share, value, i = first + i, weights[i], 0.0, i + 1
        while i < len(weights) and not change[first + i]:
            share += weights[i]
            i += 1
        total += share
        if plan.first[k] != m:
            m = plan.first[k]
            law = _sums(m, u)
        if edge[k] >= 0:
            if m > 0:
                value = _at_most(edge[k], law) * np.exp(m * tilt)
            else:
                value = _at_least(edge[k], plan.fresh[k], theta)
        if second[k] >= 0:
            if plan.more[k] != more:
                more = plan.more[k]
                law_of_more = _sums(more, u)
            both = _second_look(plan.least[k], plan.most[k], second[k], law, law_of_more)
            value += both * np.exp((m + more) * tilt)
        inside += share * value
    return inside / total * (1 + RELATIVE) + ABSOLUTE


@njit(error_model="numpy")
def _on_curve(region, theta, p):
    """The chance at p with the fewest flips, u = max(0, 1 - theta / p)."""
    return _chance(region, theta, p, max(0.0, 1 - theta / p), 0.0)


@njit(error_model="numpy")
def _on_cell(region, theta, low, high):
    """What the chance on the curve is at most for p between two values on one side of theta.

    There the probability of (k, x) is a constant times p^(k-M) (1-p)^(n-k) (p-theta)^x, or below
    theta p^k (1-p)^(n-k). As M <= k, its logarithm is concave in p, so it lies below the
    exponential of the tangent at the cell's middle. The sum of these exponentials over the region
    is convex in p, so the larger of its two ends is a bound. Each is a chance under tilted p and u.
    """
    c, w, n = 0.5 * (low + high), 0.5 * (high - low), len(region.edge) - 1
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
        chance = _chance(region, theta, tilted_p, tilted_u, tilt)
        bound = max(bound, np.exp(whole) * chance)
    return bound * (1 + RELATIVE)


@njit(error_model="numpy")
def _scan(region, theta):
    """A first p near the one where the chance is largest."""
    best, at = -1.0, theta
    for i in range(40):
        u = 1e-5 * 1.45**i
        if u < 1 - theta:
            chance = _on_curve(region, theta, theta / (1 - u))
            if chance > best:
                best, at = chance, theta / (1 - u)
    return at


@njit(error_model="numpy")
def _climb(region, theta, start):
    """The largest chance that steps from a start lead to, halved where none goes up."""
    p = theta + start * (1 - theta)
    best = _on_curve(region, theta, p)
    step = np.sqrt(p * (1 - p) / len(region.edge)) + 1e-9
    least = step / 200
    while step > least:
        moved = False
        for other in (min(1.0, p + step), max(theta, p - step)):
            chance = _on_curve(region, theta, other)
            if chance > best:
                best, p, moved = chance, other, True
                break
        step *= 1.5 if moved else 0.5
    return best


@njit(error_model="numpy")
def _holds(region, theta, alpha):
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
        if _on_cell(region, theta, low, high) <= alpha:
            continue
        middle = 0.5 * (low + high)
        if not low < middle < high or left > 190:
            break
        if _on_curve(region, theta, middle) > alpha:
            return False, middle
        lows[left], highs[left] = low, middle
        lows[left + 1], highs[left + 1] = middle, high
        left += 2
    return False, 0.0
