"""From a policy and expected radii to every input's allocation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.methods import Allocation, Bound, Reuse
from smoothcert.planning.expected import ExpectedRadii, Split
from smoothcert.planning.policy import Policy

_STRATA_FROM = 0.1  # share of the cached draws from which counting flips back pays


@dataclass(frozen=True, eq=False)
class Plan:
    """Every input's allocation, and the radius expected from it.

    Attributes:
        allocations: one per input, in order.
        radius: expected radius per input, in units of sigma; 0 where nothing is spent.
    """

    allocations: tuple[Allocation, ...]
    radius: NDArray[np.float64]

    @property
    def evaluations(self) -> int:
        """Total forward passes."""
        return sum(one.evaluations for one in self.allocations)


def candidate_splits(reuse: Reuse, inputs: int, n: int, shown: bool = False) -> str:
    """The splits that a run's inputs may have, by name: `joint`, `strata`, `stratified` or `fresh`.

    `auto` decides by the amount to be spent, which does not depend on any draw. If a plan was
    shown, the amount may have been chosen by the cache: then `auto` is `joint` whatever is spent.
    """
    if reuse.method != "auto":
        return reuse.method
    if shown:
        return "joint"
    spent = Policy.parse(reuse.policy).total(inputs, n) / (inputs * n)
    return "strata" if spent >= _STRATA_FROM else "joint"


def plan(
    policy: Policy,
    k: NDArray[np.int64],
    n: NDArray[np.int64],
    proven: NDArray[np.bool_],
    t: ExpectedRadii,
    reserved: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Plan:
    """Allocate draws to every input.

    Args:
        policy: how much to spend where.
        k: cached votes for the class, shape (inputs,).
        n: cached draws, shape (inputs,).
        proven: inputs that the original certifies; the others get nothing.
        t: the radii to expect from evaluations.
        reserved: winners and losers of each input that the pilot has seen. They go into no
            sample; where strata are counted they are replayed whole, for up to that many
            evaluations more than the policy asks for.
    """
    drawn = np.maximum(n, 1)
    z = special.ndtri(np.clip(k / drawn, 0.5, 1 - 0.3 / drawn))
    row = np.clip(np.searchsorted(t.z, z), 0, len(t.z) - 1)
    column, size = policy.allocate(t, row, proven, n)
    seen = reserved or (np.zeros_like(k), np.zeros_like(k))
    allocations = [
        _allocation(
            t.splits,
            int(t.chosen[r, c]),
            int(m),
            (int(won), int(draws - won)),
            (int(seen_won), int(lost)),
        )
        for r, c, m, draws, won, seen_won, lost in zip(row, column, size, n, k, *seen, strict=True)
    ]
    return Plan(tuple(allocations), t.radius[row, column])


def _allocation(
    splits: tuple[Split, ...],
    chosen: int,
    size: int,
    cached: tuple[int, int],
    seen: tuple[int, int],
) -> Allocation:
    """The allocation of this size, limited by the cached winners and losers."""
    split = splits[chosen]
    # What the pilot saw must be replayed whole: where that would be most of it, use fresh draws.
    crowded = split.bound is Bound.STRATIFIED and 2 * sum(seen) > size
    if size == 0:
        return Allocation(Bound.NOTHING)
    if split.bound is Bound.FRESH or (crowded and Split(Bound.FRESH) in splits):
        return Allocation(Bound.FRESH, fresh=size)
    winners, losers = cached[0] - seen[0], cached[1] - seen[1]
    if split.bound is Bound.JOINT:
        return Allocation(split.bound, min(size, winners))
    size = max(size - sum(seen), size // 2)
    parts = (split.near_winners, winners), (split.near_losers, losers)
    near_won, near_lost = (min(round(part * size), there) for part, there in parts)
    rest = size - near_won - near_lost
    lost = min(round(split.losers * rest), losers - near_lost)
    won = min(rest - lost, winners - near_won)
    return Allocation(split.bound, won, lost, 0, near_won, near_lost, *seen)
