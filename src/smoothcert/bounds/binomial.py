"""One-sided Clopper-Pearson limits, rounded outward.

The exact lower limit is the p with P[Bin(n, p) >= k] = alpha, a beta quantile
(Clopper & Pearson, Biometrika 1934). A quantile routine returns a float near it, on the
unsafe side about half the time; here the float is moved outward and the tail is evaluated
at the float actually returned, so the limit holds as stated (docs/theory.md, section 1).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.bounds.counts import rising
from smoothcert.errors import InvalidInput

# A relative step in the odds of p. The tail's logarithm changes by at least this much
# times (number of successes), far above the error of the incomplete beta function.
_STEP = 1e-11
# The evaluated tail stays below alpha by this margin: more than that function's relative error.
_MARGIN = 1e-11
_BISECTIONS = 80
LEAST_ALPHA = 1e-200
"""Smaller error levels count as 0. SciPy's incomplete beta function is wrong at some tails below
1e-240, by factors up to e^113: it sums from a first term that underflows."""


def lower(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> NDArray[np.float64]:
    """Lower confidence limit of a binomial proportion, never above the exact one.

    Args:
        k: successes, integers in 0..n; broadcasts with the others.
        n: trials, integers >= 0 (n = 0 gives 0).
        alpha: one-sided error probability in [0, 1]; 0 (and less than `LEAST_ALPHA`) gives 0,
            1 gives 1 unless k = 0.

    Returns:
        Array of the broadcast shape: P[Bin(n, p) >= k] <= alpha at every returned p, and
        p is within 1e-9 of the exact limit for alpha up to 0.999.

    Raises:
        InvalidInput: k, n or alpha out of range, not whole, or not finite.
    """
    k, n, alpha = _checked(k, n, alpha)
    limit = np.zeros(k.shape)
    inner = (k > 0) & (alpha >= LEAST_ALPHA)
    limit[inner & (alpha >= 1)] = 1.0
    inner &= alpha < 1
    limit[inner] = _lower(k[inner], n[inner], alpha[inner])
    return limit


def upper(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> NDArray[np.float64]:
    """Upper confidence limit of a binomial proportion, never below the exact one.

    Arguments, shapes and errors as for `lower`; alpha = 0 or n = 0 gives 1, and alpha = 1
    gives 0 unless k = n. P[Bin(n, p) <= k] <= alpha at every returned p < 1.
    """
    # By symmetry: the lower limit for failures, whose complement is rounded up.
    k, n, alpha = _checked(k, n, alpha)
    failures = lower(n - k, n, alpha)
    rounded = np.nextafter(1 - failures, 1)
    return np.where((failures == 0) | (failures == 1), 1 - failures, rounded)


def _checked(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    k, n = rising(k=k, n=n)
    alpha = np.asarray(alpha, float)
    good = (alpha >= 0) & (alpha <= 1)
    if not np.all(good):
        bad = float(alpha[~good].flat[0])
        raise InvalidInput(f"alpha must be error probabilities in [0, 1]; got {bad}")
    return tuple(np.broadcast_arrays(k, n, alpha))


def _lower(k: NDArray[Any], n: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Move the beta quantile down until the tail there is below alpha; bisect the rest."""
    target = alpha * (1 - _MARGIN)
    guess = special.betaincinv(k, n - k + 1, alpha)
    for step in (_STEP, 4 * _STEP, 16 * _STEP):
        point = np.nextafter(guess - step * guess * (1 - guess), 0)
        safe = special.betainc(k, n - k + 1, point) <= target  # False also where it is NaN
        if safe.all():
            return point
    point[~safe] = _bisect(k[~safe], n[~safe], target[~safe])
    return point


def _bisect(k: NDArray[Any], n: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
    """The safe end of a bracket around the limit: its tail is at most `target`, 0's is 0."""
    safe, unsafe = np.zeros_like(k), np.ones_like(k)
    for _ in range(_BISECTIONS):
        middle = (safe + unsafe) / 2
        good = special.betainc(k, n - k + 1, middle) <= target
        safe, unsafe = np.where(good, middle, safe), np.where(good, unsafe, middle)
    return safe
