"""Plans for the exact test: a price for an evaluation, fixed before an input's votes are looked at.

An input gets what is best at its price, as a function of its cached votes. The prices keep the
budget: each one follows from the votes of earlier inputs, and of the input itself and later ones
only from selection draws. So an input's plan is fixed before its own counted draws, given all draws
of the inputs before it, which is what docs/theory.md, section 13, asks for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Settings
from smoothcert.methods import Allocation, Bound
from smoothcert.methods.exact import Exact
from smoothcert.methods.steps import Step, Steps
from smoothcert.planning import aims
from smoothcert.planning.expected import types_of
from smoothcert.planning.flips import FlipRates
from smoothcert.planning.menu import Choice, Menu
from smoothcert.planning.plan import Plan
from smoothcert.planning.policy import Policy

_PRICES = np.geomspace(1.0, 1e-7, 200)  # of an evaluation, in units of sigma; falling
_NEAR = 8  # places below the first input's price, to which no other falls: the last spend no rest


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of every input before the new classifier is evaluated.

    Attributes:
        selected: selection votes for the class and for the best other one, shape (inputs, 2).
        k: cached votes for the class, shape (inputs,).
        n: cached draws, fixed by selection draws; 0 where nothing was spent; shape (inputs,).
        proven: whether the cached votes prove the class, so that there is something to carry over.
    """

    selected: NDArray[np.int64]
    k: NDArray[np.int64]
    n: NDArray[np.int64]
    proven: NDArray[np.bool_]

    @cached_property
    def types(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The different pairs of selection votes, and each input's."""
        return types_of(self.selected)

    def at(self, positions: NDArray[np.int64]) -> "Known":
        """Of these inputs."""
        return Known(*(getattr(self, f.name)[positions] for f in fields(self)))


@dataclass(frozen=True, eq=False)
class _Offer:
    """What an input of each type, or of each row of votes, gets.

    Attributes:
        binary: by row of cached votes.
        runner_up: by type.
        several: whether a type is given that of `runner_up`.
        expected: the evaluations to expect of each type.
    """

    binary: Choice
    runner_up: Choice
    several: NDArray[np.bool_]
    expected: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Group:
    """Inputs with caches of one size, and what they can be offered.

    Attributes:
        form: as of the method.
        menu: what can be expected from evaluations.
        known: what is known of these inputs.
        positions: theirs among all.
    """

    form: str
    menu: Menu
    known: Known
    positions: NDArray[np.int64]

    def offers(self, rule: Policy, stages: int) -> list[_Offer]:
        """One per price for a budget, else a single one."""
        binary, runner_up = self.menu.binary, self.menu.runner_up(self._shares)
        if rule.kind == "budget":
            return [self._offer(binary.best(p), runner_up.best(p), p) for p in _PRICES.tolist()]
        if rule.kind == "uniform":
            size = int(rule.value)
            return [self._offer(binary.sized(size), runner_up.sized(size), 0.0)]
        cached = self.menu.cached
        if rule.kind == "radius":
            targets = np.full(len(cached), rule.value), np.full(len(self._shares), rule.value)
        else:
            targets = rule.value * cached, rule.value * self.menu.original(self._shares)
        one = aims.reaching(self.menu, targets[0], stages)
        two = aims.reaching_by_type(self.menu, runner_up, self._shares, targets[1])
        return [self._offer(one, two, self.menu.price)]

    def expected(self, offers: list[_Offer]) -> NDArray[np.float64]:
        """The evaluations to expect, by selection draws alone; shape (inputs, offers)."""
        return np.stack([offer.expected for offer in offers], axis=1)[self._types]

    def costs(self, offers: list[_Offer]) -> NDArray[np.float64]:
        """The same once the cached votes are known; 0 where they prove nothing."""
        several = np.stack([offer.several for offer in offers], axis=1)[self._types]
        two = np.stack([offer.runner_up.cost for offer in offers], axis=1)[self._types]
        one = np.stack([offer.binary.cost for offer in offers], axis=1)[self._row]
        return np.where(self.known.proven[:, None], np.where(several, two, one), 0.0)

    def expected_radii(self, offer: _Offer) -> NDArray[np.float64]:
        """In units of sigma, by selection draws alone; also where they miss what is aimed at."""
        one, two = self.menu.binary, self.menu.runner_up(self._shares)
        radius = self._weights @ one.radius(offer.binary)
        return np.where(offer.several, two.radius(offer.runner_up), radius)[self._types]

    def chances(self, offer: _Offer) -> NDArray[np.float64]:
        """That an input gets draws, by selection draws alone."""
        one, two = self._weights @ (offer.binary.cost > 0), offer.runner_up.cost > 0
        return np.where(offer.several, two, one)[self._types]

    def allocations(self, offers: list[_Offer], place: NDArray[np.int64]) -> Iterator[Allocation]:
        """What each input gets at the place of its price."""
        plans: dict[tuple[int, int], Steps] = {}
        known = self.known
        for one, kind, k, proven in zip(
            place.tolist(), self._types.tolist(), known.k.tolist(), known.proven, strict=True
        ):
            key = one, kind if offers[one].several[kind] else -1
            if key not in plans:
                plans[key] = self._steps(offers[one], key[1])
            yield _allocation(plans[key], k, bool(proven))

    def radii(self, offers: list[_Offer], place: NDArray[np.int64]) -> NDArray[np.float64]:
        """The radius to expect of every input, in units of sigma; 0 where nothing is spent."""
        found = [
            offers[one].runner_up.radius[kind]
            if offers[one].several[kind]
            else offers[one].binary.radius[row]
            for one, kind, row in zip(
                place.tolist(), self._types.tolist(), self._row.tolist(), strict=True
            )
        ]
        return np.where(self.known.proven, found, 0.0)

    def original(self) -> NDArray[np.float64]:
        """The original's radius to expect, in units of sigma, by selection draws alone."""
        radius = self._weights @ self.menu.cached
        two = self.menu.original(self._shares)
        several = np.maximum(radius, two) if self.form == "auto" else two
        return (radius if self.form == "binary" else several)[self._types]

    @property
    def _types(self) -> NDArray[np.int64]:
        return self.known.types[1]

    @cached_property
    def _row(self) -> NDArray[np.int64]:
        return self.menu.row(self.known.k)

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """Of the class and of the best other one, by type."""
        pairs, _ = self.known.types
        return (pairs + 0.5) / (self.menu.n0 + 1)

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        """How likely each row of votes is, by type."""
        return self.menu.weights(self.known.types[0][:, 0])

    def _offer(self, binary: Choice, runner_up: Choice, price: float) -> _Offer:
        """Choose between the forms, type by type."""
        expected = self._weights @ binary.cost
        several = np.full(len(expected), self.form == "runner-up")
        if self.form == "auto":
            one = self._weights @ binary.radius - price * expected
            several = runner_up.radius - price * runner_up.cost > one
        return _Offer(binary, runner_up, several, np.where(several, runner_up.cost, expected))

    def _steps(self, offer: _Offer, kind: int) -> Steps:
        """A plan by votes; of the runner-up form for a type, else (-1) of the binary one."""
        if kind >= 0:
            one = offer.runner_up
            fresh, others = int(one.fresh[kind]), int(one.others[kind])
            if fresh:
                return Steps((Step(0, 0, fresh, fresh),))
            return Steps((Step(0, int(others * self._shares[kind, 0]), others),))
        one, steps = offer.binary, []
        others = np.zeros_like(one.replays)
        columns = [one.replays, others, one.fresh]
        if one.looks is not None:
            columns += [one.looks.second, one.looks.fewest, one.looks.most]
        for least, row in zip(self.menu.least_votes, np.stack(columns, 1).tolist(), strict=True):
            step = Step(least, *row)
            if steps and steps[-1].least == least:
                steps.pop()  # a row that no number of votes belongs to
            if not steps or replace(steps[-1], least=least) != step:
                steps.append(step)
        return Steps(tuple(steps))


@dataclass(frozen=True, eq=False)
class PricedPlanner:
    """What a plan is made from.

    Attributes:
        method: its settings.
        settings: of the original's certification.
        flips: the flip rates to expect.
        known: what is known of the inputs.
        pilot_evaluations: what the pilot cost.
    """

    method: Exact
    settings: Settings
    flips: FlipRates
    known: Known
    pilot_evaluations: int

    def plan(self, policy: str | None = None) -> Plan:
        """The plan of a policy, by default that of the settings."""
        rule = Policy.parse(policy or self.method.policy).in_sigmas(self.settings)
        offers = [group.offers(rule, self.method.stages) for group in self._groups]
        place = np.zeros(len(self.known.k), dtype=np.int64)
        if rule.kind == "budget":
            place = self._prices(offers, self._total(rule))
        made, radius = [Allocation(Bound.NOTHING)] * len(place), np.zeros(len(place))
        for group, offered in zip(self._groups, offers, strict=True):
            own = place[group.positions]
            radius[group.positions] = group.radii(offered, own)
            allocations = group.allocations(offered, own)
            for position, one in zip(group.positions.tolist(), allocations, strict=True):
                made[position] = one
        return Plan(tuple(made), radius)

    def expected(self, policy: str) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """See `planned.Planner`: by selection draws alone."""
        rule, stages = Policy.parse(policy).in_sigmas(self.settings), Exact.usual_stages(policy)
        offers = [group.offers(rule, stages) for group in self._groups]
        expected, last = self._by_input(offers, "expected").sum(axis=0), -1
        if rule.kind == "budget":
            last = max(int((expected <= self._total(rule)).sum()) - 1, 0)
        radius, chance = np.zeros((2, len(self.known.k)))
        for group, offered in zip(self._groups, offers, strict=True):
            radius[group.positions] = group.expected_radii(offered[last])
            chance[group.positions] = group.chances(offered[last])
        return round(expected[last]), radius, chance

    def original(self, alpha: float) -> NDArray[np.float64]:
        """The original's radii to expect at an error alpha, in sigmas: by selection draws alone."""
        radius = np.zeros(len(self.known.k))
        for group in replace(self, method=replace(self.method, alpha=alpha))._groups:
            radius[group.positions] = group.original()
        return radius

    @cached_property
    def _groups(self) -> tuple[_Group, ...]:
        """By number of cached draws."""
        groups = []
        for n in np.unique(self.known.n[self.known.n > 0]).tolist():
            menu = Menu(n, self.settings.n0, self.flips, self.method.spent, self.settings.n)
            (positions,) = np.nonzero(self.known.n == n)
            groups.append(_Group(self.method.form, menu, self.known.at(positions), positions))
        return tuple(groups)

    def _total(self, rule: Policy) -> float:
        """The evaluations that are left for all inputs."""
        n = self.known.n
        return rule.total(len(n), float(n.mean())) - self.pilot_evaluations

    def _by_input(self, offers: list[list[_Offer]], what: str) -> NDArray[np.float64]:
        """The `expected` or `costs` of all groups, shape (inputs, offers); 0 without a cache."""
        found = np.zeros((len(self.known.k), max(map(len, offers), default=1)))
        for group, offered in zip(self._groups, offers, strict=True):
            found[group.positions] = getattr(group, what)(offered)
        return found

    def _prices(self, offers: list[list[_Offer]], total: float) -> NDArray[np.int64]:
        """The place of each input's price: the lowest that what is left can be expected to pay."""
        left = np.cumsum(self._by_input(offers, "expected")[::-1], axis=0)[::-1]
        costs, spent, chosen = self._by_input(offers, "costs"), 0.0, []
        for i, cost in enumerate(costs):
            # Costs rise as prices fall, but for the forms' changes: the last that is affordable.
            affordable = np.flatnonzero(left[i] <= total - spent)
            one = int(affordable[-1]) if len(affordable) else 0
            chosen.append(min(one, chosen[0] + _NEAR) if chosen else one)
            spent += cost[chosen[-1]]
        return np.array(chosen, dtype=np.int64)


def _allocation(plan: Steps, k: int, proven: bool) -> Allocation:
    """What the plan gives an input with so many cached votes."""
    step = plan.at(k)
    if not proven or not step.winners + step.others + step.fresh:
        return Allocation(Bound.NOTHING)
    if step.fresh:
        return Allocation(Bound.EXACT_FRESH, fresh=step.fresh, steps=plan.flat)
    winners = min(step.winners, k)
    return Allocation(Bound.EXACT, winners, others=step.others, steps=plan.flat)
