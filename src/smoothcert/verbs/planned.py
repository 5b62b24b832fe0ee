"""Planned recertification: a pilot, a plan, and the replays that it asks for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.certificate import Certificate, Record, Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.methods import margins
from smoothcert.methods import reuse as reusing
from smoothcert.methods.irs import Cached
from smoothcert.methods.reuse import Reuse, Share
from smoothcert.planning import Flips, Plan, Policy, Table, family, plan, table
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import Progress, sample
from smoothcert.sampling.inputs import Inputs, Item
from smoothcert.sampling.noise import Stream

PILOT_WINNERS, PILOT_LOSERS = 40, 20
"""Cached draws of each pilot input that are replayed to see how labels change, its last ones."""

_FEWEST = 4


@dataclass(frozen=True, eq=False)
class Pilot:
    """What the pilot saw.

    Attributes:
        flips: the rates fitted to it.
        winners: cached winners replayed per input, shape (inputs,); 0 off the pilot.
        losers: likewise losers.
    """

    flips: Flips
    winners: NDArray[np.int64]
    losers: NDArray[np.int64]

    @property
    def evaluations(self) -> int:
        """Forward passes that it cost."""
        return int(self.winners.sum() + self.losers.sum())


def proven(certificates: Sequence[Certificate], alpha: float) -> NDArray[np.bool_]:
    """Inputs whose cached votes prove the class at alpha; nothing can be carried over elsewhere."""
    k, n = np.array([(c.k, c.n) for c in certificates]).T
    return binomial.lower(k, n, alpha) > 0.5


def pilot_positions(certificates: Sequence[Certificate], reuse: Reuse) -> NDArray[np.int64]:
    """Positions of the pilot's inputs: proven ones, spread evenly over the cached vote shares.

    As many as the settings say, but no more than a twentieth of the evaluations allows.
    """
    (candidates,) = np.nonzero(proven(certificates, reuse.alpha))
    ordered = candidates[
        np.argsort([certificates[p].k for p in candidates.tolist()], kind="stable")
    ]
    total = Policy.parse(reuse.policy).total(len(candidates), certificates[0].n)
    affordable = max(_FEWEST, int(total / 20 / (PILOT_WINNERS + PILOT_LOSERS)))
    count = min(reuse.pilot, affordable, len(ordered))
    return np.sort(ordered[np.linspace(0, len(ordered) - 1, count).astype(int)])


def run_pilot(
    classifier: Classifier,
    inputs: Inputs,
    records: Iterable[Record],
    positions: NDArray[np.int64],
    settings: Settings,
    batch_size: int,
) -> Pilot:
    """Replay the last cached winners and losers of the pilot's inputs.

    No later sample contains them, so that what is estimated from has not been looked at.

    Args:
        classifier: the new one.
        inputs: all inputs.
        records: the cached records at `positions`, in that order.
        positions: which inputs.
        settings: of the original's certification.
        batch_size: rows per forward pass.
    """
    seen: list[tuple[Certificate, NDArray[np.float64], int]] = []

    def requests() -> Iterator[Request]:
        for position, record in zip(positions.tolist(), records, strict=True):
            draws, winners = _pilot_draws(record)
            known = (
                record.votes.margins[draws]
                if settings.keep_margins
                else np.zeros_like(draws, np.int32)
            )
            seen.append((record.certificate, margins.shares(known), winners))
            yield Request(inputs.item(position), Stream.ESTIMATION, draws)

    labels = sample(classifier, requests(), settings.noise, settings.seed, batch_size)
    counts, shares, lost, won = [], [], [], []
    for label in labels:
        c, nearness, winners = seen.pop(0)
        kept = label == c.candidate
        lost.append(nearness[:winners][~kept[:winners]])
        won.append(nearness[winners:][kept[winners:]])
        shares.append((c.k + 0.5) / (c.n + 1))
        counts.append((winners, len(label) - winners))
    used = np.array(counts, dtype=np.int64).reshape(-1, 2).T
    away, back = (np.array([len(x) for x in side], dtype=np.int64) for side in (lost, won))
    flips = Flips.fit(np.array(shares), used[0], away, used[1], back)
    if settings.keep_margins:
        flips = flips.with_depths(np.concatenate(lost), np.concatenate(won))
    spread = np.zeros((2, len(inputs)), dtype=np.int64)
    spread[:, positions] = used
    return Pilot(flips, spread[0], spread[1])


def _pilot_draws(record: Record) -> tuple[NDArray[np.int64], int]:
    """The last winners and then the last losers of a cached record, and how many winners."""
    side = record.votes.estimation == record.certificate.candidate
    # At most half of either kind: the rest must be left for the replay.
    winners = np.flatnonzero(side)[::-1][: min(PILOT_WINNERS, int(side.sum()) // 2)]
    losers = np.flatnonzero(~side)[::-1][: min(PILOT_LOSERS, int((~side).sum()) // 2)]
    return np.concatenate([winners, losers]), len(winners)


@dataclass(frozen=True, eq=False)
class Prospects:
    """What a plan is made from.

    Attributes:
        certificates: of the original.
        settings: of its certification.
        reuse: the method's settings.
        pilot: what the pilot saw.
        table: what evaluations buy.
    """

    certificates: Sequence[Certificate]
    settings: Settings
    reuse: Reuse
    pilot: Pilot
    table: Table

    @staticmethod
    def of(
        certificates: Sequence[Certificate], settings: Settings, reuse: Reuse, pilot: Pilot
    ) -> "Prospects":
        """Tabulate what evaluations buy at the flip rates of the pilot."""
        choice = family(reuse, len(certificates), settings.n)
        t = table(settings.n, pilot.flips, reuse, choice, settings.keep_margins)
        return Prospects(certificates, settings, reuse, pilot, t)

    def plan(self, policy: str | None = None) -> Plan:
        """The plan of a policy, by default the settings' own."""
        k = np.array([c.k for c in self.certificates], dtype=np.int64)
        seen = (self.pilot.winners, self.pilot.losers)
        rule = Policy.parse(policy or self.reuse.policy)
        in_sigmas = self.settings.from_grid_point(rule.value) / self.settings.sigma
        rule = Policy("radius", in_sigmas) if rule.kind == "radius" else rule
        certain = proven(self.certificates, self.reuse.alpha)
        return plan(rule, k, self.settings.n, certain, self.table, seen)


def explore(
    classifier: Classifier,
    inputs: Inputs,
    certificates: Sequence[Certificate],
    records: Sequence[Record],
    settings: Settings,
    reuse: Reuse,
    batch_size: int,
) -> Prospects:
    """Run the pilot against a certification from scratch.

    Args:
        classifier: the new one.
        inputs: the certification's.
        certificates: its certificates.
        records: its records, of which the pilot's are read.
        settings: its settings.
        reuse: the method's settings.
        batch_size: rows per forward pass.
    """
    where = pilot_positions(certificates, reuse)
    picked = (records[position] for position in where.tolist())
    pilot = run_pilot(classifier, inputs, picked, where, settings, batch_size)
    return Prospects.of(certificates, settings, reuse, pilot)


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
