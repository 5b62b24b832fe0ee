"""--cluster: the same commands with all work done by a Ray cluster."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from smoothcert.classifiers.loading import file_of
from smoothcert.cli import display
from smoothcert.cli.sources import DataSource
from smoothcert.cli.where import Loading, Where
from smoothcert.errors import InvalidInput
from smoothcert.runs import ledger
from smoothcert.runs.opening import Opening
from smoothcert.runs.processes import Load
from smoothcert.runs.runner import finish
from smoothcert.runs.store import Run
from smoothcert.runs.work import Job, one_at_a_time


def check(engine: str | None, where: Where) -> None:
    """Raise for what a cluster cannot do, before anything is loaded."""
    if where.cluster is not None and engine is not None:
        raise InvalidInput(
            "--engine works on this machine. Convert first (smoothcert compress MODEL --to onnx), "
            "then give --cluster the converted model."
        )


def run(opening: Opening, model: str, source: DataSource, where: Where, tick: display.Tick) -> Run:
    """Open and compute a run in the cluster; neither model nor device need be here."""
    from smoothcert.runs.cluster import Cluster

    address, cores = where.address or "", where.processor.threads or 1
    gpus = 0 if where.processor.device == "cpu" else 1
    loading = Loading(model, source, replace(where.processor, threads=cores))
    cluster = Cluster(_shipped(loading, address), address, where.workers, cores, gpus)
    opened = cluster.open(opening)
    job = Job(opened, opening.base, where.part, one_at_a_time(tick))
    found = finish(job, None, cluster)
    if opening.base is not None:
        ledger.enter(opening.base, found, Path(model).name)
    return found


def _shipped(loading: Loading, address: str) -> Load:
    """The same from a copy of the model's file that is sent along, if it is one file."""
    from smoothcert.runs.cluster import Shipped

    _, file = file_of(loading.model) or ("", Path())
    beside = file.with_name(file.name + ".data") if file.name else file
    if str(file) not in loading.model or not file.is_file() or beside.exists():
        return loading
    return Shipped.of(partial(_with_copy, loading, file), file, address)


def _with_copy(loading: Loading, file: Path, copy: Path) -> Loading:
    return replace(loading, model=loading.model.replace(str(file), str(copy)))
