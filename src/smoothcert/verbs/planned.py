"""Planned recertification: a pilot, a plan, and the replays that it asks for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Certificate, Record, Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.methods import reuse as reusing
from smoothcert.methods.irs import Cached
from smoothcert.methods.reuse import Reuse, Share
from smoothcert.noise.law import Stream
from smoothcert.planning import Flips, Plan, Policy, Table, family, plan, table
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import Progress, sample
from smoothcert.sampling.inputs import Inputs, Item
from smoothcert.verbs.pilot import PilotVotes, fit, pilot_positions, proven, run_pilot, set_aside


@dataclass(frozen=True, eq=False)
class Prospects:
    """What a plan is made from.

    Attributes:
        certificates: of the original.
        settings: of its certification.
        reuse: the method's settings.
        table: what evaluations buy.
        aside: the last winners and losers of every input that no sample may contain, shape
            (2, inputs): see `set_aside`.
        pilot_evaluations: that the pilot cost.
    """

    certificates: Sequence[Certificate]
    settings: Settings
    reuse: Reuse
    table: Table
    aside: NDArray[np.int64]
    pilot_evaluations: int

    @staticmethod
    def of(
        certificates: Sequence[Certificate],
        settings: Settings,
        reuse: Reuse,
        flips: Flips,
        aside: NDArray[np.int64],
        pilot_evaluations: int,
        shown: bool = False,
    ) -> "Prospects":
        """Tabulate what evaluations buy at the flip rates of a pilot; `shown` as for `family`."""
        choice = family(reuse, len(certificates), settings.n, shown)
        t = table(settings.n, flips, reuse, choice, settings.keep_margins)
        return Prospects(certificates, settings, reuse, t, aside, pilot_evaluations)

    def plan(self, policy: str | None = None) -> Plan:
        """The plan of a policy, by default the settings' own."""
        k = np.array([c.k for c in self.certificates], dtype=np.int64)
        rule = Policy.parse(policy or self.reuse.policy)
        in_sigmas = self.settings.from_grid_point(rule.value) / self.settings.sigma
        rule = Policy("radius", in_sigmas) if rule.kind == "radius" else rule
        certain = proven(self.certificates, self.reuse.alpha)
        return plan(rule, k, self.settings.n, certain, self.table, tuple(self.aside))


@dataclass(frozen=True, eq=False)
class Cache:
    """What an original left behind.

    Attributes:
        certificates: of a certification from scratch.
        records: the same with votes, read when asked for.
        settings: of the certification.
    """

    certificates: Sequence[Certificate]
    records: Sequence[Record]
    settings: Settings

    def at(self, positions: Iterable[int]) -> dict[int, Record]:
        """Records by position."""
        return {position: self.records[position] for position in sorted(set(positions))}

    def prospects(self, votes: PilotVotes, reuse: Reuse, shown: Iterable[int] = ()) -> Prospects:
        """What a plan can be made from once a pilot has answered.

        Args:
            votes: of the pilot.
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
        return Prospects.of(*facts, shown=bool(shown))


def pilot(
    classifier: Classifier, inputs: Inputs, cache: Cache, reuse: Reuse, batch_size: int
) -> PilotVotes:
    """Run the pilot against a certification from scratch.

    Args:
        classifier: the new one.
        inputs: the certification's.
        cache: what it left behind.
        reuse: the method's settings.
        batch_size: rows per forward pass.
    """
    positions = pilot_positions(cache.certificates, reuse)
    records = cache.at(positions.tolist())
    return run_pilot(classifier, inputs, positions, records, cache.settings, batch_size)


def replay_items(
    classifier: Classifier,
    triples: Iterable[tuple[Item, Record, Share]],
    settings: Settings,
    reuse: Reuse,
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Record]:
    """Recertify items by their shares, all draws in common batches, already probed."""
    waiting: list[tuple[Cached, Record, Share, NDArray[np.int32]]] = []
    shape: tuple[int, ...] = ()

    def requests() -> Iterator[Request]:
        nonlocal shape
        for item, record, share in triples:
            cached, shape = Cached.of(item, record), item.pixels.shape
            parts = reusing.roles(record.votes, cached.candidate, share, settings.seed, item.index)
            waiting.append((cached, record, share, parts))
            if share.how is reusing.How.FRESH:
                yield Request(item, Stream.FRESH, range(share.fresh))
            else:
                yield Request(item, Stream.ESTIMATION, reusing.evaluated(parts))

    seed = reuse.seed(settings)
    for label in sample(classifier, requests(), settings.noise, seed, batch_size, progress):
        cached, record, share, parts = waiting.pop(0)
        votes = reusing.votes_of(label, parts, record.votes, share)
        yield Record(reusing.certificate(cached, votes, share.how, reuse, settings, shape), votes)
