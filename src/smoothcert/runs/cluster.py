"""A run on a Ray cluster: an actor for each GPU or share of cores, wherever there is room.

The only module that imports ray. Model files are sent once to each node; the data and the run
directory must be where all nodes can reach them.
"""

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import InvalidInput, MissingExtra, WorkerError
from smoothcert.runs.crew import PATIENCE, Blocks, Lost, drive, follow
from smoothcert.runs.files import write_whole
from smoothcert.runs.opening import Opening
from smoothcert.runs.processes import Load, portable
from smoothcert.runs.store import Run
from smoothcert.runs.work import Job, Order, Task
from smoothcert.sampling.inputs import Inputs

_LOOK = 0.2  # seconds between two looks at an actor


@dataclass(frozen=True)
class Cluster:
    """An executor: actors of a Ray cluster.

    An actor that dies, with its node or alone, is replaced where there is room, and its block done
    again; a block that takes much longer than others is done by an idle actor too. Actors that
    there is no room for yet start when nodes join.

    Attributes:
        load: loads model and data in an actor.
        address: `auto` for the cluster of this machine, `HOST:PORT` or `ray://HOST:PORT` of
            another; empty to start one here.
        workers: actors at most; by default as many as the cluster has room for at the start.
        cpus: cores for each.
        gpus: for each; 1 for a model on CUDA.
    """

    load: Load
    address: str = ""
    workers: int | None = None
    cpus: float = 1
    gpus: float = 0

    def open(self, opening: Opening) -> Run:
        """Open a run in the cluster: this machine may have neither the device nor the data.

        Raises:
            SmoothcertError: what `Opening.open` raises.
        """
        ray = _connected(self.address)
        self._most(ray)
        there = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=3)(_open)
        try:
            failed = ray.get(there.remote(self.load, opening))
        except ray.exceptions.RayError as error:
            raise WorkerError(f"The run could not be opened in the cluster: {error}") from error
        if failed is not None:
            raise failed
        return Run.open(opening.place)

    def __call__(self, job: Job, here: Task | None, stop: Callable[[], int], /) -> None:
        """See `Executor`; nothing is computed here."""
        ray, missing = _connected(self.address), job.missing
        there = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_concurrency=2
        )(_Worker)
        order = Order.of(job)
        blocks = Blocks(missing, stop)

        def actor(number: int) -> Callable[[], _Actor]:
            start = partial(there.remote, self.load, number, order)
            return lambda: _Actor(ray, start, job, blocks)

        count = min(self._most(ray), len(missing))
        drive([actor(number) for number in range(count)], blocks)

    def _most(self, ray: ModuleType) -> int:
        """How many actors there are to be."""
        if self.workers is not None:
            return self.workers
        total = ray.cluster_resources()
        rooms = [total.get("CPU", 0) // self.cpus] if self.cpus else []
        rooms += [total.get("GPU", 0) // self.gpus] if self.gpus else []
        room = int(min(rooms, default=1))
        if room < 1:
            raise InvalidInput(
                f"The cluster has {total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs, "
                f"and a worker needs {self.cpus:g} and {self.gpus:g}. Add nodes, or pass --workers "
                "to wait for them."
            )
        return room


@dataclass(frozen=True)
class Shipped:
    """Loads a model whose file is sent along; each node keeps one copy of it.

    Attributes:
        load: from the path of a copy to what loads model and data.
        name: of the file.
        digest: of its content.
        content: Ray's reference to its bytes.
    """

    load: Callable[[Path], Load]
    name: str
    digest: str
    content: Any

    @staticmethod
    def of(load: Callable[[Path], Load], file: Path, address: str) -> "Shipped":
        """Put a file into the cluster."""
        data = file.read_bytes()
        digest = sha256(data).hexdigest()[:32]
        return Shipped(load, file.name, digest, _connected(address).put(data))

    def __call__(self, worker: int) -> tuple[Classifier, Inputs]:
        """See `processes.Load`."""
        folder = Path(tempfile.gettempdir()) / f"smoothcert-{os.getuid()}-{self.digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise WorkerError(f"{folder} belongs to somebody else. Remove it, and start again.")
        file = folder / self.name
        if not file.exists():
            write_whole(file, _import_ray().get(self.content))
        return self.load(file)(worker)


def _open(load: Load, opening: Opening) -> Exception | None:
    """In the cluster: open a run, and return what went wrong."""
    try:
        opening.open(*load(0))
    except Exception as error:  # noqa: BLE001 - raised where the cluster is led
        return portable(error)
    return None


class _Worker:
    """In the cluster: computes blocks."""

    def __init__(self, load: Load, number: int, order: Order) -> None:
        self._told, self._lock, self._task, self._error = 0, threading.Lock(), None, None
        try:
            self._task = order.start(*load(number), self._tell)
        except Exception as error:  # noqa: BLE001 - returned by `do`
            self._error = portable(error)

    def do(self, block: int) -> Exception | None:
        """Compute and store a block, and return what went wrong."""
        if self._task is None:
            return self._error
        try:
            self._task.do(block)
        except Exception as error:  # noqa: BLE001 - raised where the cluster is led
            return portable(error)
        return None

    def told(self) -> int:
        """Evaluations since this was last asked; answered while a block is computed."""
        with self._lock:
            told, self._told = self._told, 0
        return told

    def _tell(self, evaluations: int) -> None:
        with self._lock:
            self._told += evaluations


class _Actor:
    """Where the cluster is led: a worker of it."""

    def __init__(self, ray: ModuleType, start: Callable[[], Any], job: Job, blocks: Blocks) -> None:
        self._ray, self._job, self._actor = ray, job, start()
        ready = self._actor.told.remote()
        while not self._is_done(ready):
            if not blocks.left():
                self.close()
                raise Lost("there is nothing left for it")

    def do(self, block: int, wanted: Callable[[], bool]) -> None:
        follow(partial(self._hear, self._actor.do.remote(block)), self._job.progress, wanted)

    def _hear(self, done: Any) -> int | None:
        """See `follow`."""
        finished = self._is_done(done)
        told = self._get(self._actor.told.remote())
        if told or not finished:
            return told
        if error := self._get(done):
            raise error
        return None

    def close(self) -> None:
        self._ray.kill(self._actor)

    def _is_done(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=_LOOK)[0])

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference, timeout=PATIENCE)
        except self._ray.exceptions.RayError as error:
            raise Lost(str(error).strip().partition("\n")[0]) from None


def _connected(address: str) -> ModuleType:
    """Ray, connected to a cluster."""
    ray = _import_ray()
    if not ray.is_initialized():
        try:
            ray.init(address=address or "local", log_to_driver=False, include_dashboard=None)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InvalidInput(
                f"No Ray cluster answers at {address!r}: {error}. Start one with `ray start "
                "--head`, or leave out the address to use this machine."
            ) from error
    return ray


def _import_ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtra("ray", "cluster") from error
    return ray
