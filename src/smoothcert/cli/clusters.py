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
    load = _shipped(model, source, where, address)
    cluster = Cluster(load, address, where.workers, cores, gpus)
    opened = cluster.open(opening)
    job = Job(opened, opening.base, where.part, one_at_a_time(tick))
    found = finish(job, None, cluster)
    if opening.base is not None:
        ledger.enter(opening.base, found, Path(model).name)
    return found


def _shipped(model: str, source: DataSource, where: Where, address: str) -> Load:
    """What loads the model there: from the file that is sent along, if it is one file."""
    from smoothcert.runs.cluster import Shipped

    cores = where.processor.threads or 1
    load = Loading(model, source, replace(where.processor, threads=cores))
    _, file = file_of(model) or ("", Path())
    beside = file.with_name(file.name + ".data") if file.name else file
    if str(file) not in model or not file.is_file() or beside.exists():
        return load
    return Shipped.of(partial(_with_copy, load, file), file, address)


def _with_copy(load: Loading, file: Path, copy: Path) -> Loading:
    return replace(load, model=load.model.replace(str(file), str(copy)))
