"""What the exact test evaluates, how its outcomes are ordered, and what is ordered as high.

docs/theory.md, section 13.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Looks(NamedTuple):
    """What is evaluated at 0, 1, ..., n cached votes; arrays of whole numbers, shape (n + 1,).

    Attributes:
        first: votes replayed, at most as many as there are.
        fresh: fresh draws, which count only where nothing is replayed.
        more: votes replayed at a second look (`exact_stages`).
        least, most: lost votes of the first look between which, both included, one goes on.
    """

    first: NDArray[np.int64]
    fresh: NDArray[np.int64]
    more: NDArray[np.int64]
    least: NDArray[np.int64]
    most: NDArray[np.int64]


class Region(NamedTuple):
    """What is ordered as high as a level: the plan, and the edge by votes.

    Attributes:
        plan: what is evaluated.
        edge: the most lost replays of a first look, or the fewest fresh hits; -1 for none.
        second: the most lost replays of both looks, where one goes on; -1 for none.
        change: whether the chance differs from that of one vote less.
    """

    plan: Looks
    edge: NDArray[np.int64]
    second: NDArray[np.int64]
    change: NDArray[np.bool_]


@njit(error_model="numpy")
def _replayed_statistic(k, n, x, m, z):
    """The estimate of p (1 - u) less z standard errors. Where positive it rises as x falls."""
    p, kept = (k + 1.0) / (n + 2.0), (m - x + 1.0) / (m + 2.0)
    variance = kept * kept * p * (1 - p) / n + p * p * kept * (1 - kept) / m
    return p * kept - z * np.sqrt(variance)


@njit(error_model="numpy")
def _fresh_statistic(hits, draws, z):
    """The estimate of p' less z standard errors. Where positive it rises with the hits."""
    p = (hits + 1.0) / (draws + 2.0)
    return p - z * np.sqrt(p * (1 - p) / draws)


@njit(error_model="numpy")
def _statistic(k, seen, again, plan, z):
    """What outcomes are ordered by: an outcome counts no less than those with more lost replays.

    So those of a second look count no more than not going on after fewer lost, and no less than
    not going on after more.

    Args:
        k: cached votes.
        seen: replayed votes that are lost, or fresh hits.
        again: whether there was a second look.
        plan: what is evaluated, as `Looks`.
        z: standard errors that are taken off an estimate.

    Returns:
        A number; what is not positive proves nothing.
    """
    n, m = len(plan.first) - 1, plan.first[k]
    if m == 0:
        return _fresh_statistic(seen, plan.fresh[k], z) if plan.fresh[k] > 0 else 0.0
    if not again:
        return _replayed_statistic(k, n, seen, m, z)
    level, least, most = _replayed_statistic(k, n, seen, m + plan.more[k], z), plan.least, plan.most
    if least[k] > 0:
        level = min(level, _replayed_statistic(k, n, least[k] - 1, m, z))
    return max(level, _replayed_statistic(k, n, most[k] + 1, m, z)) if most[k] < m else level


@njit(error_model="numpy")
def _most_lost(level, k, n, m, z):
    """The most lost of m replays that are ordered as high as a positive level; -1 for none."""
    if _replayed_statistic(k, n, 0, m, z) < level:
        return -1
    low, high = 0, m + 1  # the first is in the region, the last is not
    while high - low > 1:
        middle = (low + high) // 2
        if _replayed_statistic(k, n, middle, m, z) >= level:
            low = middle
        else:
            high = middle
    return low


@njit(error_model="numpy")
def _region_of(level, plan, z):
    """What is ordered as high as a level.

    Args:
        level: of the statistic, positive.
        plan: what is evaluated, as `Looks`.
        z: of the statistic.

    Returns:
        A `Region`.
    """
    n = len(plan.first) - 1
    edge, second = np.full(n + 1, -1, np.int64), np.full(n + 1, -1, np.int64)
    for k in range(n + 1):
        m, draws, least, most = plan.first[k], plan.fresh[k], plan.least[k], plan.most[k]
        if m > 0:
            edge[k] = _most_lost(level, k, n, m, z)
            if least <= most and edge[k] <= most:  # else all that goes on is in the region
                last = _most_lost(level, k, n, m + plan.more[k], z)
                second[k] = last if edge[k] >= least - 1 else -1
                edge[k] = min(edge[k], least - 1)
        elif draws > 0 and _fresh_statistic(draws, draws, z) >= level:
            low, high = -1, draws  # the first is not in the region, the last is
            while high - low > 1:
                middle = (low + high) // 2
                if _fresh_statistic(middle, draws, z) >= level:
                    high = middle
                else:
                    low = middle
            edge[k] = high
    change = np.zeros(n + 1, np.bool_)
    for part in (edge, second, plan.first, plan.fresh, plan.more, plan.least, plan.most):
        change[1:] |= part[1:] != part[:-1]
    return Region(plan, edge, second, change)


statistic: Any = _statistic
region_of: Any = _region_of
