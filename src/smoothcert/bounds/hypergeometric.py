"""Lower limits on a finite population from a sample without replacement.

What the strata of replayed draws say about all cached draws (docs/theory.md, section 8).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.bounds.binomial import LEAST_ALPHA
from smoothcert.bounds.counts import rising
from smoothcert.errors import InvalidInput

# The log-gamma terms are as large as n log n, and carry that many times the float's precision.
_MARGIN = 1e-6
_EPSILON = 1e-14


def lower(
    hits: ArrayLike, sampled: ArrayLike, size: ArrayLike, alpha: ArrayLike
) -> NDArray[np.int64]:
    """The fewest members with a property that a population can have, given a sample's hits.

    The smallest M with P[Hypergeometric(size, M, sampled) >= hits] > alpha, so it exceeds the
    true number with probability at most alpha; exact (the hits) when everything was sampled.

    Args:
        hits: members with the property in the sample.
        sampled: sample size, 0..size, drawn uniformly without replacement; broadcasts.
        size: population size.
        alpha: error probability in [0, 1]; at 0, and below `binomial.LEAST_ALPHA`, only the hits
            themselves are certain.

    Returns:
        int64 array, never above the exact limit.

    Raises:
        InvalidInput: counts or alpha out of range, or not finite; counts that are not whole.
    """
    counts = rising(hits=hits, sampled=sampled, size=size)
    hits, sampled, size, alpha = np.broadcast_arrays(
        *(count.astype(np.int64) for count in counts), np.asarray(alpha, float)
    )
    if not np.all((alpha >= 0) & (alpha <= 1)):
        raise InvalidInput("alpha must be error probabilities in [0, 1]")
    alpha = np.where(alpha < LEAST_ALPHA, 0.0, alpha)
    return _search(hits.ravel(), sampled.ravel(), size.ravel(), alpha.ravel()).reshape(hits.shape)


def _search(
    hits: NDArray[Any], sampled: NDArray[Any], size: NDArray[Any], alpha: NDArray[Any]
) -> NDArray[np.int64]:
    """Bisect over whole numbers: the tail grows with M and is 1 at the largest M that fits."""
    # At alpha = 0 there is nothing to search: a tail can be 0 by underflow alone.
    low, high = hits.copy(), np.where(alpha > 0, size - (sampled - hits), hits)
    margin = np.maximum(_MARGIN, _EPSILON * size * np.log(np.maximum(size, 2)))
    target = alpha * (1 - np.minimum(margin, 1))
    # Two probes around a guess leave most bisections a short interval.
    guess, width = _guess(hits, sampled, size, alpha)
    probes = [guess - width, guess + width]
    open_ = np.flatnonzero(low < high)
    while open_.size:
        middle = (low[open_] + high[open_]) // 2
        if probes:
            middle = np.clip(probes.pop()[open_], low[open_], high[open_] - 1)
        reached = _tail(hits[open_], sampled[open_], size[open_], middle) > target[open_]
        high[open_[reached]] = middle[reached]
        low[open_[~reached]] = middle[~reached] + 1
        open_ = open_[low[open_] < high[open_]]
    return low


def _guess(
    hits: NDArray[Any], sampled: NDArray[Any], size: NDArray[Any], alpha: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An estimate of the limit and its error: the binomial limit, corrected for the finite size."""
    share = hits / np.maximum(sampled, 1)
    # NaN where the routine fails; a bad guess only costs time.
    limit = np.nan_to_num(special.betaincinv(np.maximum(hits, 1e-9), sampled - hits + 1, alpha))
    below = size * (share - limit) * np.sqrt(1 - sampled / np.maximum(size, 1))
    return (size * share - below).astype(np.int64), (below / 8).astype(np.int64) + 2


def _tail(
    hits: NDArray[Any], sampled: NDArray[Any], size: NDArray[Any], members: NDArray[Any]
) -> NDArray[np.float64]:
    """P[Hypergeometric(size, members, sampled) >= hits], for members that make it possible.

    The terms are summed away from the mean, so that the first is the largest: started on the
    other side of the mean it can underflow to 0, and everything after it with it.
    """
    upwards = hits * size.astype(float) > sampled * members.astype(float)  # no overflow
    first = np.where(upwards, hits, hits - 1)
    term = np.exp(
        _log_choose(members, first)
        + _log_choose(size - members, sampled - first)
        - _log_choose(size, sampled)
    )
    # Below the fewest hits that are possible there is nothing to sum.
    possible = first >= np.maximum(0, sampled - (size - members))
    total = np.where(possible, term, 0.0)
    left = np.flatnonzero(total > 0)
    term, j, up = total[left], first[left].astype(float), upwards[left]
    members, sampled = members[left], sampled[left]
    rest = (size[left] - members - sampled).astype(float)
    while left.size:
        rising = (members - j) * (sampled - j) / ((j + 1) * (rest + j + 1))
        falling = j * (rest + j) / ((members - j + 1) * (sampled - j + 1))
        term = term * np.where(up, rising, falling)
        total[left] += term
        j = j + np.where(up, 1, -1)
        on = term > 1e-17 * total[left]
        if not on.all():
            left, term, j, up = left[on], term[on], j[on], up[on]
            members, sampled, rest = members[on], sampled[on], rest[on]
    return np.where(upwards, total, 1 - total)


def _log_choose(n: NDArray[Any], k: NDArray[Any]) -> NDArray[np.float64]:
    """-inf where k is out of range."""
    inside = (k >= 0) & (k <= n)
    k = np.where(inside, k, 0)
    value = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    return np.where(inside, value, -np.inf)
