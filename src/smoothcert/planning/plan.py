"""From a policy and expected radii to every input's allocation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.methods import Allocation, Bound
from smoothcert.planning.expected import ExpectedRadii, Split
from smoothcert.planning.policy import Policy


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


def plan(
    policy: Policy,
    k: NDArray[np.int64],
    n: int,
    proven: NDArray[np.bool_],
    t: ExpectedRadii,
    reserved: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Plan:
    """Allocate draws to every input.

    Args:
        policy: how much to spend where.
        k: cached votes for the class, shape (inputs,).
        n: cached draws.
        proven: inputs that the original certifies; the others get nothing.
        t: the radii to expect from evaluations.
        reserved: winners and losers of each input that the pilot has seen. They go into no
            sample; where strata are counted they are replayed whole, for up to that many
            evaluations more than the policy asks for.
    """
    z = special.ndtri(np.clip(k / n, 0.5, 1 - 0.3 / n))
    row = np.clip(np.searchsorted(t.z, z), 0, len(t.z) - 1)
    column = _columns(policy, t, row, proven, n)
    column[~proven] = 0
    seen = reserved or (np.zeros_like(k), np.zeros_like(k))
    size = t.spent[row, column]
    if policy.kind == "uniform":  # exactly as asked, not the grid's next smaller size
        size = np.where((column > 0) & proven, int(policy.value), 0)
    allocations = [
        _allocation(
            t.splits,
            int(t.chosen[r, c]),
            int(m),
            (int(won), n - int(won)),
            (int(seen_won), int(lost)),
        )
        for r, c, m, won, seen_won, lost in zip(row, column, size, k, *seen, strict=True)
    ]
    return Plan(tuple(allocations), t.radius[row, column])


def _columns(
    policy: Policy, t: ExpectedRadii, row: NDArray[Any], proven: NDArray[np.bool_], n: int
) -> NDArray[np.int64]:
    radius = t.radius[row]
    if policy.kind == "uniform":
        column = int(np.searchsorted(t.evaluations, policy.value, side="right")) - 1
        return np.full(len(row), max(column, 1))
    if policy.kind == "retain":
        return _first_reaching(radius, policy.value * t.cached[row])
    if policy.kind == "radius":
        return _first_reaching(radius, np.full(len(row), policy.value))
    return _water_filling(radius, t.spent[row], proven, policy.total(len(row), n))


def _first_reaching(radius: NDArray[Any], target: NDArray[Any]) -> NDArray[np.int64]:
    """The cheapest column that reaches the target; none (0) where no column does."""
    reached = radius >= target[:, None]
    return np.where(reached.any(axis=1), reached.argmax(axis=1), 0)


def _water_filling(
    radius: NDArray[Any], cost: NDArray[Any], proven: NDArray[np.bool_], total: float
) -> NDArray[np.int64]:
    """Maximize the summed radius within a total cost: bisect the price of an evaluation."""
    low, high = 0.0, 1.0
    column = np.zeros(len(radius), dtype=np.int64)
    for _ in range(60):
        price = (low + high) / 2
        tried = (radius - price * cost).argmax(axis=1)
        spent = cost[np.arange(len(cost)), tried][proven].sum()
        if spent <= total:
            high, column = price, tried
        else:
            low = price
    return column


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
