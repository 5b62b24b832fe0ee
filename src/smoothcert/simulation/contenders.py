"""The methods on a simulated world: the same bounds and plans as with a model, on drawn counts.

No method sees labels, and every method gets every image. All use the logged class, so none loses an
image to its selection draws.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from smoothcert.bounds import binomial, joint, stratified
from smoothcert.methods import dataset as pooled
from smoothcert.methods.irs import Irs
from smoothcert.methods.replay import Allocation, Bound, ReplayCounts, Reuse, strata_of
from smoothcert.methods.screening import Pool, Screening
from smoothcert.planning import FlipRates, candidate_splits
from smoothcert.planning.pilot import PILOT_LOSERS, PILOT_WINNERS, pilot_positions, proven
from smoothcert.planning.planned import ReusePlanner
from smoothcert.simulation.world import World

Points = tuple[NDArray[np.float64], NDArray[np.int64]]
"""ACR and evaluations over the data set, one of each per size."""

Counts = NDArray[np.int64]


def from_scratch(
    world: World, sizes: Counts, alpha: float, selection: int, rng: Generator
) -> Points:
    """Certify the new model from scratch: `sizes` plus `selection` draws of every image."""
    hits = rng.binomial(sizes, world.changed[:, None], (world.log.images, len(sizes)))
    acr = world.acr(binomial.lower(hits, sizes, alpha))
    return acr, world.log.images * (sizes + selection)


def incremental(world: World, sizes: Counts, irs: Irs, rng: Generator) -> Points:
    """IRS with `sizes` evaluations of every image that the cache proves."""
    shape = (world.log.images, len(sizes))
    winners = rng.hypergeometric(world.k[:, None], world.n - world.k[:, None], sizes, shape)
    lost = rng.binomial(winners, world.u[:, None])
    won = rng.binomial(sizes - winners, world.v[:, None])
    fresh = rng.binomial(sizes, world.changed[:, None], shape)
    q = irs_limits(world.k[:, None], world.n, sizes, winners, lost + won, fresh, irs)
    used = binomial.lower(world.k, world.n, irs.alpha_cache) > 0.5
    return world.acr(q), used.sum() * sizes


def irs_limits(
    k: Counts, n: int, m: Counts, winners: Counts, flips: Counts, fresh: Counts, irs: Irs
) -> NDArray[np.float64]:
    """What `methods.irs.certificate` proves, over arrays: 0 where the original abstains.

    Args:
        k, n: cached votes and draws.
        m: evaluations.
        winners: cached votes for the class among the m that would be replayed.
        flips: replayed draws on which the labels differ, if they are replayed.
        fresh: votes for the class among m fresh draws, if those are taken.
        irs: settings; `per_input` is not used, since m is given.
    """
    cached = binomial.lower(k, n, irs.alpha_cache)
    replayed = cached - binomial.upper(flips, m, irs.alpha_flips)
    if irs.variant == "published":
        decided, share = cached, irs.alpha
    else:
        decided, share = binomial.lower(k - winners, n - m, irs.alpha_cache), irs.alpha_flips
    q = np.where(decided >= irs.gamma, binomial.lower(fresh, m, share), replayed)
    return np.where(cached > 0.5, np.maximum(q, 0), 0)


def uniform(world: World, sizes: Counts, reuse: Reuse, rng: Generator) -> Points:
    """The joint bound with `sizes` replayed winners of every image that the cache proves."""
    used = proven(world.certificates, reuse.alpha)
    m = np.minimum(sizes, world.k[used, None])
    flips = rng.binomial(m, world.u[used, None])
    q = np.zeros((world.log.images, len(sizes)))
    q[used] = joint.lower(world.k[used, None], world.n, flips, m, reuse.budget)
    return world.acr(q), m.sum(axis=0)


def planned(
    world: World, totals: Sequence[int], method: str, alpha: float, rng: Generator
) -> tuple[Points, Counts]:
    """A planned recertification for every total of evaluations, and what the pilots cost.

    Returns:
        (ACR, evaluations) without the pilot, and the pilot's evaluations, per total.
    """
    known: dict[tuple[int, str], ReusePlanner] = {}
    rows = []
    for total in totals:
        reuse = Reuse(f"budget:{total}", method, alpha)
        positions = pilot_positions(world.certificates, reuse)
        # A pilot of this size is the same, whatever is spent after it.
        key = len(positions), candidate_splits(reuse, world.log.images, world.n)
        if key not in known:
            known[key] = run_pilot(world, reuse, positions, rng)
        planner = known[key]
        plan = planner.plan(reuse.policy)
        q = allocation_limits(world, plan.allocations, reuse, rng)
        rows.append((float(world.acr(q)), plan.evaluations, planner.pilot_evaluations))
    acr, spent, piloted = (np.array(column) for column in zip(*rows, strict=True))
    return (acr, spent), piloted


def run_pilot(
    world: World, reuse: Reuse, positions: NDArray[np.int64], rng: Generator
) -> ReusePlanner:
    """`planning.planned.pilot`, on drawn counts."""
    aside = np.zeros((2, len(world.k)), dtype=np.int64)
    k = world.k[positions]
    aside[0, positions] = np.minimum(PILOT_WINNERS, k // 2)
    aside[1, positions] = np.minimum(PILOT_LOSERS, (world.n - k) // 2)
    w, v = aside[:, positions]
    lost, won = rng.binomial(w, world.u[positions]), rng.binomial(v, world.v[positions])
    flips, spent = FlipRates.fit((k + 0.5) / (world.n + 1), w, lost, v, won), int(aside.sum())
    return ReusePlanner.of(world.certificates, world.settings, reuse, flips, aside, spent)


def allocation_limits(
    world: World, allocations: Sequence[Allocation], reuse: Reuse, rng: Generator
) -> NDArray[np.float64]:
    """Draw the outcome of every allocation, and what `methods.replay.certificate` then proves."""
    counts = [(s.winners, s.losers, s.seen_winners, s.seen_losers, s.fresh) for s in allocations]
    *replayed, fresh = np.array(counts, dtype=np.int64).T
    rates = (1 - world.u, world.v) * 2
    drawn = [rng.binomial(count, rate) for count, rate in zip(replayed, rates, strict=True)]
    hit, all_ = (np.stack(side).reshape(2, 2, -1) for side in (drawn, replayed))
    tally = ReplayCounts(hit, all_)
    hits = rng.binomial(fresh, world.changed)
    bound = np.array([one.bound for one in allocations])
    q = np.zeros(len(allocations))
    some = bound == Bound.JOINT
    flips, m = (tally.replayed - tally.hits)[0, 0, some], tally.replayed[0, 0, some]
    q[some] = joint.lower(world.k[some], world.n, flips, m, reuse.budget)
    some = bound == Bound.STRATIFIED
    strata = strata_of(tally, np.stack([world.k, world.n - world.k]))
    q[some] = stratified.lower(
        strata[0][some], strata[1][some], strata[2][some], world.n, reuse.budget
    )
    some = bound == Bound.FRESH
    q[some] = binomial.lower(hits[some], fresh[some], reuse.fresh_alpha)
    return q


def screened(world: World, per_input: int, alpha: float, rng: Generator) -> tuple[float, int]:
    """The dataset certificate's ACR from `per_input` replayed winners per correct image, and cost.

    Images on which the original abstains may also have the right class; they are counted in the
    union bound over the cached limits.
    """
    log, screening = world.log, Screening(per_input, alpha)
    matching = int((log.correct | log.abstained).sum())
    positions = np.flatnonzero(log.correct & (world.k >= per_input))
    limits = _pool(world, positions, matching).limits(screening.alpha_cache)
    positions = positions[limits > 0.5]
    flips = rng.binomial(per_input, world.u[positions])
    pool = _pool(world, positions, matching)
    found = pooled.certificate("simulated", "", screening, pool, [flips.tolist()])
    return found.acr, found.evaluations


def _pool(world: World, positions: NDArray[np.intp], matching: int) -> Pool:
    log, indices = world.log, tuple(positions.tolist())
    k = tuple(world.k[positions].tolist())
    return Pool(log.sigma, 0.0, log.images, matching, indices, k, (world.n,) * len(indices))
