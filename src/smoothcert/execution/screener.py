"""What candidates are screened on: the eligible inputs of a base, and the draws to replay."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Certification
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs, Item
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.methods import dataset as pooled
from smoothcert.methods import method_of
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Pool, Screening
from smoothcert.methods.standings import Evaluated, Model, Standings
from smoothcert.noise.law import Stream
from smoothcert.planning.wanted import check_classes
from smoothcert.sampling.answers import NO_CLASS
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared, prepare
from smoothcert.sampling.sampler import Sampler
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.scalars import rows
from smoothcert.summary import correct_radii
from smoothcert.tries import Try


def asked(model: str, screening: Screening, seed: int) -> Try:
    """What a screening asks of the draws of a base's seed about one candidate."""
    what = f"{screening.per_input} per input, {screening.candidates} candidates"
    what, settings = f"{what}, alpha {screening.alpha:g}", (screening, screening.form)
    if screening.timed:
        settings = (*settings, screening.further, "timed")
    elif screening.further:
        settings = (*settings, screening.further)
    elif screening.form == "binary":
        return Try.of("screen", model, what, seed, screening)  # its key is that of before
    return Try.of("screen", model, f"{what}, form {screening.form}", seed, settings)


@dataclass(frozen=True, eq=False)
class Source:
    """The source of one eligible input's draws.

    Attributes:
        inputs: all inputs.
        position: of the input.
        candidate: its class.
        draws: to be replayed.
        cached: the original's labels of them.
    """

    inputs: Inputs
    position: int
    candidate: int
    draws: NDArray[np.int64]
    cached: NDArray[np.int32]

    @property
    def item(self) -> Item:
        """Read the input."""
        return self.inputs.item(self.position)

    def part(self, start: int, stop: int) -> "Source":
        """With these of its draws alone."""
        return replace(self, draws=self.draws[start:stop], cached=self.cached[start:stop])

    def flips(self, new: NDArray[np.int32]) -> int:
        """How many of its draws have a new label that may cost its class the lead.

        That is any but its class where the original had its class, and any other class than
        before where it had not (docs/theory.md, section 10).
        """
        old, lost = self.cached, new != self.candidate
        return int((lost & ((old == self.candidate) | ((new != old) & (new != NO_CLASS)))).sum())


@dataclass(frozen=True, eq=False)
class Screener:
    """What all candidates are screened on; from `Screener.of`.

    Attributes:
        base: the original's certification.
        inputs: the original's inputs.
        screening: the settings.
        pool: the eligible inputs, with their limits.
        sources: the draws to replay, in the order of the pool.
        batch_size: rows per forward pass, or None to choose.
    """

    base: Certification
    inputs: Inputs
    screening: Screening
    pool: Pool
    sources: tuple[Source, ...]
    batch_size: int | None = None

    @staticmethod
    def of(
        base: Certification, inputs: Inputs, screening: Screening, batch_size: int | None = None
    ) -> "Screener":
        """Check that data and cache match, and pick the draws to replay; see `screen`."""
        labels = _checked_labels(base, inputs)
        base = replace(base, settings=replace(base.settings, off_grid=inputs.off_grid))
        share, per_input = screening.alpha_cache, screening.per_input
        pool = Pool.of(base, labels, share, screening.form, per_input)
        found = sources(base, inputs, pool, per_input)
        return Screener(base, inputs, screening, pool, found, rows(batch_size))

    def prepared(self, classifier: Classifier) -> Prepared:
        """Prepare the classifier and check that it fits these inputs; see `screen`."""
        ready = prepare(classifier, self.inputs.item(0), self.base.settings, 0, self.batch_size)
        check_classes(ready.probe.num_classes, self.base.num_classes)
        return ready

    def asked(self, model: str) -> Try:
        """What is asked of the base's draws about a candidate, by its fingerprint."""
        return asked(model, self.screening, self.base.settings.seed)

    def screen(
        self,
        candidates: Sequence[Prepared],
        progress: Progress | None = None,
        minutes: float | None = None,
        before: Sequence[DatasetCertificate] = (),
    ) -> tuple[DatasetCertificate, ...]:
        """Evaluate candidates until they are decided, or the time is over.

        Args:
            candidates: prepared.
            progress: called with evaluations.
            minutes: when to stop; only for a screening that is timed.
            before: see `Standings.of`.
        """
        models = [Model(c.classifier.name, c.classifier.fingerprint) for c in candidates]
        standings = Standings.of(self.screening, self.pool, models, before)
        waiting = deque(standings.blocks)
        if limit := None if minutes is None else TimeLimit(minutes):
            progress = limit.watched(progress or (lambda evaluations: None))
        with suppress(TimeIsUp):
            while waiting and not (limit and limit.over):
                number, rounds = standings.place(block := waiting.popleft())
                found = self.evaluate(candidates[number], rounds, progress)
                waiting.extend(standings.add(block, found))
        return standings.certificates

    def evaluate(
        self, ready: Prepared, rounds: int = 0, progress: Progress | None = None
    ) -> Evaluated:
        """Evaluate one candidate: a round if the screening is timed, else until it is decided."""
        classifier, sampler = ready.classifier, ready.sampler(self.base.settings, progress)
        self.base.tries.add(self.asked(classifier.fingerprint))
        flips: list[tuple[int, ...]] = []
        facts = (classifier.name, classifier.fingerprint, self.screening, self.pool, flips)
        ends = (0, *self.screening.rounds)
        last = rounds + 2 if self.screening.timed else len(ends)
        for start, stop in pairwise(ends[rounds:last]):
            if rounds == 0 and pooled.certificate(*facts).decided:
                break
            flips.append(tuple(self.flips(sampler, start, stop)))
        model = Model(classifier.name, classifier.fingerprint)
        return Evaluated(model, self.pool, tuple(flips))

    def flips(self, sampler: Sampler, start: int, stop: int) -> list[int]:
        """The flips of each source's draws from start to stop; see `Source.flips`."""
        parts = [source.part(start, stop) for source in self.sources]
        answers = self.answers(sampler, parts, Stream.ESTIMATION)
        return [part.flips(new) for part, new in zip(parts, answers, strict=True)]

    def answers(
        self, sampler: Sampler, parts: Sequence[Source], stream: Stream
    ) -> Iterator[NDArray[np.int32]]:
        """The candidate's labels of the draws of these sources."""
        requests = (Request(part.item, stream, part.draws) for part in parts)
        return (labels for _, labels in sampler.labels(requests))


def sources(base: Certification, inputs: Inputs, pool: Pool, per_input: int) -> tuple[Source, ...]:
    """The draws to be replayed of each eligible input: the first, of its class or of all kinds.

    Raises:
        InvalidInput: an input has fewer of its class.
        Mismatch: an input's cached votes are not those of its certificate.
    """
    position = {index: i for i, index in enumerate(inputs.indices)}
    found = []
    for index, k in zip(pool.indices, pool.k, strict=True):
        record = base.records[position[index]]
        candidate, labels = record.certificate.candidate, record.votes.estimation
        draws = np.arange(per_input)
        if pool.form == "binary":
            draws = _winners(index, k, per_input, labels == candidate)
        cached = labels[draws].copy()
        found.append(Source(inputs, position[index], candidate, draws, cached))
    return tuple(found)


def _winners(index: int, k: int, per_input: int, won: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first draws of an input that voted for its class."""
    if k < per_input:
        raise InvalidInput(
            f"Input {index} has {k} cached draws of its class, of which "
            f"{per_input} cannot be replayed. Ask for at most {k} per input, or certify the "
            "original with a larger n."
        )
    winners = np.flatnonzero(won)
    if len(winners) != k:
        raise Mismatch(
            f"Input {index} has {len(winners)} cached votes for its class, but its "
            f"certificate counts {k}. The cache is damaged: certify the original again."
        )
    return winners[:per_input].copy()


def original_radii(base: Certification, inputs: Inputs) -> NDArray[np.float64]:
    """The original's certified radii, -1 where it has no certificate of the label."""
    return correct_radii(base.certificates, _checked_labels(base, inputs))


def _checked_labels(base: Certification, inputs: Inputs) -> tuple[int, ...]:
    made = method_of(base.method)
    if not made.reusable or any(c.method not in made.results for c in base.certificates):
        raise Mismatch(
            "The base of a screening must be a certification from scratch, neither recertified "
            "nor stopped early. The limits on its votes assume this."
        )
    if made.continues:
        raise InvalidInput(
            "The base was extended when its certificates had been seen, and a screening leaves no "
            "part of alpha for that. Screen on the run that was extended."
        )
    if inputs.labels is None:
        raise InvalidInput(
            f"{inputs.name} has no labels, which certified accuracy needs. Give labels."
        )
    inputs.check_labels(base.num_classes)
    if inputs.levels != base.settings.levels:
        raise Mismatch(
            f"The original was certified on the grid 1/{base.settings.levels}; the inputs are on "
            f"1/{inputs.levels}. Screen on the data the original was certified on."
        )
    old = [(c.index, c.content) for c in base.certificates]
    if old != list(zip(inputs.indices, inputs.contents, strict=True)):
        raise Mismatch(
            f"The inputs of {inputs.name} are not those the original was certified on "
            f"({len(inputs)} given, {len(old)} certified). Screen on the same data, in the same "
            "order."
        )
    return inputs.labels
