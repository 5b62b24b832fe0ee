"""The candidates of a screening, or rounds of them, as tasks for this process or for others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.screener import Screener, asked
from smoothcert.methods.dataset import DatasetCertificate, recheck, stops_when_due
from smoothcert.methods.screening import Pool, Screening
from smoothcert.methods.standings import Evaluated
from smoothcert.runs import ledger, pilots
from smoothcert.runs.bases import check_same_inputs, check_same_labels
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared
from smoothcert.text import visible

LoadCandidate = Callable[[int], Classifier]
"""Loads the candidate of a number."""

PrepareCandidate = Callable[[int], Prepared]
"""Prepares the candidate of a number."""


@dataclass(frozen=True, eq=False)
class ScreeningTask:
    """Evaluates candidates, or rounds of them, by the numbers of `Standings`.

    Attributes:
        screener: the inputs that they are screened on.
        prepare: loads and prepares a candidate.
        progress: called with evaluations.
        begin: called with fingerprint and name of a candidate before its first evaluation.
    """

    screener: Screener
    prepare: PrepareCandidate
    progress: Progress
    begin: Callable[[str, str], None]

    def compute(self, block: int) -> Evaluated:
        """Evaluate a block; see `Standings`."""
        rounds, number = divmod(block, self.screener.screening.candidates)
        candidate = self.prepare(number)
        if not rounds:
            self.begin(candidate.classifier.fingerprint, candidate.classifier.name)
        return self.screener.evaluate(candidate, rounds, self.progress)


@dataclass(frozen=True)
class ScreeningTaskSpec:
    """A screening as it is sent to another process, which loads candidates and data itself.

    Attributes:
        base: where the original's run is.
        screening: what is asked.
        batch_size: rows per forward pass, or None to choose.
        result: where the certificates go, for the base's ledger.
    """

    base: str
    screening: Screening
    batch_size: int | None
    result: str = "screen"

    def start(self, load: LoadCandidate, inputs: Inputs, progress: Progress) -> ScreeningTask:
        """With this process's candidates and data.

        Raises:
            Mismatch: the data are not those of the run.
        """
        run = Run.open(self.base)
        screener = make_screener(run, inputs, self.screening, self.batch_size)
        # Where candidates get their rounds in turn, each comes back.
        kept = lru_cache(None if self.screening.timed else 1)
        prepare = kept(lambda number: screener.prepared(load(number)))
        return ScreeningTask(screener, prepare, progress, partial(self.begin, run))

    def begin(self, run: Run, model: str, name: str) -> None:
        """Enter a candidate, by its fingerprint and name, in the base's ledger."""
        new = asked(model, self.screening, run.identity.settings.seed)
        ledger.enter(run, new, name, self.result)


def make_screener(
    run: Run, inputs: Inputs, screening: Screening, batch_size: int | None
) -> Screener:
    """The inputs that candidates are screened on, from the original's run.

    Raises:
        Mismatch: the data are not those of the run.
        InvalidInput: more is to be replayed than there are draws that no plan has shown.
    """
    check_same_inputs(run, inputs)
    check_same_labels(run, inputs)
    screener, seen = (
        Screener.of(run.certification(), inputs, screening, batch_size),
        pilots.seen_of(run),
    )
    if screener.pool.form != "binary":
        pilots.require_unseen(run, screening.per_input, "the form runner-up", "form")
        return screener
    for source, k in zip(screener.sources, screener.pool.k, strict=True):
        left = k - int(seen[0, source.position])
        if left < screening.per_input:
            raise InvalidInput(
                f"Input {inputs.indices[source.position]} has {left} cached draws of its class "
                f"whose outcome no plan has shown, of which {screening.per_input} cannot be "
                "replayed. Ask for at most that many per input, or certify the original with a "
                "larger n."
            )
    return screener


def problems_of(found: Sequence[DatasetCertificate], base: Run | None) -> Iterator[str]:
    """What is wrong with all certificates of one screening, as far as shows without a model."""
    screening, pool = found[0].screening, found[0].pool
    if any((c.screening, c.pool) != (screening, pool) for c in found):
        yield "its candidates were screened with different settings or inputs"
    if pool.form != "binary" and screening.form == "binary":
        yield "its limits have another form than was asked for"
    if len(found) != screening.candidates:
        yield (
            f"its alpha is divided over {screening.candidates} candidates, but it has {len(found)}"
        )
    for c in found:
        if recheck(c) != c:
            yield f"{visible(c.name)}: it states what its counts do not prove"
        if not stops_when_due(c):
            yield (
                f"{visible(c.name)}: its rounds break its rule, which stops when decided (what was "
                "interrupted is finished by `screen --resume`)"
            )
    if base is not None and replace(pool, off_grid=0.0) != pool_of(base, screening):
        yield "its inputs and their cached votes are not those of the base run"


def pool_of(base: Run, screening: Screening) -> Pool:
    """What a base run says of its inputs, by the true classes that it keeps, without `off_grid`."""
    known = tuple(-1 if label is None else label for label in base.labels)
    share, form, per_input = screening.alpha_cache, screening.form, screening.per_input
    found = Pool.of(base.certification(), known, share, form, per_input)
    return replace(found, off_grid=0.0)  # of the base's inputs; a screening has its own


def replay_flips(
    certificate: DatasetCertificate,
    screener: Screener,
    candidate: Prepared,
    fraction: float,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Evaluate all draws of a random part of the inputs again.

    Args:
        certificate: of a candidate, whose pool is the screener's.
        screener: what it was screened on.
        candidate: prepared; its fingerprint is checked.
        fraction: of the inputs, in (0, 1]; one at least.
        progress: called with evaluations.

    Returns:
        How many draws were evaluated, and for how many inputs and rounds the flips differ.

    Raises:
        Mismatch: another model.
    """
    classifier = candidate.classifier
    if classifier.fingerprint != certificate.fingerprint:
        raise Mismatch(
            f"{certificate.name} was screened with the fingerprint {certificate.fingerprint}; "
            f"{classifier.name} has {classifier.fingerprint}. Replay needs the same model."
        )
    count = len(screener.sources)
    size = min(count, max(1, round(fraction * count)))
    picked = np.sort(np.random.default_rng().choice(count, size, replace=False)).tolist()
    part = replace(screener, sources=tuple(screener.sources[i] for i in picked))
    sampler = candidate.sampler(screener.base.settings, progress)
    seen = differing = 0
    for row, until in zip(certificate.flips, certificate.screening.rounds, strict=False):
        again = part.flips(sampler, seen, until)
        differing += sum(row[i] != new for i, new in zip(picked, again, strict=True))
        seen = until
    return seen * size, differing
