"""The stratified bound: the votes that the new classifier would cast on the cached draws.

The cached draws fall into strata known from the cache (winners, losers). Part of each is
replayed, and a hypergeometric limit covers the rest; the sum bounds the new classifier's own
vote count on all cached draws, which bounds p' as any count does (docs/theory.md, section 8).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds import binomial, hypergeometric
from smoothcert.bounds.budget import Budget
from smoothcert.bounds.counts import rising

CELLS = 16
"""Cells of the outer budget that is made from a plain alpha."""

_INNER_CELLS = 8


def lower(
    hits: ArrayLike, replayed: ArrayLike, sizes: ArrayLike, n: ArrayLike, alpha: float | Budget
) -> NDArray[np.float64]:
    """Lower limit of p', wrong with probability at most alpha.

    Args:
        hits: replayed draws to which the new classifier gives the class, shape (..., strata).
        replayed: draws replayed per stratum, chosen from the cache alone and, within a stratum,
            uniformly (or by index); a stratum of which none is replayed counts as no votes.
        sizes: cached draws per stratum; strata left out count as no votes.
        n: total number of cached draws, shape (...).
        alpha: total error probability, or the budget to use.

    Returns:
        Array of shape (...), rounded down.

    Raises:
        InvalidInput: alpha out of range; counts that are not whole, not 0 <= hits <= replayed <=
            sizes, or whose sizes add up to more than n.
    """
    budget = alpha if isinstance(alpha, Budget) else Budget(alpha, cells=CELLS)
    counts = rising(hits=hits, replayed=replayed, sizes=sizes)
    hits, replayed, sizes = (count.astype(np.int64) for count in counts)
    n = np.broadcast_to(n, hits.shape[:-1])
    n = rising(sizes=sizes.sum(axis=-1), n=n)[-1]
    uncertain = (replayed > 0) & (replayed < sizes)
    limits = np.empty(n.shape)
    # One pass per pattern of uncertain strata: a stratum replayed whole takes no part of the error.
    for pattern in np.unique(uncertain.reshape(-1, uncertain.shape[-1]), axis=0):
        rows = (uncertain == pattern).all(axis=-1)
        certain = hits[rows][:, ~pattern].sum(axis=-1)
        if pattern.any():
            some = (hits[rows][:, pattern], replayed[rows][:, pattern], sizes[rows][:, pattern])
            votes = certain[:, None] + _votes(some, budget.values)
            limits[rows] = binomial.lower(votes, n[rows][:, None], budget.edges).min(axis=-1)
        else:  # The count is exact, and the minimum is where g begins to be below 1. All of alpha
            # would be too much, since what is replayed whole may have been chosen by the cache.
            limits[rows] = binomial.lower(certain, n[rows], budget.edges[0])
    return limits


_Strata = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _votes(strata: _Strata, deltas: NDArray[Any]) -> NDArray[np.int64]:
    """Lower limits on the strata's total of votes at each delta: (inputs, strata) to (inputs, D).

    Strata are sampled independently, so the evidence of one and the error allowed for the rest
    offset each other as cache and replay do.
    """
    hits, replayed, sizes = strata
    if hits.shape[1] == 1:
        return hypergeometric.lower(hits, replayed, sizes, deltas)
    inner = [Budget(float(delta), cells=_INNER_CELLS) for delta in deltas]
    edges = np.concatenate([budget.edges for budget in inner])
    values = np.concatenate([budget.values for budget in inner])
    first = hypergeometric.lower(hits[:, :1], replayed[:, :1], sizes[:, :1], edges)
    rest = _votes((hits[:, 1:], replayed[:, 1:], sizes[:, 1:]), values)
    return (first + rest).reshape(len(hits), len(deltas), -1).min(axis=-1)
