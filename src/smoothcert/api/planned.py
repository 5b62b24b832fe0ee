"""Planned recertification: a pilot, and the plan that follows from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.api.pilot import PilotVotes, fit, pilot_positions, proven, run_pilot, set_aside
from smoothcert.certificate import Certificate, Record, Settings
from smoothcert.data.inputs import Inputs
from smoothcert.methods import Reuse
from smoothcert.planning import (
    ExpectedRadii,
    FlipRates,
    Plan,
    Policy,
    candidate_splits,
    expected_radii,
    plan,
)
from smoothcert.sampling.sampler import Sampler


@dataclass(frozen=True, eq=False)
class Planner:
    """What a plan is made from.

    Attributes:
        certificates: the original's certificates.
        settings: the settings of its certification.
        reuse: the method's settings.
        expected: the radii to expect from evaluations.
        aside: how many last winners and losers of every input no sample may contain, shape
            (2, inputs); see `set_aside`.
        pilot_evaluations: what the pilot cost.
    """

    certificates: Sequence[Certificate]
    settings: Settings
    reuse: Reuse
    expected: ExpectedRadii
    aside: NDArray[np.int64]
    pilot_evaluations: int

    @staticmethod
    def of(
        certificates: Sequence[Certificate],
        settings: Settings,
        reuse: Reuse,
        flips: FlipRates,
        aside: NDArray[np.int64],
        pilot_evaluations: int,
        shown: bool = False,
    ) -> "Planner":
        """From the flip rates of a pilot; `shown` as for `candidate_splits`."""
        splits = candidate_splits(reuse, len(certificates), settings.n, shown)
        expected = expected_radii(settings.n, flips, reuse, splits, settings.keep_margins)
        return Planner(certificates, settings, reuse, expected, aside, pilot_evaluations)

    def plan(self, policy: str | None = None) -> Plan:
        """The plan of a policy, by default that of the settings."""
        k = np.array([c.k for c in self.certificates], dtype=np.int64)
        rule = Policy.parse(policy or self.reuse.policy)
        in_sigmas = self.settings.from_grid_point(rule.value) / self.settings.sigma
        rule = Policy("radius", in_sigmas) if rule.kind == "radius" else rule
        certain = proven(self.certificates, self.reuse.alpha)
        return plan(rule, k, self.settings.n, certain, self.expected, tuple(self.aside))


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

    def planner(self, votes: PilotVotes, reuse: Reuse, shown: Iterable[int] = ()) -> Planner:
        """What a plan can be made from once a pilot has run.

        Args:
            votes: the pilot's votes.
            reuse: the method's settings.
            shown: positions of earlier pilots, whose outcomes somebody has seen.

        Raises:
            ValueError: the votes are not of a pilot of these inputs.
        """
        shown = tuple(shown)
        records = self.at((*votes.positions.tolist(), *shown))
        aside = set_aside(records, len(self.certificates))
        flips = fit(votes, records, self.settings)
        facts = (self.certificates, self.settings, reuse, flips, aside, votes.evaluations)
        return Planner.of(*facts, shown=bool(shown))


def pilot(sampler: Sampler, inputs: Inputs, cache: Cache, reuse: Reuse) -> PilotVotes:
    """Run the pilot against a certification from scratch.

    Args:
        sampler: of the new classifier, with the settings of that certification.
        inputs: the certification's inputs.
        cache: what the certification has stored.
        reuse: the method's settings.
    """
    positions = pilot_positions(cache.certificates, reuse)
    return run_pilot(sampler, inputs, positions, cache.at(positions.tolist()))
