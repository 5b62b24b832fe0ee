"""The errors of every method against a planner who knows the true law, by exact enumeration.

The planner sees the cache, and chooses for each outcome of it what the method's theorem lets it
choose (how many winners and losers to replay, or fresh draws of which length), so that the limit
exceeds the truth as often as it can. For each law that is

    sum over k of  P[k cached votes] * max over choices of P[limit > p' | k, choice],

exactly: no counted draw has been seen, and the cached draws are exchangeable given k. A method errs
most with the truth p' just below a value that some limit takes, so p' runs over all of these, and
the other parameters over a grid that is refined around the worst. oracle_settings.py has the
methods that leave no choice once the cache is seen; largest_errors.py makes the table.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from smoothcert.bounds import binomial, joint, stratified
from smoothcert.bounds.budget import Budget

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """What is enumerated, and how finely laws are searched.

    Attributes:
        joint: cached draws of the joint bound, draws from scratch, and of a group of inputs.
        strata: cached draws of the stratified bound.
        parts: the same where strata may be replayed whole in part.
        decide: draws after which a decision is given up.
        radii: that are decided, as probabilities from 1/2 up.
        irs: cached draws of IRS.
        replayed: its evaluations per input, to choose from.
        points: of a grid, per parameter.
        kept: truths around which the grid is refined.
        rounds: refinements, each to a third of the width.
    """

    joint: int = 24
    strata: int = 10
    parts: int = 6
    decide: int = 300
    radii: int = 500
    irs: int = 40
    replayed: tuple[int, ...] = (10, 20, 40)
    points: int = 13
    kept: int = 40
    rounds: int = 8


@dataclass(frozen=True)
class Worst:
    """The largest error found, and where.

    Attributes:
        method: what errs.
        alpha: what is claimed of it.
        n: cached draws, or draws.
        error: the probability that more is claimed than the truth.
        truth: P[f' = c].
        p, u, v: P[f = c], P[f' != c | f = c], P[f' = c | f != c].
        proven: what the theorem allows at that law, over alpha: 1, but for IRS as published.
    """

    method: str
    alpha: float
    n: int
    error: float = 0.0
    truth: float = 0.0
    p: float = 1.0
    u: float = 0.0
    v: float = 0.0
    proven: float = 1.0

    @property
    def share(self) -> float:
        """The error over alpha."""
        return self.error / self.alpha


Error = Callable[..., Array]
"""Of a truth and the other parameters' axes: the errors on their product."""

Box = list[tuple[float, float]]


def refined(error: Error, truth: float, box: Box, sizes: Sizes, rounds: int) -> tuple[float, list]:
    """The largest error in a box of the other parameters, and where it is."""
    best, at, around = -1.0, [low for low, _ in box], box
    for _ in range(rounds):
        axes = [np.linspace(*ends, sizes.points) for ends in around]
        found = error(truth, *axes)
        place = tuple(int(i) for i in np.unravel_index(found.argmax(), found.shape))
        if found[place] > best:
            best, at = float(found[place]), [a[i] for a, i in zip(axes, place, strict=True)]
        around = [
            (max(low, x - (b - a) / 6), min(high, x + (b - a) / 6))
            for x, (a, b), (low, high) in zip(at, around, box, strict=True)
        ]
    return best, at


def search(
    error: Error, values: Array, box: Callable[[float], Box], sizes: Sizes
) -> tuple[float, float, list]:
    """The largest error over all truths just below one of the values: (error, truth, the rest)."""
    truths = np.unique(values[(values > 0) & (values < 1)]).tolist()
    if not truths:  # nothing is ever claimed
        return 0.0, 1.0, [1.0 for _ in box(1.0)]
    coarse = [refined(error, truth, box(truth), sizes, 1)[0] for truth in truths]
    worst = np.argsort(coarse)[::-1][: sizes.kept]
    fine = [(*refined(error, truths[i], box(truths[i]), sizes, sizes.rounds), i) for i in worst]
    best, at, i = max(fine, key=lambda found: found[0])
    return best, truths[i], [float(x) for x in at]


def pmf(n: int, p: Array) -> Array:
    """Binomial probabilities, shape (*p.shape, n + 1)."""
    return stats.binom.pmf(np.arange(n + 1), n, p[..., None])


def from_scratch(n: int, alpha: float) -> Worst:
    """n draws of the model itself."""
    limits, found = binomial.lower(np.arange(n + 1), n, alpha), Worst("from scratch", alpha, n)
    for truth in limits[limits > 0].tolist():
        error = float(pmf(n, np.array(truth))[limits >= truth].sum())
        found = max(found, replace(found, error=error, truth=truth, p=truth), key=by_error)
    return found


def by_error(found: Worst) -> float:
    return found.error


# The joint bound, or fresh draws.

Inner = tuple[float, float, float]
"""Laws in the middle: p' above, p' below, p at most."""


@dataclass(frozen=True)
class Joint:
    """Limits by (cached votes, replayed winners, flips), and the error of fresh draws if allowed.

    That is the level at which they are tested: long samples come as near to it as one likes.
    What gives c to a draw that f loses raises p' and no limit, so v = 0 and p >= p' are the worst.
    """

    limits: Array
    fresh: float = 0.0

    @staticmethod
    def of(n: int, budget: Budget) -> "Joint":
        k, m, x = np.mgrid[: n + 1, : n + 1, : n + 1]
        there = (x <= m) & (m <= k)
        limits = np.zeros(k.shape)
        limits[there] = joint.lower(k[there], n, x[there], m[there], budget)
        return Joint(limits)

    def error(self, truth: float, p: Array) -> Array:
        n = len(self.limits) - 1
        most = (self.limits >= truth).sum(axis=-1) - 1  # flips with which too much is claimed
        k, m = np.nonzero(most >= 0)
        wrong = np.zeros((len(p), n + 1))
        u = np.maximum(0, 1 - truth / p)
        each = np.where(u[:, None] > 0, special.bdtr(most[k, m], m, u[:, None]), 1.0)
        np.maximum.at(wrong.T, k, each.T)
        return (pmf(n, p) * np.maximum(wrong, self.fresh)).sum(axis=-1)

    def worst(self, method: str, alpha: float, sizes: Sizes, inner: Inner | None = None) -> Worst:
        """The largest error, of all laws or of some in the middle."""
        low, high, most = inner or (0.0, 1.0, 1.0)
        values = self.limits[(self.limits > low) & (self.limits < high)]
        error, truth, (p,) = search(self.error, values, lambda at: [(at, most)], sizes)
        return Worst(method, alpha, len(self.limits) - 1, error, truth, p, 1 - truth / p)


# Strata, or fresh draws.


@dataclass(frozen=True)
class Strata:
    """Limits of every choice by (certain votes, winners kept, losers gained).

    A choice is (k, winners and losers in samples, winners and losers in strata replayed whole), at
    a model that keeps c at least as often where f has it as elsewhere: 1 - u >= v.
    """

    n: int
    choices: NDArray[np.int64]
    limits: Array
    fresh: float = 0.0

    @staticmethod
    def of(n: int, budget: Budget, parts: bool = False, whole: float | None = None) -> "Strata":
        """All limits.

        Args:
            n: cached draws.
            budget: of the method.
            parts: whether a part of the winners or losers may be replayed whole, and the rest in
                a sample. All of them always may.
            whole: the level at which counts that are certain are tested; wrong if not None.
        """
        count = np.arange(n + 1)
        near = count if parts else count[:1]
        axes = np.meshgrid(count, count, count, near, near, indexing="ij")
        k, won, lost, near_won, near_lost = (axis.ravel() for axis in axes)
        there = (won + near_won <= k) & (lost + near_lost <= n - k)
        choices = np.stack([k, won, lost, near_won, near_lost])[:, there]
        k, won, lost, near_won, near_lost = choices
        certain = near_won + near_lost
        limits = np.zeros((len(k), certain.max() + 1, n + 1, n + 1))
        replayed = np.stack([certain, won, lost], axis=-1)
        place = np.moveaxis(np.indices(limits.shape[1:]), 0, -1)
        row, *at = np.nonzero((place <= replayed[:, None, None, None]).all(axis=-1))
        hits, sizes = (
            np.stack(at, axis=-1),
            np.stack([certain, k - near_won, n - k - near_lost], -1),
        )
        replayed, sizes = replayed[row], sizes[row]
        found = stratified.lower(hits, replayed, sizes, n, budget)
        if whole is not None:
            sure = ((replayed == 0) | (replayed == sizes)).all(axis=-1)
            found[sure] = binomial.lower(hits[sure].sum(axis=-1), n, whole)
        limits[row, *at] = found
        return Strata(n, choices, limits)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        return np.searchsorted(self.choices[0], np.arange(self.n + 1))

    def error(self, truth: float, keeps: Array, gains: Array) -> Array:
        _, won, lost, near_won, near_lost = self.choices
        count, size = np.arange(self.n + 1), np.arange(self.n + 1)[:, None]
        needed = lost[:, None, None] + 1 - (self.limits >= truth).sum(axis=-1)  # gained, to claim
        kept = stats.binom.pmf(count, size, keeps[:, None, None])  # (keeps, size, count)
        tail = stats.binom.sf(np.arange(self.n + 2) - 1, size, gains[:, None, None])
        claims = tail[:, lost[:, None, None], needed]  # (gains, choice, certain, kept)
        each = np.einsum("aoy,bocy->oabc", kept[:, won], claims, optimize=True)
        if self.limits.shape[1] > 1:
            left = np.arange(self.limits.shape[1])[:, None] - count  # certain votes from losers
            gained = np.where(
                left >= 0, stats.binom.pmf(left, size[..., None], gains[:, None, None, None]), 0
            )
            sure = np.einsum(
                "aoy,bocy->oabc", kept[:, near_won], gained[:, near_lost], optimize=True
            )
            each = each * sure
        wrong = np.maximum.reduceat(each.sum(axis=-1), self._starts, axis=0)
        law = pmf(self.n, share_before(truth, keeps[:, None], gains[None, :]))
        return np.einsum("kab,abk->ab", np.maximum(wrong, self.fresh), law)

    def worst(self, method: str, alpha: float, sizes: Sizes) -> Worst:
        error, truth, (keeps, gains) = search(self.error, self.limits, both_ways, sizes)
        p = float(share_before(truth, np.array(keeps), np.array(gains)))
        return Worst(method, alpha, self.n, error, truth, p, 1 - keeps, gains)


def both_ways(truth: float) -> Box:
    """1 - u above the truth, and v below it."""
    return [(truth, 1.0), (0.0, truth)]


def share_before(truth: float, keeps: Array, gains: Array) -> Array:
    """P[f = c], at which P[f' = c] is the truth."""
    width = keeps - gains
    return np.clip(np.where(width > 0, (truth - gains) / np.where(width > 0, width, 1), 1.0), 0, 1)
