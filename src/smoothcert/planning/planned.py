"""Planned recertification: a pilot, and the plan that follows from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Certificate, Record, Settings
from smoothcert.data.inputs import Inputs
from smoothcert.methods import Exact, Planned, Reuse
from smoothcert.noise.law import Stream
from smoothcert.planning import (
    ExpectedRadii,
    FlipRates,
    Plan,
    Policy,
    candidate_splits,
    expected_radii,
    plan,
    selection,
    timed,
)
from smoothcert.planning.pilot import (
    PilotVotes,
    fit,
    pilot_draws,
    pilot_positions,
    proven,
    run_pilot,
    set_aside,
)
from smoothcert.sampling.sampler import Sampler


class Planner(Protocol):
    """What a plan is made from, once a pilot has run."""

    @property
    def pilot_evaluations(self) -> int:
        """What the pilot cost."""
        ...

    def plan(self, policy: str | None = None) -> Plan:
        """The plan of a policy, by default that of the settings."""
        ...

    def expected(self, policy: str) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Evaluations after the pilot; for each input its radius in units of sigma, and the chance
        that it gets draws: none where an aim is out of reach or takes more than from scratch."""
        ...


@dataclass(frozen=True, eq=False)
class ReusePlanner:
    """What a plan of a `Reuse` is made from.

    Attributes:
        certificates: the original's certificates.
        settings: the settings of its certification.
        method: its settings.
        radii: those to expect from evaluations.
        aside: how many last winners and losers of every input no sample may contain, shape
            (2, inputs); see `set_aside`.
        pilot_evaluations: what the pilot cost.
    """

    certificates: Sequence[Certificate]
    settings: Settings
    method: Reuse
    radii: ExpectedRadii
    aside: NDArray[np.int64]
    pilot_evaluations: int

    @staticmethod
    def of(
        certificates: Sequence[Certificate],
        settings: Settings,
        method: Reuse,
        flips: FlipRates,
        aside: NDArray[np.int64],
        pilot_evaluations: int,
        shown: bool = False,
    ) -> "ReusePlanner":
        """From the flip rates of a pilot; `shown` as for `candidate_splits`."""
        splits = candidate_splits(method, len(certificates), settings.n, shown)
        radii = expected_radii(settings.n, flips, method, splits, settings.keep_margins)
        return ReusePlanner(certificates, settings, method, radii, aside, pilot_evaluations)

    def plan(self, policy: str | None = None) -> Plan:
        """The plan of a policy, by default that of the settings."""
        k, n = np.array([(c.k, c.n) for c in self.certificates], dtype=np.int64).T
        rule = Policy.parse(policy or self.method.policy).in_sigmas(self.settings)
        certain = proven(self.certificates, self.method.alpha)
        return plan(rule, k, n, certain, self.radii, tuple(self.aside))

    def expected(self, policy: str) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """See `Planner`."""
        made = self.plan(policy)
        given = np.array([one.evaluations > 0 for one in made.allocations], dtype=float)
        return made.evaluations, made.radius, given


@dataclass(frozen=True, eq=False)
class Cache:
    """What the original's certification has stored.

    Attributes:
        certificates: of a certification from scratch.
        records: the same with votes, read on demand.
        settings: of the certification.
    """

    certificates: Sequence[Certificate]
    records: Sequence[Record]
    settings: Settings

    def at(self, positions: Iterable[int]) -> dict[int, Record]:
        """Records by position."""
        return {position: self.records[position] for position in sorted(set(positions))}

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """See `selection.counts_of`; reads the votes of all inputs."""
        return selection.counts_of(self.records)

    @cached_property
    def draws(self) -> NDArray[np.int64]:
        """The original's estimation draws of each input."""
        return np.array([c.n for c in self.certificates], dtype=np.int64)

    def pilot_positions(self, method: Planned) -> NDArray[np.int64]:
        """Positions of the inputs on which the pilot is run."""
        if isinstance(method, Exact):
            return selection.positions(self.counts[:, :2], self.draws, self.settings, method)
        return pilot_positions(self.certificates, method)

    def planner(self, votes: PilotVotes, method: Planned, shown: Iterable[int] = ()) -> Planner:
        """What a plan can be made from once a pilot has run.

        Args:
            votes: the pilot's votes.
            method: its settings.
            shown: positions of earlier pilots, whose outcomes somebody has seen.

        Raises:
            ValueError: the votes are not of a pilot of these inputs, or see `timed.counted`.
        """
        method = timed.counted(method, votes.budget)
        if isinstance(method, Exact):
            facts = selection.known(self.counts, self.draws, method)
            records = self.at(votes.positions.tolist())
            return selection.planner(votes, records, self.settings, method, facts)
        shown = tuple(shown)
        records = self.at((*votes.positions.tolist(), *shown))
        aside = set_aside(records, len(self.certificates))
        flips = fit(votes, records, self.settings)
        facts = (self.certificates, self.settings, method, flips, aside, votes.evaluations)
        return ReusePlanner.of(*facts, shown=bool(shown))


def pilot_evaluations(method: Planned) -> int:
    """About how many evaluations a pilot takes, at most; for progress."""
    return method.pilot * (selection.WINNERS + selection.LOSERS)


def pilot(
    sampler: Sampler,
    inputs: Inputs,
    cache: Cache,
    method: Planned,
    timing: timed.Timing | None = None,
) -> PilotVotes:
    """Run the pilot against a certification from scratch.

    Args:
        sampler: of the new classifier, with the settings of that certification.
        inputs: the certification's inputs.
        cache: what the certification has stored.
        method: its settings.
        timing: for a policy of minutes, which a trial turns into a count before the pilot.

    Raises:
        InvalidInput: there is too little time for the pilot.
    """
    budget = None
    if timing is not None:
        per_second = timing.trial(sampler, inputs)
        if isinstance(method, Exact):
            _ = cache.counts  # before the time that is left is looked at, as reading takes some
        budget = timing.fits(per_second)
        timing.require(budget, 1, "evaluations of the pilot")
        method = timed.counted(method, budget)
    positions = cache.pilot_positions(method)
    where = (Stream.ESTIMATION, pilot_draws)
    if isinstance(method, Exact):
        where = (Stream.SELECTION, selection.draws)
    votes = run_pilot(sampler, inputs, positions, cache.at(positions.tolist()), *where)
    if timing is not None and budget is not None:
        timing.require(budget, votes.evaluations, "evaluations of the pilot")
    return replace(votes, budget=budget)
