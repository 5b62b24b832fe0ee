"""Planned recertification: a pilot, a plan, and the replays that it asks for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.certificate import Certificate, Certification, Record, Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.methods import reuse as reusing
from smoothcert.methods.irs import Cached
from smoothcert.methods.reuse import Reuse, Share
from smoothcert.planning import Flips, Plan, Policy, Table, plan, table
from smoothcert.sampling.engine import Progress, Request, sample
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

    The plan's shares take the first ones and leave these out, so that what is counted later
    has not been looked at.

    Args:
        classifier: the new one.
        inputs: all inputs.
        records: the cached records at `positions`, in that order.
        positions: which inputs.
        settings: of the original's certification.
        batch_size: rows per forward pass.
    """
    counts = np.zeros((2, len(inputs)), dtype=np.int64)
    seen: list[tuple[int, Record, int]] = []

    def requests() -> Iterator[Request]:
        for position, record in zip(positions.tolist(), records, strict=True):
            won = record.votes.estimation == record.certificate.candidate
            # At most half of either kind: the rest must be left for the replay.
            winners = np.flatnonzero(won)[::-1][: min(PILOT_WINNERS, int(won.sum()) // 2)]
            losers = np.flatnonzero(~won)[::-1][: min(PILOT_LOSERS, int((~won).sum()) // 2)]
            counts[:, position] = len(winners), len(losers)
            seen.append((position, record, len(winners)))
            draws = np.concatenate([winners, losers])
            yield Request(inputs.item(position), Stream.ESTIMATION, draws)

    labels = sample(classifier, requests(), settings.noise, settings.seed, batch_size)
    shares, changed = [], []
    for label in labels:
        _, record, winners = seen.pop(0)
        kept = label == record.certificate.candidate
        c = record.certificate
        shares.append((c.k + 0.5) / (c.n + 1))
        changed.append(((~kept[:winners]).sum(), kept[winners:].sum()))
    lost, won = np.array(changed, dtype=np.int64).reshape(-1, 2).T
    used = counts[:, positions]
    flips = Flips.fit(np.array(shares), used[0], lost, used[1], won)
    return Pilot(flips, counts[0], counts[1])


def tabulate(settings: Settings, pilot: Pilot, reuse: Reuse) -> Table:
    """What evaluations buy, with the flip rates of the pilot."""
    return table(settings.n, pilot.flips, reuse.budget, reuse.method)


def make_plan(
    certificates: Sequence[Certificate],
    settings: Settings,
    pilot: Pilot,
    reuse: Reuse,
    t: Table,
    policy: str | None = None,
) -> Plan:
    """The plan of a policy (by default the settings' own) for these cached certificates."""
    k = np.array([c.k for c in certificates], dtype=np.int64)
    seen = (pilot.winners, pilot.losers)
    rule = Policy.parse(policy or reuse.policy)
    in_sigmas = rule.value / settings.sigma
    rule = Policy("radius", in_sigmas) if rule.kind == "radius" else rule
    return plan(rule, k, settings.n, proven(certificates, reuse.alpha), t, seen)


def prepare(
    classifier: Classifier, inputs: Inputs, base: Certification, reuse: Reuse, batch_size: int
) -> tuple[Pilot, tuple[Share, ...]]:
    """The pilot and the plan for a certification in memory."""
    settings, certificates = base.settings, base.certificates
    where = pilot_positions(certificates, reuse)
    picked = (base.records[position] for position in where.tolist())
    pilot = run_pilot(classifier, inputs, picked, where, settings, batch_size)
    t = tabulate(settings, pilot, reuse)
    return pilot, make_plan(certificates, settings, pilot, reuse, t).shares


def replay_items(
    classifier: Classifier,
    triples: Iterable[tuple[Item, Record, Share]],
    settings: Settings,
    reuse: Reuse,
    batch_size: int,
    progress: Progress | None = None,
) -> Iterator[Record]:
    """Recertify items by their shares, all draws in common batches, already probed."""
    waiting: list[tuple[Cached, Record, Share, tuple[int, ...]]] = []

    def requests() -> Iterator[Request]:
        for item, record, share in triples:
            cached = Cached.of(item, record)
            waiting.append((cached, record, share, item.pixels.shape))
            yield reusing.request(item, cached, record.votes.estimation, share)

    labels = sample(classifier, requests(), settings.noise, settings.seed, batch_size, progress)
    for label in labels:
        cached, record, share, shape = waiting.pop(0)
        votes = reusing.votes_of(label, record.votes.estimation, cached.candidate, share)
        yield Record(reusing.certificate(cached, votes, share, reuse, settings, shape), votes)
