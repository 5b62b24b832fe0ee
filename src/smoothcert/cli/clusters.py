"""--cluster: the same commands with all work done by a Ray cluster."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.classifiers.protocol import Classifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.cli.machines import CandidateInputs, Compute, Loading, ModelLoader
from smoothcert.cli.sources import DataSource
from smoothcert.cli.where import RunArguments
from smoothcert.errors import InvalidInput
from smoothcert.execution.block_tasks import Job
from smoothcert.execution.processes import Load
from smoothcert.execution.runner import finish
from smoothcert.execution.scheduler import thread_safe
from smoothcert.execution.start import RunRequest
from smoothcert.runs.store import Run

if TYPE_CHECKING:
    from smoothcert.execution.ray_cluster import Cluster


def check(engine: str | None, where: RunArguments) -> None:
    """Raise for what a cluster cannot do, before anything is loaded."""
    if where.machines.cluster is not None and engine is not None:
        raise InvalidInput(
            "--engine works on this machine. Convert first (smoothcert compress MODEL --to onnx), "
            "then give --cluster the converted model."
        )


def run(request: RunRequest, model: str, source: DataSource, where: RunArguments) -> Run:
    """Open and compute a run in the cluster; neither model nor device need be here."""
    cluster, options = of_model(model, source, where.machines), request.options
    opened = cluster.open(request)
    request.register(opened.identity, Path(model).name)  # also done there; here its warning is seen
    job = Job(opened, request.base, options.shard, thread_safe(options.progress))
    return finish(job, None, cluster, options.watchers)


def of_model(model: str, source: DataSource, machines: Compute) -> "Cluster":
    """An executor for a run."""
    return _cluster(Loading(_shipped(model, machines), source), machines)


def of_candidates(models: tuple[str, ...], source: DataSource, machines: Compute) -> "Cluster":
    """An executor for a screening."""
    return _cluster(CandidateInputs(tuple(_shipped(m, machines) for m in models), source), machines)


def _cluster(load: Load, machines: Compute) -> "Cluster":
    from smoothcert.execution.ray_cluster import Cluster

    gpus = 0 if machines.processor.device == "cpu" else 1
    return Cluster(load, machines.address or "", machines.workers, _cores(machines), gpus)


def _cores(machines: Compute) -> int:
    """Of each worker."""
    return machines.processor.threads or 1


def _shipped(model: str, machines: Compute) -> Callable[[int], Classifier]:
    """Loads a model from a copy of its file that is sent along, if it is one file."""
    from smoothcert.execution.ray_cluster import BroadcastFile

    there = ModelLoader(model, replace(machines.processor, threads=_cores(machines)))
    reference = ModelReference.parse(model)
    file = Path(reference.file)
    if not reference.file or not file.is_file() or file.with_name(f"{file.name}.data").exists():
        return there
    return BroadcastFile.of(partial(_with_copy, there, reference), file, machines.address or "")


def _with_copy(there: ModelLoader, reference: ModelReference, copy: Path) -> ModelLoader:
    return replace(there, model=reference.at(copy).text)
