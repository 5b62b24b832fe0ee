"""--cluster: the same commands with all work done by a Ray cluster."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.classifiers.protocol import Classifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.cli import display
from smoothcert.cli.machines import Loading, LoadingAny, Machines, ModelAt
from smoothcert.cli.sources import DataSource
from smoothcert.cli.where import Where
from smoothcert.errors import InvalidInput
from smoothcert.execution.block_tasks import Job
from smoothcert.execution.processes import Load
from smoothcert.execution.runner import finish
from smoothcert.execution.scheduler import one_at_a_time
from smoothcert.execution.start import Opening
from smoothcert.runs.store import Run

if TYPE_CHECKING:
    from smoothcert.execution.ray_cluster import Cluster


def check(engine: str | None, where: Where) -> None:
    """Raise for what a cluster cannot do, before anything is loaded."""
    if where.machines.cluster is not None and engine is not None:
        raise InvalidInput(
            "--engine works on this machine. Convert first (smoothcert compress MODEL --to onnx), "
            "then give --cluster the converted model."
        )


def run(opening: Opening, model: str, source: DataSource, where: Where, tick: display.Tick) -> Run:
    """Open and compute a run in the cluster; neither model nor device need be here."""
    cluster = of_model(model, source, where.machines)
    opened = cluster.open(opening)
    opening.begin(opened.identity, Path(model).name)  # done there: a warning is to be seen here
    job = Job(opened, opening.base, where.part, one_at_a_time(tick))
    return finish(job, None, cluster, where.watchers)


def of_model(model: str, source: DataSource, machines: Machines) -> "Cluster":
    """An executor for a run."""
    return _cluster(Loading(_shipped(model, machines), source), machines)


def of_candidates(models: tuple[str, ...], source: DataSource, machines: Machines) -> "Cluster":
    """An executor for a screening."""
    return _cluster(LoadingAny(tuple(_shipped(m, machines) for m in models), source), machines)


def _cluster(load: Load, machines: Machines) -> "Cluster":
    from smoothcert.execution.ray_cluster import Cluster

    gpus = 0 if machines.processor.device == "cpu" else 1
    return Cluster(load, machines.address or "", machines.workers, _cores(machines), gpus)


def _cores(machines: Machines) -> int:
    """Of each worker."""
    return machines.processor.threads or 1


def _shipped(model: str, machines: Machines) -> Callable[[int], Classifier]:
    """Loads a model from a copy of its file that is sent along, if it is one file."""
    from smoothcert.execution.ray_cluster import Shipped

    there = ModelAt(model, replace(machines.processor, threads=_cores(machines)))
    reference = ModelReference.parse(model)
    file = Path(reference.file)
    if not reference.file or not file.is_file() or file.with_name(f"{file.name}.data").exists():
        return there
    return Shipped.of(partial(_with_copy, there, reference), file, machines.address or "")


def _with_copy(there: ModelAt, reference: ModelReference, copy: Path) -> ModelAt:
    return replace(there, model=reference.at(copy).text)
