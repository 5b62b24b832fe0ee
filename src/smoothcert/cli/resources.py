"""What computes: a device, several processes of this machine, or a Ray cluster."""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier, Fronted
from smoothcert.classifiers.reference import ModelReference
from smoothcert.cli import console
from smoothcert.cli.data_source import DataSource, with_advice
from smoothcert.cores import cores
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, MissingExtra, ModelError
from smoothcert.execution.block_tasks import Job
from smoothcert.execution.estimate import Workers
from smoothcert.execution.processes import Load, Processes
from smoothcert.execution.runner import finish
from smoothcert.execution.scheduler import Executor, run_serially, thread_safe
from smoothcert.execution.start import RunRequest
from smoothcert.runs.store import Run
from smoothcert.storage.opening import open_storage

if TYPE_CHECKING:
    from smoothcert.execution.ray_cluster import Cluster

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where classifiers run.

    Attributes:
        name: `cpu`, `cuda`, `cuda:1`, ...
        threads: batches at once on the CPU, a core each; None for all cores.
    """

    name: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse no threads at all before anything is loaded."""
        if self.threads is not None and self.threads < 1:
            raise InvalidInput(f"--threads must be at least 1; got {self.threads}")

    def load(self, model: str) -> Classifier:
        """The classifier behind a reference; say which of several outputs is read."""
        classifier = self.load_silently(model)
        output = getattr(classifier, "output", None)
        if output is not None and not output.alone and not ModelReference.parse(model).output:
            console.say(f"Reading the output {output.name!r} of {classifier.name.split('#')[0]}")
        if isinstance(classifier, Fronted) and classifier.front:
            console.say(classifier.front)
        return classifier

    def load_silently(self, model: str) -> Classifier:
        """The same without a word; see `load_classifier`."""
        classifier = load_classifier(_local_copy(model), self.name, self.threads)
        threads = f", {self.threads or cores()} threads" if self.name == "cpu" else ""
        _LOG.info("Loaded %s on %s%s", classifier.name, classifier.device, threads)
        return classifier

    def load_recorded(self, model: str) -> Classifier:
        """The classifier behind a reference that a run recorded, here or elsewhere."""
        try:
            return self.load(model)
        except ModelError as error:
            raise ModelError(with_advice(error, "model", "--model")) from error

    @property
    def count(self) -> int:
        """How many devices there are: all GPUs of the machine for `cuda`, else one."""
        if self.name != "cuda":
            return 1
        try:
            import torch
        except ImportError as error:
            raise MissingExtra("torch", "torch") from error
        return max(1, torch.cuda.device_count())

    def divided(self, processes: int) -> "Device":
        """The share of the CPU that each of several processes gets."""
        if self.name != "cpu" or self.threads is not None or processes == 1:
            return self
        return replace(self, threads=max(1, cores() // processes))

    def for_worker(self, worker: int) -> "Device":
        """What a worker runs on: the GPUs in turn."""
        if self.name != "cuda":
            return self
        return replace(self, name=f"cuda:{worker % self.count}")


def _local_copy(model: str) -> str:
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
        device: of each process.
        workers: how many processes, if --workers says it.
        cluster: the text of --cluster.
    """

    device: Device = field(default_factory=Device)
    workers: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        """Refuse no workers at all, and a cluster of another kind."""
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
                f"--cluster must be ray, ray://HOST:PORT or ray:HOST:PORT; got {self.cluster!r}"
            )
        there = found[1] or os.environ.get("RAY_ADDRESS", "")
        return self.cluster if there.startswith("://") else there.removeprefix(":")

    @property
    def processes(self) -> int:
        """How many processes of this machine compute."""
        return self.workers or self.device.count

    @property
    def process_device(self) -> Device:
        """What each of them gets."""
        return self.device.divided(self.processes)

    @property
    def alone(self) -> "Compute":
        """One process here, whose speed tells that of the others: on a cluster, one worker's."""
        threads = self.device.threads or (1 if self.cluster is not None else None)
        return Compute(replace(self.device, threads=threads))

    @property
    def shared(self) -> Workers:
        """The workers, by the speed of `alone`; those of one machine share its cores or GPUs."""
        count = self.processes
        places = float(self.device.count)
        if self.cluster is not None:
            places = count
        elif self.device.name == "cpu":
            places = cores() / (self.device.threads or cores())
        return Workers(count, min(1.0, places / count))

    def executor(self, load: Load) -> Executor:
        """Those processes; the others load with `load` what this one has."""
        return run_serially if self.processes == 1 else Processes(load, self.processes)


@dataclass(frozen=True)
class ModelLoader:
    """Loads a model in any process.

    Attributes:
        model: its reference.
        device: of the workers.
    """

    model: str
    device: Device

    def __call__(self, worker: int) -> Classifier:
        """On this worker's device."""
        return self.device.for_worker(worker).load_silently(self.model)


@dataclass(frozen=True)
class WorkerInputs:
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


def run_on_cluster(request: RunRequest, model: str, source: DataSource, compute: Compute) -> Run:
    """Open and compute a run in the cluster; neither model nor device need be here."""
    cluster, options = cluster_for_run(model, source, compute), request.options
    opened = cluster.open(request)
    request.register(opened.identity, Path(model).name)  # here, so that its warning is seen
    job = Job(opened, request.base, options.shard, thread_safe(options.progress))
    return finish(job, None, cluster, options.watchers, options.limit)


def cluster_for_run(model: str, source: DataSource, compute: Compute) -> "Cluster":
    """An executor for a run."""
    return _cluster(WorkerInputs(_cluster_loader(model, compute), source), compute)


def cluster_for_screening(
    models: tuple[str, ...], source: DataSource, compute: Compute
) -> "Cluster":
    """An executor for a screening."""
    loaders = tuple(_cluster_loader(model, compute) for model in models)
    return _cluster(CandidateInputs(loaders, source), compute)


def _cluster(load: Load, compute: Compute) -> "Cluster":
    from smoothcert.execution.ray_cluster import Cluster

    gpus = 0 if compute.device.name == "cpu" else 1
    threads = compute.device.threads or 1
    return Cluster(load, compute.address or "", compute.workers, threads, gpus)


def _cluster_loader(model: str, compute: Compute) -> Callable[[int], Classifier]:
    """Loads a model from a copy of its file that is sent along, if it is one file."""
    from smoothcert.execution.ray_cluster import BroadcastFile

    device = replace(compute.device, threads=compute.device.threads or 1)
    loader = ModelLoader(model, device)
    reference = ModelReference.parse(model)
    file = Path(reference.file)
    if reference.preprocessing:
        return loader  # two files
    if not reference.file or not file.is_file() or file.with_name(f"{file.name}.data").exists():
        return loader
    return BroadcastFile.of(partial(_from_copy, loader, reference), file, compute.address or "")


def _from_copy(loader: ModelLoader, reference: ModelReference, copy: Path) -> ModelLoader:
    return replace(loader, model=reference.at(copy).text)
