"""Lower limits on a finite population from a sample without replacement."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.errors import InvalidInput

# The log-gamma terms are as large as n log n, and carry that many times the float's precision.
_MARGIN = 1e-6
_EPSILON = 1e-14


def lower(
    hits: ArrayLike, sampled: ArrayLike, size: ArrayLike, alpha: ArrayLike
) -> NDArray[np.int64]:
    """Fewest members with a property that a population can have, given a sample's hits.

    The smallest M with P[Hypergeometric(size, M, sampled) >= hits] > alpha, so it exceeds the
    true number with probability at most alpha; exact (the hits) when everything was sampled.

    Args:
        hits: members with the property in the sample.
        sampled: sample size, 0..size, drawn uniformly without replacement; broadcasts.
        size: population size.
        alpha: error probability; at 0 only the hits themselves are certain.

    Returns:
        int64 array, never above the exact limit.

    Raises:
        InvalidInput: counts out of range.
    """
    hits, sampled, size, alpha = np.broadcast_arrays(
        np.asarray(hits, np.int64), np.asarray(sampled, np.int64), np.asarray(size, np.int64), alpha
    )
    if not np.all((hits >= 0) & (hits <= sampled) & (sampled <= size)):
        raise InvalidInput("A sample needs 0 <= hits <= sampled <= size")
    low, high = hits.copy(), size - (sampled - hits)
    margin = np.maximum(_MARGIN, _EPSILON * size * np.log(np.maximum(size, 2)))
    target = alpha * (1 - np.minimum(margin, 1))
    # The tail grows with M and is 1 at the largest M that fits: bisect over whole numbers.
    while (low < high).any():
        middle = (low + high) // 2
        reached = _tail(hits, sampled, size, middle) > target
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
        low = np.minimum(low, high)
    return low


def _tail(hits: NDArray, sampled: NDArray, size: NDArray, members: NDArray) -> NDArray[np.float64]:
    """P[Hypergeometric(size, members, sampled) >= hits], for members that make it possible."""
    term = np.exp(
        _log_choose(members, hits)
        + _log_choose(size - members, sampled - hits)
        - _log_choose(size, sampled)
    )
    total, j = term.copy(), hits.astype(float)
    while True:
        ratio = (members - j) * (sampled - j) / ((j + 1) * (size - members - sampled + j + 1))
        term = term * ratio
        total += term
        j += 1
        if np.all((ratio < 1) & (term <= 1e-17 * total)):
            return total


def _log_choose(n: NDArray, k: NDArray) -> NDArray[np.float64]:
    return special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
