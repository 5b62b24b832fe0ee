"""What draws that are never counted say of a candidate: the original's selection draws, replayed.

Everything here may be looked at and may decide what is tried, since given the selection draws the
counted ones are independent of it (docs/theory.md, sections 10 and 14). Nothing here is a claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from smoothcert.execution.screener import Screener, Source
from smoothcert.methods import dataset as pooled
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Screening, Verdict
from smoothcert.methods.targets import MeanRadius, Target
from smoothcert.noise.law import Stream
from smoothcert.sampling.sampler import Sampler

_STRENGTH = 20.0  # draws of the mean rate that an input's own are joined with


@dataclass(frozen=True)
class Explored:
    """Flips of a candidate on selection draws, by eligible input.

    Attributes:
        flips: integers, shape (eligible,).
        draws: of how many, likewise.
    """

    flips: NDArray[np.int64]
    draws: NDArray[np.int64]

    @staticmethod
    def none(eligible: int) -> "Explored":
        """Before any draw."""
        return Explored(np.zeros(eligible, np.int64), np.zeros(eligible, np.int64))

    @property
    def rate(self) -> float:
        """The mean flip rate."""
        return float(self.flips.sum()) / max(1, int(self.draws.sum()))

    def rates(self, scale: float = 1.0) -> NDArray[np.float64]:
        """Guesses of the inputs' flip rates, each pulled towards the mean."""
        mean = (self.flips.sum() + 0.5) / (self.draws.sum() + 1.0)
        return scale * (self.flips + _STRENGTH * mean) / (self.draws + _STRENGTH)

    @property
    def least(self) -> float:
        """What the flip rate may be instead of what was seen, by two standard deviations."""
        return max(0.0, 1 - 2 / sqrt(float(self.flips.sum()) + 1))


@dataclass(frozen=True, eq=False)
class Explorer:
    """Replays selection draws of the inputs that a screening can prove.

    Attributes:
        screener: with these inputs.
        sources: their selection draws, in the same order.
    """

    screener: Screener
    sources: tuple[Source, ...]

    @staticmethod
    def of(screener: Screener) -> "Explorer":
        """The selection draws of the inputs that can be proven: those of the class, or all."""
        return Explorer._at(screener, [source.position for source in screener.sources])

    @staticmethod
    def of_matching(screener: Screener) -> "Explorer":
        """Those of all inputs whose class is their label, which no counted vote decides."""
        labels = screener.inputs.labels or ()
        pairs = zip(screener.base.certificates, labels, strict=True)
        return Explorer._at(screener, [i for i, (c, y) in enumerate(pairs) if c.candidate == y])

    @staticmethod
    def _at(screener: Screener, positions: Sequence[int]) -> "Explorer":
        found, every = [], screener.pool.form != "binary"
        for position in positions:
            record = screener.base.records[position]
            labels, chosen = record.votes.selection, record.certificate.candidate
            draws = np.flatnonzero(every | (labels == chosen))
            found.append(Source(screener.inputs, position, chosen, draws, labels[draws]))
        return Explorer(screener, tuple(found))

    @property
    def inputs(self) -> int:
        """How many there are."""
        return len(self.sources)

    def more(self, sampler: Sampler, known: Explored, until: int) -> Explored:
        """With each input's draws up to this number of them."""
        flips, draws = known.flips.copy(), known.draws.copy()
        parts = [s.part(int(had), until) for s, had in zip(self.sources, draws, strict=True)]
        for i, new in enumerate(self.screener.answers(sampler, parts, Stream.SELECTION)):
            flips[i] += parts[i].flips(new)
            draws[i] += len(new)
        return Explored(flips, draws)

    def expected(
        self, name: str, screening: Screening, known: Explored, scale: float = 1.0
    ) -> DatasetCertificate:
        """What a screening with these settings would prove at these flip rates."""
        rates, sizes = known.rates(scale), np.diff([0, *screening.rounds])
        flips = [np.diff(np.floor(np.cumsum(n * rates) + 0.5), prepend=0.0) for n in sizes]
        counts = [
            np.minimum(row, n).astype(np.int64).tolist()
            for row, n in zip(flips, sizes, strict=True)
        ]
        return pooled.certificate(name, "", screening, self.screener.pool, counts)


def figure_of(found: DatasetCertificate, target: Target | MeanRadius) -> float:
    """What a certificate states at a target: a certified accuracy, or an average radius."""
    if isinstance(target, Target):
        return int(found.robust(target.radius)) / found.pool.inputs
    return found.acr


def share_reached(found: DatasetCertificate) -> float:
    """The least of what is proven over what its targets ask for; 1 if all are reached."""
    if found.verdict is Verdict.ACCEPTED:
        return 1.0
    asked = (
        (t, t.accuracy if isinstance(t, Target) else float(t.least))
        for t in found.screening.targets
    )
    return min((figure_of(found, t) / least for t, least in asked), default=1.0)
