"""The radii to expect from evaluations, by the original's vote share; expected, not proven."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds.budget import Budget
from smoothcert.methods.replay import Bound, Reuse
from smoothcert.planning.flips import FlipRates, within

_COLUMNS = 28
_ROWS = 160
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class ExpectedRadii:
    """Expected radii in units of sigma, by cached vote share (rows) and evaluations (columns).

    Attributes:
        z: Phi^-1 of the vote shares, increasing, shape (rows,).
        evaluations: increasing, the first 0, shape (columns,).
        radius: of the best split of each size or smaller, shape (rows, columns).
        chosen: index of that split in `splits`, shape (rows, columns).
        splits: the ways to divide evaluations.
        alpha: error probability of the original's limit, for a target that is a share of it.
        spent: evaluations actually used, at most the column's, shape (rows, columns).
    """

    z: NDArray[np.float64]
    evaluations: NDArray[np.int64]
    radius: NDArray[np.float64]
    chosen: NDArray[np.int64]
    splits: "tuple[Split, ...]"
    alpha: float
    spent: NDArray[np.int64]

    def cached(self, row: NDArray[Any], n: NDArray[Any]) -> NDArray[np.float64]:
        """The original's expected radius, of rows and cached draws of one shape."""
        p = special.ndtr(self.z[row])
        return np.maximum(special.ndtri(lower(p * n, n, self.alpha)), 0)


@dataclass(frozen=True)
class Split:
    """A way to divide an input's evaluations.

    Attributes:
        bound: the bound that uses them.
        near_winners: the part for the nearest winners, which are replayed whole.
        near_losers: the part for the nearest losers, likewise.
        losers: the part of the rest for a sample of the losers.
    """

    bound: Bound
    near_winners: float = 0.0
    near_losers: float = 0.0
    losers: float = 0.0


_SAMPLES = tuple(Split(Bound.STRATIFIED, losers=part) for part in (0.0, 0.15, 0.3, 0.5))
_NEAR = tuple(
    Split(Bound.STRATIFIED, *parts)
    for parts in (
        (0.2, 0.0, 0.0),
        (0.4, 0.0, 0.0),
        (0.0, 0.2, 0.0),
        (0.1, 0.1, 0.0),
        (0.2, 0.2, 0.0),
        (0.3, 0.4, 0.0),
        (0.2, 0.1, 0.2),
    )
)
_FRESH = (Split(Bound.FRESH),)
# The joint bound and the strata have different p-values: an input may not choose between them.
_CANDIDATES = {
    "strata": (*_SAMPLES, *_FRESH),
    "stratified": _SAMPLES,
    "joint": (Split(Bound.JOINT), *_FRESH),
    "fresh": _FRESH,
}


def expected_radii(
    n: int, flips: FlipRates, reuse: Reuse, candidates: str = "strata", margins: bool = False
) -> ExpectedRadii:
    """Tabulate the radii to expect from evaluations, for caches of n draws.

    Args:
        n: cached draws per input.
        flips: the flip rates to expect.
        reuse: the error budget.
        candidates: what an input may choose from, see `candidate_splits`.
        margins: whether the cache has the draws' margins.
    """
    splits = _CANDIDATES[candidates]
    if margins and candidates in ("strata", "stratified"):
        splits = (*splits, *_NEAR)
    return _tabulated(n, flips, splits, reuse.budget, reuse.fresh_alpha, reuse.alpha)


@lru_cache(maxsize=16)
def _tabulated(
    n: int,
    flips: FlipRates,
    splits: tuple[Split, ...],
    budget: Budget,
    fresh_alpha: float,
    alpha: float,
) -> ExpectedRadii:
    """See `expected_radii`. It takes seconds, and a plan, its run and `verify` share one."""
    z = np.linspace(0.005, special.ndtri(1 - 0.3 / n), _ROWS)
    m = np.unique(np.geomspace(_FEWEST, n, _COLUMNS).astype(int))
    p, sizes = special.ndtr(z)[:, None], m[None, :].astype(float)
    limits = [_limits(split, p, n, sizes, flips, budget, fresh_alpha) for split in splits]
    values = np.maximum(special.ndtri(np.clip(np.stack(limits), 1e-12, 1 - 1e-12)), 0)
    best = values.argmax(axis=0)
    radius = np.take_along_axis(values, best[None], axis=0)[0]
    # A larger column is never worse: keep the smaller one where more does not help.
    column = _last_best(radius)
    return ExpectedRadii(
        z=z,
        evaluations=np.concatenate([[0], m]),
        radius=np.pad(np.take_along_axis(radius, column, axis=1), ((0, 0), (1, 0))),
        chosen=np.pad(np.take_along_axis(best, column, axis=1), ((0, 0), (1, 0))),
        splits=splits,
        alpha=alpha,
        spent=np.pad(m[column], ((0, 0), (1, 0))),
    )


def _last_best(radius: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each column, the column at or before it with the largest radius."""
    best = np.zeros(radius.shape, dtype=np.int64)
    for column in range(1, radius.shape[1]):
        before = best[:, column - 1]
        better = radius[:, column] > radius[np.arange(len(radius)), before] + 1e-9
        best[:, column] = np.where(better, column, before)
    return best


def types_of(selected: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different pairs of selection votes, and which of them each input has.

    Args:
        selected: votes for the class and for the best other one, shape (inputs, 2).
    """
    pairs, place = np.unique(selected, axis=0, return_inverse=True)
    return pairs, place.reshape(-1)


def second_share(selected: NDArray[np.int64], n0: int) -> NDArray[np.float64]:
    """The best other class's share of the n0 votes that the class does not get; shape (rows,)."""
    won, second = selected.T
    return (second + 0.5) / (n0 - won + 1.0)


def lower(k: NDArray[Any], n: NDArray[Any] | float, alpha: NDArray[Any] | float) -> NDArray[Any]:
    """Clopper and Pearson's (1934) lower limit at counts that need not be whole, for planning."""
    return special.betaincinv(np.maximum(k, 1e-9), n - k + 1, alpha)


def upper(k: NDArray[Any], n: NDArray[Any] | float, alpha: NDArray[Any] | float) -> NDArray[Any]:
    """The upper limit likewise."""
    return special.betaincinv(k + 1, np.maximum(n - k, 1e-9), 1 - np.asarray(alpha))


def _limits(
    split: Split,
    p: NDArray[Any],
    n: int,
    m: NDArray[Any],
    flips: FlipRates,
    budget: Budget,
    fresh_alpha: float,
) -> NDArray[Any]:
    """The approximate limit from m evaluations divided this way, shape (rows, columns)."""
    if split.bound is Bound.JOINT:
        return _joint(p, n, m, flips, budget)
    if split.bound is Bound.FRESH:
        return _fresh(p, m, flips, fresh_alpha)
    return _stratified(p, n, m, split, flips, budget)


def _joint(
    p: NDArray[Any], n: int, m: NDArray[Any], flips: FlipRates, budget: Budget
) -> NDArray[Any]:
    u, _ = flips.rates(p)
    m = np.minimum(m, p * n)[..., None]
    low = lower(p[..., None] * n, n, budget.edges)
    return (low * (1 - upper(m * u[..., None], m, budget.values))).min(axis=-1)


def _fresh(p: NDArray[Any], m: NDArray[Any], flips: FlipRates, alpha: float) -> NDArray[Any]:
    u, v = flips.rates(p)
    return lower(m * (p * (1 - u) + (1 - p) * v), m, alpha)


def _stratified(
    p: NDArray[Any], n: int, m: NDArray[Any], split: Split, flips: FlipRates, budget: Budget
) -> NDArray[Any]:
    """Deviations of the strata added in quadrature, which approximates the nested budgets."""
    m = m[..., None]
    u, v = (rate[..., None] for rate in flips.rates(p))
    winners, losers = (p * n)[..., None], ((1 - p) * n)[..., None]
    near_winners = np.minimum(split.near_winners * m, winners)
    near_losers = np.minimum(split.near_losers * m, losers)
    lost_near = u * winners * within(near_winners / winners, flips.away_depth)
    won_near = v * losers * within(near_losers / losers, flips.back_depth)
    u = (u * winners - lost_near) / np.maximum(winners - near_winners, 1e-9)
    v = (v * losers - won_near) / np.maximum(losers - near_losers, 1e-9)
    winners, losers = winners - near_winners, losers - near_losers
    m = m - near_winners - near_losers
    of_losers = np.minimum(split.losers * m, losers)
    of_winners = np.minimum(m - of_losers, winners)
    # Where both strata are uncertain, nesting the budgets costs more than the quadrature below
    # shows; a twelfth of delta makes up for it (compared with proven radii in simulations).
    both = (of_losers > 0) & (of_losers < losers) & (of_winners < winners)
    delta = np.where(both, budget.values / 12, budget.values)
    lost = (upper(of_winners * u, of_winners, delta) - u) * winners
    lost = lost * np.sqrt(np.maximum(1 - of_winners / np.maximum(winners, 1e-9), 0))
    won, missed = losers * v, 0.0
    if split.losers:
        missed = (v - lower(of_losers * v, of_losers, delta)) * losers
        missed = missed * np.sqrt(np.maximum(1 - of_losers / np.maximum(losers, 1e-9), 0))
    else:
        won = 0 * won
    votes = near_winners - lost_near + won_near
    votes = votes + winners * (1 - u) + won - np.hypot(lost, missed)
    votes = np.clip(votes, 1e-9, n - 1e-9)
    return lower(votes, n, budget.edges).min(axis=-1)
