"""Plans for the exact test: a price for an evaluation, fixed before an input's votes are looked at.

An input gets what is best at its price, as a function of its cached votes. The prices keep the
budget: each one follows from the votes of earlier inputs, and of the input itself and later ones
only from selection draws. So an input's plan is fixed before its own counted draws, given all draws
of the inputs before it, which is what docs/theory.md, section 13, asks for.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Settings
from smoothcert.methods import Allocation, Bound
from smoothcert.methods.exact import Exact
from smoothcert.methods.steps import Step, Steps
from smoothcert.planning import aims
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
        proven: whether the cached votes prove the class, so that there is something to carry over.
    """

    selected: NDArray[np.int64]
    k: NDArray[np.int64]
    proven: NDArray[np.bool_]

    @cached_property
    def types(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The different pairs of selection votes, and each input's."""
        pairs, place = np.unique(self.selected, axis=0, return_inverse=True)
        return pairs, place.reshape(-1)


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
class PricedPlanner:
    """What a plan is made from.

    Attributes:
        method: its settings.
        settings: of the original's certification.
        menu: what can be expected from evaluations.
        known: what is known of the inputs.
        pilot_evaluations: what the pilot cost.
    """

    method: Exact
    settings: Settings
    menu: Menu
    known: Known
    pilot_evaluations: int

    def plan(self, policy: str | None = None) -> Plan:
        """The plan of a policy, by default that of the settings."""
        rule = Policy.parse(policy or self.method.policy).in_sigmas(self.settings)
        offers = self._offers(rule, self.method.stages)
        place = np.zeros(len(self.known.k), dtype=np.int64)
        if rule.kind == "budget":
            total = rule.total(len(place), self.menu.n) - self.pilot_evaluations
            place = self._prices(offers, total)
        plans = {}
        _, types = self.known.types
        made = []
        for one, kind, k, proven in zip(
            place.tolist(), types.tolist(), self.known.k.tolist(), self.known.proven, strict=True
        ):
            key = one, kind if offers[one].several[kind] else -1
            if key not in plans:
                plans[key] = self._steps(offers[one], key[1])
            made.append(_allocation(plans[key], k, bool(proven)))
        return Plan(tuple(made), self._radii(offers, place))

    def expected(self, policy: str) -> tuple[int, float]:
        """Evaluations after the pilot, and mean radius in sigmas: by selection draws alone.

        Of a policy with radii to reach, only what is reached counts.
        """
        rule, (_, types) = Policy.parse(policy).in_sigmas(self.settings), self.known.types
        offers = self._offers(rule, Exact.usual_stages(policy))
        offer = offers[-1]
        if rule.kind == "budget":
            total = rule.total(len(types), self.menu.n) - self.pilot_evaluations
            costs = np.array([one.expected[types].sum() for one in offers])
            offer = offers[max(int((costs <= total).sum()) - 1, 0)]
        one = self._weights @ offer.binary.radius
        radius = np.where(offer.several, offer.runner_up.radius, one)[types]
        return round(offer.expected[types].sum()), float(radius.mean())

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """Of the class and of the best other one, by type."""
        pairs, _ = self.known.types
        return (pairs + 0.5) / (self.menu.n0 + 1)

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        """How likely each row of votes is, by type."""
        return self.menu.weights(self.known.types[0][:, 0])

    def _offers(self, rule: Policy, stages: int) -> list[_Offer]:
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
        return [self._offer(one, two, 1 / self.menu.n)]

    def _offer(self, binary: Choice, runner_up: Choice, price: float) -> _Offer:
        """Choose between the forms, type by type."""
        expected = self._weights @ binary.cost
        several = np.full(len(expected), self.method.form == "runner-up")
        if self.method.form == "auto":
            one = self._weights @ binary.radius - price * expected
            several = runner_up.radius - price * runner_up.cost > one
        return _Offer(binary, runner_up, several, np.where(several, runner_up.cost, expected))

    def _prices(self, offers: list[_Offer], total: float) -> NDArray[np.int64]:
        """The place of each input's price: the lowest that what is left can be expected to pay."""
        _, types = self.known.types
        expected = np.stack([offer.expected for offer in offers], axis=1)[types]
        left = np.cumsum(expected[::-1], axis=0)[::-1]
        row, spent, chosen = self.menu.row(self.known.k), 0.0, []
        binary = np.stack([offer.binary.cost for offer in offers], axis=1)
        for i, kind in enumerate(types.tolist()):
            # Costs rise as prices fall, but for the forms' changes: the last that is affordable.
            affordable = np.flatnonzero(left[i] <= total - spent)
            one = int(affordable[-1]) if len(affordable) else 0
            chosen.append(min(one, chosen[0] + _NEAR) if chosen else one)
            offer = offers[chosen[-1]]
            if self.known.proven[i]:
                several = offer.several[kind]
                spent += offer.runner_up.cost[kind] if several else binary[row[i], chosen[-1]]
        return np.array(chosen, dtype=np.int64)

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

    def _radii(self, offers: list[_Offer], place: NDArray[np.int64]) -> NDArray[np.float64]:
        """The radius to expect of every input, in units of sigma; 0 where nothing is spent."""
        _, types = self.known.types
        row = self.menu.row(self.known.k)
        found = [
            offers[one].runner_up.radius[kind]
            if offers[one].several[kind]
            else offers[one].binary.radius[r]
            for one, kind, r in zip(place.tolist(), types.tolist(), row.tolist(), strict=True)
        ]
        return np.where(self.known.proven, found, 0.0)


def _allocation(plan: Steps, k: int, proven: bool) -> Allocation:
    """What the plan gives an input with so many cached votes."""
    step = plan.at(k)
    if not proven or not step.winners + step.others + step.fresh:
        return Allocation(Bound.NOTHING)
    if step.fresh:
        return Allocation(Bound.EXACT_FRESH, fresh=step.fresh, steps=plan.flat)
    winners = min(step.winners, k)
    return Allocation(Bound.EXACT, winners, others=step.others, steps=plan.flat)
