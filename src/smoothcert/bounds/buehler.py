"""What `exact` and `exact_gains` share: binomial weights, the search for a theta, and rounding.

Both give the limit of Buehler (1957), docs/theory.md, section 13.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds.counts import rising
from smoothcert.cores import cores
from smoothcert.errors import InvalidInput

SCALE = 2.0**30  # limits are multiples of its inverse, so that they do not hang on a last bit
RELATIVE, ABSOLUTE = 1e-10, 1e-15  # above what sums of thousands of weights are wrong by
LEAST_ALPHA = 1e-12
"""Smaller error levels give 0: what is rounded up would be much of them."""
MOST_DRAWS = 10**7
"""More cached draws are refused: regions have an entry for each number of votes."""
TIE = 1e-12  # outcomes that differ by less count as equal, whatever their last bits
_TINY = 1e-20  # of the largest weight: where a sum of weights stops


def cached_draws(n: int) -> int:
    """The number of cached draws, if it is one that regions have memory for.

    Args:
        n: cached draws.

    Returns:
        The same as an int.

    Raises:
        InvalidInput: not a whole number from 0 to `MOST_DRAWS`.
    """
    found = int(rising(n=n)[0])
    if found > MOST_DRAWS:
        raise InvalidInput(f"The exact test takes at most {MOST_DRAWS} cached draws; got {found}")
    return found


def limits(
    limit: Callable[[NDArray[np.int64], float], float],
    outcome: tuple[NDArray[np.int64], ...],
    alpha: float,
) -> NDArray[np.float64]:
    """The limit at each outcome, on all cores; many inputs share theirs.

    Args:
        limit: of one outcome, given its counts and the z of the ordering; releases Python's lock.
        outcome: the counts, arrays of one shape.
        alpha: error probability; less than `LEAST_ALPHA` gives 0.

    Returns:
        Array of that shape.

    Raises:
        InvalidInput: alpha is not in (0, 1).
    """
    if not 0 < alpha < 1:
        raise InvalidInput(f"alpha must be in (0, 1); got {alpha}")
    if alpha < LEAST_ALPHA:
        return np.zeros(outcome[0].shape)
    rows = np.stack([count.ravel() for count in outcome])
    rows, where = np.unique(rows, axis=1, return_inverse=True)
    z = max(0.0, float(-special.ndtri(alpha))) + 0.4  # any is sound; this one orders well
    with ThreadPoolExecutor(cores()) as threads:
        found = np.array(list(threads.map(lambda row: limit(row, z), rows.T)))
    return found[where.ravel()].reshape(outcome[0].shape)


@njit(error_model="numpy")
def _next_theta(theta, low, high, below, above):
    """Where regula falsi looks next; a step down or up while one end of the bracket is missing.

    Args:
        theta: where it looked last.
        low: the largest theta at which the chance was at most alpha, or 0.
        high: the least at which it was more, or 1.
        below: the logarithm of chance over alpha at `low`.
        above: the same at `high`.

    Returns:
        A theta.
    """
    if low == 0:
        return max(0.9 * theta, theta - 0.5 * (1 - theta))
    if high == 1:
        return theta + 0.1 * (1 - theta)
    return low + min(0.9, max(0.1, -below / (above - below))) * (high - low)


next_theta: Any = _next_theta


@njit(error_model="numpy")
def _weights(n, p, tiny=_TINY):
    """(first, weights) of Bin(n, p) where they are not tiny, the largest being 1.

    What is left out would make their sum larger, so a share of the sum is at least the
    probability, but for the left-out weights themselves: of the probability at most 2 tiny (the
    weights are log-concave, so a weight's share of what is beyond it grows outward), which
    `ABSOLUTE` covers for the usual one.
    """
    if p <= 0 or p >= 1:
        return 0 if p <= 0 else n, np.ones(1)
    mode = min(int((n + 1) * p), n)
    odds = p / (1 - p)
    reach = int(10 * np.sqrt(n * p * (1 - p))) + 60
    first, last = max(0, mode - reach), min(n, mode + reach)
    weights = np.empty(last - first + 1)
    weights[mode - first] = 1.0
    start, end, weight, back = first, last, 1.0, 1 / odds
    for j in range(mode, first, -1):
        weight *= j / (n - j + 1.0) * back
        weights[j - 1 - first] = weight
        if weight < tiny:
            start = j - 1
            break
    weight = 1.0
    for j in range(mode, last):
        weight *= (n - j) / (j + 1.0) * odds
        weights[j + 1 - first] = weight
        if weight < tiny:
            end = j + 1
            break
    return start, weights[start - first : end - first + 1]


weights_of: Any = _weights


@njit(error_model="numpy")
def _worth(size, z):
    """What to multiply the statistic of a sample with, so that sizes are ordered fairly.

    m draws without a failure prove a share of about 1 + log(alpha) / m; one success and one failure
    added and z standard errors off give 1 - (1 + z) / m, which is too much. The factor is the same
    for all counts of a size, so it changes the order between sizes alone.

    Args:
        size: draws, at least 1.
        z: of the ordering.

    Returns:
        m / (m + d) with d = c + z sqrt(c) - 1 - z, for c = 0.2 + z / 2: near the former.
    """
    usual = 0.2 + 0.5 * z
    return size / (size + max(0.0, usual - 1 + z * (np.sqrt(usual) - 1)))


worth: Any = _worth
