"""What computes: a device, several processes of this machine, or a cluster."""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from smoothcert.classifiers.cores import cores
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.cli import display
from smoothcert.cli.sources import DataSource, moved
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.execution.processes import Load, Processes
from smoothcert.execution.scheduler import Executor, run_serially
from smoothcert.storage.opening import open_storage

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
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
        """The classifier behind a reference, saying which of several outputs is read."""
        classifier = self.loaded(model)
        output = getattr(classifier, "output", None)
        if output is not None and not output.alone and not ModelReference.parse(model).output:
            display.say(f"Reading the output {output.name!r} of {classifier.name.split('#')[0]}")
        return classifier

    def loaded(self, model: str) -> Classifier:
        """The same without a word; see `load_classifier`."""
        classifier = load_classifier(_on_disk(model), self.device, self.threads)
        threads = f", {self.threads or cores()} threads" if self.device == "cpu" else ""
        _LOG.info("Loaded %s on %s%s", classifier.name, classifier.device, threads)
        return classifier

    def load_recorded(self, model: str) -> Classifier:
        """The same of a reference that a run recorded, here or elsewhere."""
        try:
            return self.load(model)
        except ModelError as error:
            raise ModelError(moved(error, "model", "--model")) from error

    @property
    def devices(self) -> int:
        """How many of them there are: all GPUs of the machine for `cuda`, else one."""
        if self.device != "cuda":
            return 1
        import torch

        return max(1, torch.cuda.device_count())

    def shared(self, workers: int) -> "Device":
        """What each of several processes gets of the CPU."""
        if self.device != "cpu" or self.threads is not None or workers == 1:
            return self
        return replace(self, threads=max(1, cores() // workers))

    def of(self, worker: int) -> "Device":
        """What a worker runs on: the GPUs in turn."""
        if self.device != "cuda":
            return self
        return replace(self, device=f"cuda:{worker % self.devices}")


def _on_disk(model: str) -> str:
    """The same reference with a copy for a file that is in an object store."""
    reference = ModelReference.parse(model)
    if not reference.is_address:
        return model
    address, mark, options = reference.file.partition("?")
    folder, _, name = address.rpartition("/")
    try:
        return reference.at(open_storage(folder + mark + options).on_disk(name)).text
    except FileNotFoundError:
        raise ModelError(f"There is no model at {reference.file}") from None


@dataclass(frozen=True)
class Compute:
    """One process or several, here or in a cluster.

    Attributes:
        processor: of each.
        workers: how many, if it is said.
        cluster: the text of --cluster.
    """

    processor: Device = field(default_factory=Device)
    workers: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is none."""
        if self.workers is not None and self.workers < 1:
            raise InvalidInput(f"--workers must be at least 1; got {self.workers}")
        _ = self.address

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
        """How many processes of this machine compute."""
        return self.workers or self.processor.devices

    @property
    def shared(self) -> Device:
        """What each of them gets."""
        return self.processor.shared(self.count)

    def executor(self, load: Load) -> Executor:
        """Those processes; they load what this one has with `load`."""
        return run_serially if self.count == 1 else Processes(load, self.count)


@dataclass(frozen=True)
class ModelLoader:
    """Loads a model in any process.

    Attributes:
        model: its reference.
        processor: of the workers.
    """

    model: str
    processor: Device

    def __call__(self, worker: int) -> Classifier:
        """On this worker's device."""
        return self.processor.of(worker).loaded(self.model)


@dataclass(frozen=True)
class Loading:
    """Loads a run's model and data in another process."""

    model: Callable[[int], Classifier]
    source: DataSource

    def __call__(self, worker: int) -> tuple[Classifier, Inputs]:
        """See `processes.Load`."""
        return self.model(worker), self.source.load()


@dataclass(frozen=True)
class CandidateInputs:
    """Loads a screening's data, and its candidates as they are asked for, in another process."""

    models: tuple[Callable[[int], Classifier], ...]
    source: DataSource

    def __call__(self, worker: int) -> tuple[Callable[[int], Classifier], Inputs]:
        """See `processes.Load`."""
        return partial(self.candidate, worker), self.source.load()

    def candidate(self, worker: int, number: int) -> Classifier:
        """One of them."""
        return self.models[number](worker)
