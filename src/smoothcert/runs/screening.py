"""Candidates to screen as blocks of work, for this process or for others."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from smoothcert.classifiers.protocol import Classifier
from smoothcert.methods.pooled import DatasetCertificate
from smoothcert.methods.screening import Screening
from smoothcert.runs import ledger
from smoothcert.runs.opening import check_same_inputs
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.inputs import Inputs
from smoothcert.verbs.screen import Stage, asked

Load = Callable[[int], Classifier]
"""Loads the candidate of a number."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Screens candidates by their numbers.

    Attributes:
        stage: what they are screened on.
        load: gives a candidate, already checked.
        progress: called with evaluations.
        begin: called with fingerprint and name of a candidate before its first evaluation.
    """

    stage: Stage
    load: Load
    progress: Progress
    begin: Callable[[str, str], None]

    def do(self, block: int) -> DatasetCertificate:
        """Screen one."""
        candidate = self.load(block)
        self.begin(candidate.fingerprint, candidate.name)
        return self.stage.screen(candidate, self.progress)


@dataclass(frozen=True)
class ScreeningOrder:
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

    def start(self, load: Load, inputs: Inputs, progress: Progress) -> Candidates:
        """With this process's candidates and data.

        Raises:
            Mismatch: the data are not those of the run.
        """
        run = Run.open(self.base)
        stage = staged(run, inputs, self.screening, self.batch_size)
        begin = partial(self.begin, run)
        return Candidates(stage, lambda number: stage.checked(load(number)), progress, begin)

    def begin(self, run: Run, model: str, name: str) -> None:
        """Enter a candidate, by its fingerprint and name, in the base's ledger."""
        new = asked(model, self.screening, run.identity.settings.seed)
        ledger.enter(run, new, name, self.result)


def staged(run: Run, inputs: Inputs, screening: Screening, batch_size: int | None) -> Stage:
    """What candidates are screened on, from the original's run.

    Raises:
        Mismatch: the data are not those of the run.
    """
    check_same_inputs(run, inputs)
    return Stage.of(run.certification(), inputs, screening, batch_size)
