"""The joint bound: cached votes of the original and flips of the new classifier, in one budget.

Only flips away from the class matter: p' >= P[f = c and f' = c] = p (1 - u), where u is the chance
that a draw which the original won is lost. The cache's evidence against small p and the replay's
evidence against large u offset each other (docs/theory.md, section 7).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds import binomial
from smoothcert.bounds.budget import Budget
from smoothcert.bounds.counts import rising


def lower(
    k: ArrayLike, n: ArrayLike, flips: ArrayLike, m: ArrayLike, alpha: float | Budget
) -> NDArray[np.float64]:
    """Lower limit of p', wrong with probability at most alpha.

    Args:
        k: cached votes for the class, among
        n: cached draws; broadcasts with the others.
        flips: replayed winners that the new classifier does not give the class, among
        m: replayed winners, chosen from the cached labels alone; m = 0 gives 0.
        alpha: total error probability, or the budget to use.

    Returns:
        Array of the broadcast shape, rounded down.

    Raises:
        InvalidInput: alpha out of range, or not whole numbers 0 <= flips <= m <= k <= n.
    """
    budget = alpha if isinstance(alpha, Budget) else Budget(alpha)
    flips, m, k, n = rising(flips=flips, m=m, k=k, n=n)
    # Many inputs share their counts: the limits are computed once per distinct pair.
    p = _per_pair(binomial.lower, k, n, budget.edges)
    u = _per_pair(binomial.upper, flips, m, budget.values)
    # On the cell above edges[i] the true p is at least p[i] and g is values[i].
    limits = np.nextafter(p * np.nextafter(1 - u, -1), -1).min(axis=-1)
    return np.maximum(limits, 0.0)


def _per_pair(
    limit, counts: NDArray[Any], draws: NDArray[Any], alphas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`limit(counts, draws, alphas)`, shape (*counts.shape, len(alphas)), by distinct pair."""
    pairs = np.stack([counts.ravel(), draws.ravel()], axis=1)
    distinct, where = np.unique(pairs, axis=0, return_inverse=True)
    table = limit(distinct[:, :1], distinct[:, 1:], alphas)
    return table[where.ravel()].reshape(*counts.shape, len(alphas))
