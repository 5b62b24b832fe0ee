"""Where a run is written, and what computes it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from smoothcert.classifiers.cores import cores
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.cli import display
from smoothcert.cli.sources import DataSource
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.runs.places import Place, place
from smoothcert.runs.processes import Processes
from smoothcert.runs.runner import How
from smoothcert.runs.store import Run
from smoothcert.runs.work import ALL, Shard
from smoothcert.sampling.inputs import Inputs


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
        return load_classifier(_on_disk(model), self.device, self.threads)

    @property
    def devices(self) -> int:
        """How many of them there are: all GPUs of the machine for `cuda`, else one."""
        if self.device != "cuda":
            return 1
        import torch

        return max(1, torch.cuda.device_count())

    def shared(self, workers: int) -> "Processor":
        """What each of several processes gets of the CPU."""
        if self.device != "cpu" or self.threads is not None or workers == 1:
            return self
        return replace(self, threads=max(1, cores() // workers))

    def of(self, worker: int) -> "Processor":
        """What a worker runs on: the GPUs in turn."""
        if self.device != "cuda":
            return self
        return replace(self, device=f"cuda:{worker % self.devices}")


def _on_disk(model: str) -> str:
    """The same reference with a copy for a file that is in an object store."""
    found = re.fullmatch(r"((?:[\w.-]+@)?)((?!hf:)[a-z0-9+]+://[^?]+)/([^/?]+)((?:\?.*)?)", model)
    if not found:
        return model
    architecture, folder, name, options = found.groups()
    try:
        return architecture + str(place(folder + options).on_disk(name))
    except FileNotFoundError:
        raise ModelError(f"There is no model at {model}") from None


@dataclass(frozen=True)
class Loading:
    """Loads a run's model and data in another process."""

    model: str
    source: DataSource
    processor: Processor

    def __call__(self, worker: int) -> tuple[Classifier, Inputs]:
        """See `processes.Load`."""
        return self.processor.of(worker).load(self.model), self.source.load()


@dataclass(frozen=True)
class Where:
    """Where a run is written and how it is computed."""

    out: str
    resume: bool = False
    processor: Processor = field(default_factory=Processor)
    batch_size: int | None = None
    block_inputs: int | None = None
    workers: int | None = None
    shard: str | None = None
    cluster: str | None = None
    json: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that are none."""
        sizes = {
            "batch-size": self.batch_size,
            "block-inputs": self.block_inputs,
            "workers": self.workers,
        }
        _ = self.part
        _ = self.address
        for name, value in sizes.items():
            if value is not None and value < 1:
                raise InvalidInput(f"--{name} must be at least 1; got {value}")

    @property
    def place(self) -> Place:
        """Of the run."""
        return place(self.out)

    @property
    def part(self) -> Shard:
        """The blocks to compute."""
        return Shard.parse(self.shard) if self.shard else ALL

    @property
    def address(self) -> str | None:
        """Of the Ray cluster: empty for one that is made here, None for no cluster."""
        if self.cluster is None:
            return None
        found = re.fullmatch(r"ray(://.+|:[^/].*)?", self.cluster)
        if not found:
            raise InvalidInput(
                f"--cluster is ray, ray://HOST:PORT or ray:HOST:PORT; got {self.cluster!r}"
            )
        there = found[1] or os.environ.get("RAY_ADDRESS", "")
        return self.cluster if there.startswith("://") else there.removeprefix(":")

    @property
    def count(self) -> int:
        """How many processes compute."""
        return self.workers or self.processor.devices

    @property
    def shared(self) -> Processor:
        """What each of them gets."""
        return self.processor.shared(self.count)

    def load(self, model: str) -> Classifier:
        """The classifier of the first of them."""
        return self.shared.load(model)

    def resumed(self) -> Run | None:
        """The run that is to be continued, if one is there."""
        there = (self.resume or self.shard) and self.place.has("run.json")
        return Run.open(self.place) if there else None

    def remaining(self, evaluations: int) -> int:
        """About how many of a whole run's evaluations are still to be made."""
        run = self.resumed()
        left = evaluations * len(run.missing) // len(run.blocks) if run else evaluations
        return left // self.part.count

    def how(
        self,
        tick: display.Tick,
        source: DataSource,
        origin: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
    ) -> How:
        """The runner's settings, with what another process loads to take part."""
        how = How(
            self.batch_size,
            self.block_inputs,
            self.resume,
            tick,
            origin={**origin, "data": source.to_json()},
            files=files or {},
            shard=self.part,
        )
        if self.cluster is not None or self.count == 1:
            return how
        loading = Loading(origin["model"], source, self.shared)
        return replace(how, executor=Processes(loading, self.count))
