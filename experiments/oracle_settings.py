"""The errors of methods that leave no choice once the cache is seen, by exact enumeration.

Somebody who knows the true law chooses the settings before the cache is seen: for IRS the
evaluations per input and gamma, for a decision the radius. The flip rates of a group's inputs are
arbitrary. See oracle_planner.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from oracle_planner import Array, Sizes, Worst, both_ways, by_error, pmf, search, share_before
from scipy import stats

from smoothcert.bounds import binomial
from smoothcert.methods.irs import Irs


@dataclass(frozen=True)
class Incremental:
    """Limits of replays by (cached votes, flips), of fresh draws by votes; none of 1/2 or less.

    Attributes:
        n: cached draws.
        m: evaluations.
        exact: the variant; it says which cached votes gamma is compared with.
        replay: limits, shape (n + 1, m + 1).
        fresh: limits, shape (m + 1,).
        proven: cached votes with which the original does not abstain, shape (n + 1,).
        least: the fewest votes that reach a gamma above 1/2.
    """

    n: int
    m: int
    exact: bool
    replay: Array
    fresh: Array
    proven: NDArray[np.bool_]
    least: int

    @staticmethod
    def of(n: int, irs: Irs, free: bool = False) -> "Incremental":
        """All limits; `free` leaves the disparity out, which is wrong."""
        m, x = irs.per_input, np.arange(irs.per_input + 1)
        exact = irs.variant == "budget-exact"
        cached = binomial.lower(np.arange(n + 1), n, irs.alpha_cache)
        zeta = 0.0 * x if free else binomial.upper(x, m, irs.alpha_flips)
        fresh = binomial.lower(x, m, irs.alpha_flips if exact else irs.alpha)
        replay, fresh = (np.where(q > 0.5, q, 0.0) for q in (cached[:, None] - zeta, fresh))
        rest = n - m if exact else n
        decided = binomial.lower(np.arange(rest + 1), rest, irs.alpha_cache)
        return Incremental(n, m, exact, replay, fresh, cached > 0.5, int((decided <= 0.5).sum()))

    def _flips(self, loses: Array, gains: Array) -> Array:
        """P[so many flips or fewer] by (loses, gains, replayed winners, flips), one more for -1."""
        m, count = self.m, np.arange(self.m + 1)
        lost = stats.binom.pmf(count, count[:, None], loses[:, None, None])
        left = np.maximum(count[:, None] - count, -1)
        won = stats.binom.cdf(left, (m - count)[:, None, None], gains[:, None, None, None])
        found = np.einsum("iay,jaxy->ijax", lost, won, optimize=True)
        return np.concatenate([found, np.zeros_like(found[..., :1])], axis=-1)

    def errors(self, truth: float, keeps: Array, gains: Array) -> tuple[Array, Array]:
        """The error, and P[fresh], by (keeps, gains, gamma)."""
        n, m = self.n, self.m
        p = share_before(truth, keeps[:, None], gains[None, :])
        a, b = np.mgrid[: m + 1, : n - m + 1]
        most = (self.replay >= truth).sum(axis=-1) - 1
        replayed = self._flips(1 - keeps, gains)[:, :, a, most[a + b]]
        law = pmf(m, p)[..., :, None] * pmf(n - m, p)[..., None, :]
        hits = stats.binom.pmf(np.arange(self.m + 1), m, truth)
        fresh = self.proven[a + b] * hits[self.fresh >= truth].sum()
        by = b if self.exact else a + b
        sums = np.zeros((3, *p.shape, by.max() + 1))
        for total, some in zip(sums, (law * replayed, law * fresh, law), strict=True):
            np.add.at(total.T, by.T, some.T)
        before = np.cumsum(sums[0], axis=-1) - sums[0]
        after = np.cumsum(sums[1:, ..., ::-1], axis=-1)[..., ::-1]
        never = sums[0].sum(axis=-1, keepdims=True)
        error = np.concatenate([before + after[0], never], axis=-1)
        taken = np.concatenate([after[1], 0 * never], axis=-1)
        return error[..., self.least :], taken[..., self.least :]

    def worst(self, method: str, alpha: float, sizes: Sizes, relative: bool = False) -> Worst:
        """The largest error, or the largest part of what is proven, alpha (1 + P[fresh])."""

        def size(truth: float, keeps: Array, gains: Array) -> Array:
            error, fresh = self.errors(truth, keeps, gains)
            return (error / (1 + fresh if relative else 1.0)).max(axis=-1)

        values = np.concatenate([self.replay.ravel(), self.fresh.ravel()])
        _, truth, (keeps, gains) = search(size, values, both_ways, sizes)
        error, fresh = (some[0, 0] for some in self.errors(truth, *np.array([[keeps], [gains]])))
        at = int((error / (1 + fresh if relative else 1.0)).argmax())
        p = float(share_before(truth, np.array(keeps), np.array(gains)))
        law = truth, p, 1 - keeps, gains
        proven = 1.0 if self.exact else 1 + float(fresh[at])
        return Worst(method, alpha, self.n, float(error[at]), *law, proven)


# Deciding a radius, and a group of a dataset certificate.


def decided(sizes: Sizes, alpha: float, rejects: Callable[..., NDArray[np.bool_]]) -> list[Worst]:
    """The truth next to the threshold: proven or excluded wrongly; and either, for all radii."""
    n = sizes.decide
    one, every = Worst("decide", alpha, n), Worst("decide, all radii at once", alpha, n)
    for p in np.linspace(0.5, 0.999, sizes.radii).tolist():
        alive, wrong = np.ones(1), np.zeros(2)
        for draws in range(1, n + 1):
            alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
            hits = np.arange(draws + 1)
            stop = rejects(hits, draws, p, alpha)
            above = hits > draws * p
            wrong += alive[stop & above].sum(), alive[stop & ~above].sum()
            alive[stop] = 0.0
        one = max(one, replace(one, error=float(wrong.max()), truth=p, p=p), key=by_error)
        every = max(every, replace(every, error=float(wrong.sum()), truth=p, p=p), key=by_error)
    return [one, every]


def mean_rate(n: int, alpha: float, sizes: Sizes, limit: Callable[..., float]) -> Worst:
    """Two inputs' mean flip rate just above a limit, their rates apart by any amount."""
    m, found = n // 2, Worst("screen: mean flip rate of a group", alpha, n)
    limits = np.array([limit([min(c, m), max(0, c - m)], m, alpha) for c in range(2 * m + 1)])
    for mean in np.unique(limits[limits < 1]).tolist():
        for apart in np.linspace(0, min(mean, 1 - mean), 4 * sizes.points).tolist():
            one, other = (pmf(m, np.array(mean + side * apart)) for side in (-1, 1))
            error = float(np.convolve(one, other)[limits <= mean].sum())
            found = max(found, replace(found, error=error, truth=mean, u=apart), key=by_error)
    return found
