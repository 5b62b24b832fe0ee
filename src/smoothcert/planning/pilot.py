"""The pilot of a planned recertification: a few cached draws replayed to see how labels change.

What a pilot has shown may decide how much is replayed, so none of its draws is counted later; they
are set aside (docs/theory.md, sections 7 and 8).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.certificate import Certificate, Record, Settings
from smoothcert.data.inputs import Inputs
from smoothcert.methods import margins
from smoothcert.methods.replay import Reuse
from smoothcert.noise.law import Stream
from smoothcert.planning import FlipRates, Policy
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler

PILOT_WINNERS, PILOT_LOSERS = 40, 20
"""Cached draws of each pilot input that are replayed, its last ones."""

_FEWEST = 4


@dataclass(frozen=True, eq=False)
class PilotVotes:
    """The new classifier's labels in a pilot; everything else about it follows from the cache.

    Attributes:
        positions: positions of the pilot's inputs, ascending, int64 of shape (pilot inputs,).
        labels: the labels of each input, in the order of `pilot_draws`.
        budget: the evaluations that fit into the minutes of a policy; None for other policies.
    """

    positions: NDArray[np.int64]
    labels: tuple[NDArray[np.int32], ...]
    budget: int | None = None

    @property
    def evaluations(self) -> int:
        """Forward passes that the pilot cost."""
        return sum(map(len, self.labels))


def proven(certificates: Sequence[Certificate], alpha: float) -> NDArray[np.bool_]:
    """Inputs whose cached votes prove the class at alpha; the others cannot be carried over."""
    k, n = np.array([(c.k, c.n) for c in certificates]).T
    return binomial.lower(k, n, alpha) > 0.5


def pilot_positions(certificates: Sequence[Certificate], reuse: Reuse) -> NDArray[np.int64]:
    """Positions of the pilot's inputs: proven ones, spread evenly over the cached vote shares.

    As many as the settings say, but the pilot takes at most a twentieth of the evaluations.
    """
    (candidates,) = np.nonzero(proven(certificates, reuse.alpha))
    ordered = candidates[
        np.argsort([certificates[p].k for p in candidates.tolist()], kind="stable")
    ]
    drawn = np.mean([c.n for c in certificates])
    total = Policy.parse(reuse.policy).total(len(candidates), float(drawn))
    affordable = max(_FEWEST, int(total / 20 / (PILOT_WINNERS + PILOT_LOSERS)))
    count = min(reuse.pilot, affordable, len(ordered))
    return np.sort(ordered[np.linspace(0, len(ordered) - 1, count).astype(int)])


def pilot_draws(record: Record) -> tuple[NDArray[np.int64], int]:
    """The last winners, then the last losers, of a cached record, and the number of winners."""
    side = record.votes.estimation == record.certificate.candidate
    # At most half of either kind: the rest must be left for the replay.
    winners = np.flatnonzero(side)[::-1][: min(PILOT_WINNERS, int(side.sum()) // 2)]
    losers = np.flatnonzero(~side)[::-1][: min(PILOT_LOSERS, int((~side).sum()) // 2)]
    return np.concatenate([winners, losers]), len(winners)


def set_aside(records: Mapping[int, Record], inputs: int) -> NDArray[np.int64]:
    """How many last winners and losers of every input pilots have seen.

    Args:
        records: cached records by position, of the inputs of one pilot or several; each pilot
            sees the same draws of an input.
        inputs: number of inputs of the run.

    Returns:
        Counts of shape (2, inputs): winners, losers.
    """
    seen = np.zeros((2, inputs), dtype=np.int64)
    for position, record in records.items():
        draws, winners = pilot_draws(record)
        seen[:, position] = winners, len(draws) - winners
    return seen


def run_pilot(
    sampler: Sampler,
    inputs: Inputs,
    positions: NDArray[np.int64],
    records: Mapping[int, Record],
    stream: Stream,
    draws: Callable[[Record], tuple[NDArray[np.int64], int]],
) -> PilotVotes:
    """Evaluate the new classifier on the pilot's draws.

    Args:
        sampler: of the new classifier, under the noise of the original's certification.
        inputs: all inputs.
        positions: which of them, see `pilot_positions`.
        records: cached records by position; at least those of the pilot.
        stream: of the draws.
        draws: which of them, by record, as `pilot_draws`.
    """
    requests = (
        Request(inputs.item(position), stream, draws(records[position])[0])
        for position in positions.tolist()
    )
    return PilotVotes(positions, tuple(labels for _, labels in sampler.labels(requests)))


def fit(votes: PilotVotes, records: Mapping[int, Record], settings: Settings) -> FlipRates:
    """The flip rates that a pilot saw.

    Raises:
        ValueError: an input does not have one label for each draw of the pilot.
    """
    counts, shares, lost, won = [], [], [], []
    for position, label in zip(votes.positions.tolist(), votes.labels, strict=True):
        record = records[position]
        draws, winners = pilot_draws(record)
        if len(label) != len(draws):
            raise ValueError(f"the pilot has {len(label)} labels; expected {len(draws)}")
        known = record.votes.margins[draws] if settings.keep_margins else np.zeros_like(label)
        nearness, c = margins.shares(known), record.certificate
        kept = label == c.candidate
        lost.append(nearness[:winners][~kept[:winners]])
        won.append(nearness[winners:][kept[winners:]])
        shares.append((c.k + 0.5) / (c.n + 1))
        counts.append((winners, len(draws) - winners))
    used = np.array(counts, dtype=np.int64).reshape(-1, 2).T
    away, back = (np.array([len(x) for x in side], dtype=np.int64) for side in (lost, won))
    flips = FlipRates.fit(np.array(shares), used[0], away, used[1], back)
    if settings.keep_margins:
        flips = flips.with_depths(np.concatenate(lost), np.concatenate(won))
    return flips
