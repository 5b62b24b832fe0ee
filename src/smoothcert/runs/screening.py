"""Candidates to screen as blocks of work, for this process or for others."""

from collections.abc import Callable
from dataclasses import dataclass

from smoothcert.classifiers.protocol import Classifier
from smoothcert.methods.pooled import DatasetCertificate
from smoothcert.methods.screening import Screening
from smoothcert.runs.opening import check_same_inputs
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.inputs import Inputs
from smoothcert.verbs.screen import Stage

Load = Callable[[int], Classifier]
"""Loads the candidate of a number."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Screens candidates by their numbers.

    Attributes:
        stage: what they are screened on.
        load: gives a candidate, already checked.
        progress: called with evaluations.
    """

    stage: Stage
    load: Load
    progress: Progress

    def do(self, block: int) -> DatasetCertificate:
        """Screen one."""
        return self.stage.screen(self.load(block), self.progress)


@dataclass(frozen=True)
class ScreeningOrder:
    """A screening as it is sent to another process, which loads candidates and data itself.

    Attributes:
        base: where the original's run is.
        screening: what is asked.
        batch_size: rows per forward pass, or None to choose.
    """

    base: str
    screening: Screening
    batch_size: int | None

    def start(self, load: Load, inputs: Inputs, progress: Progress) -> Candidates:
        """With this process's candidates and data.

        Raises:
            Mismatch: the data are not those of the run.
        """
        stage = staged(Run.open(self.base), inputs, self.screening, self.batch_size)
        return Candidates(stage, lambda number: stage.checked(load(number)), progress)


def staged(run: Run, inputs: Inputs, screening: Screening, batch_size: int | None) -> Stage:
    """What candidates are screened on, from the original's run.

    Raises:
        Mismatch: the data are not those of the run.
    """
    check_same_inputs(run, inputs)
    return Stage.of(run.certification(), inputs, screening, batch_size)
