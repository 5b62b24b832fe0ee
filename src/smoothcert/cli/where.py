"""Where a run is written, and what computes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.cli import display
from smoothcert.errors import InvalidInput
from smoothcert.runs.runner import How
from smoothcert.runs.store import Run


@dataclass(frozen=True)
class Processor:
    """Where classifiers run.

    Attributes:
        device: `cpu`, `cuda`, `cuda:1`, ...
        threads: batches at once on the CPU, a core each; None for all cores.
    """

    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse no threads at all before anything is loaded."""
        if self.threads is not None and self.threads < 1:
            raise InvalidInput(f"--threads must be at least 1; got {self.threads}")

    def load(self, model: str) -> Classifier:
        """The classifier behind a reference; see `load_classifier`."""
        return load_classifier(model, self.device, self.threads)


@dataclass(frozen=True)
class Where:
    """Where a run is written and how it is computed."""

    out: Path
    resume: bool = False
    processor: Processor = field(default_factory=Processor)
    batch_size: int | None = None
    block_inputs: int | None = None
    json: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that are none."""
        for name, value in (("batch-size", self.batch_size), ("block-inputs", self.block_inputs)):
            if value is not None and value < 1:
                raise InvalidInput(f"--{name} must be at least 1; got {value}")

    def resumed(self) -> Run | None:
        """The run that is to be continued, if one is there."""
        there = self.resume and (self.out / "run.json").exists()
        return Run.open(self.out) if there else None

    def remaining(self, evaluations: int) -> int:
        """About how many of a whole run's evaluations are still to be made."""
        run = self.resumed()
        return evaluations * len(run.missing) // len(run.blocks) if run else evaluations

    def how(
        self,
        tick: display.Tick,
        origin: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
    ) -> How:
        """The runner's settings."""
        sizes = (self.batch_size, self.block_inputs)
        return How(*sizes, self.resume, tick, origin=origin, files=files or {})
