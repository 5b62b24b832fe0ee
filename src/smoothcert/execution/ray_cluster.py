"""Work on a Ray cluster: an actor for each GPU or share of cores, wherever there is room.

The only module that imports ray. Model files are sent once to each node; the data and the run
directory must be where all nodes can reach them.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from smoothcert.errors import InvalidInput, MissingExtra, WorkerError
from smoothcert.execution.processes import Load, portable
from smoothcert.execution.scheduler import (
    HEARTBEAT_TIMEOUT,
    BlockQueue,
    Done,
    Lost,
    TaskSpec,
    Work,
    drive,
    follow,
)
from smoothcert.execution.start import RunRequest
from smoothcert.files import write_whole
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress

_LOOK = 0.2  # seconds between two looks at an actor
_GROW = 2.0  # seconds between two looks at whether the cluster has grown
_LARGEST = 64  # actors in a cluster that grows; it may also double


@dataclass(frozen=True)
class Cluster:
    """An executor: actors of a Ray cluster.

    An actor that dies, with its node or alone, is replaced where there is room, and its block done
    again; a block that takes much longer than others is done by an idle actor too. When nodes
    join, actors start on them.

    Attributes:
        load: loads model and data in an actor.
        address: `auto` for the cluster of this machine, `HOST:PORT` or `ray://HOST:PORT` of
            another; empty to start one here.
        workers: actors that are asked of the cluster from the start, which may make it grow; by
            default as many as it has room for at any time.
        cpus: cores for each.
        gpus: for each; 1 for a model on CUDA.
    """

    load: Load
    address: str = ""
    workers: int | None = None
    cpus: float = 1
    gpus: float = 0

    def open(self, request: RunRequest) -> Run:
        """Open a run in the cluster: this machine may have neither the device nor the data.

        Raises:
            SmoothcertError: what `RunRequest.open` raises.
        """
        ray = _connected(self.address)
        self._most(ray)  # or nothing would ever come back
        there = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=3)(_open)
        try:
            failed = ray.get(
                there.remote(self.load, replace(request, options=request.options.portable))
            )
        except ray.exceptions.RayError as error:
            raise WorkerError(f"The run could not be opened in the cluster: {error}") from error
        if failed is not None:
            raise failed
        return Run.open(request.storage)

    def __call__(self, work: Work, stop: Callable[[], int], /) -> dict[int, Any]:
        """See `Executor`; nothing is computed here."""
        ray = _connected(self.address)
        there = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_concurrency=2
        )(_Worker)
        blocks = BlockQueue(work.blocks, stop, work.finished)

        def actor(number: int) -> _Actor | None:
            while self.workers is None and number >= self._room(ray):
                if not blocks.left():
                    return None
                time.sleep(_GROW)
            made = _Actor(ray, there.remote(self.load, number, work.order), work.progress)
            return made if made.is_ready(blocks.left) else None

        count = min(self._most(ray), len(work.blocks))
        return drive([partial(actor, number) for number in range(count)], blocks)

    def _most(self, ray: ModuleType) -> int:
        """How many actors there may come to be."""
        if self.workers is not None:
            return self.workers
        room = self._room(ray)
        if room < 1:
            total = ray.cluster_resources()
            raise InvalidInput(
                f"The cluster has {total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs, "
                f"and a worker needs {self.cpus:g} and {self.gpus:g}. Add nodes, or pass --workers "
                "to wait for them."
            )
        return max(_LARGEST, 2 * room)

    def _room(self, ray: ModuleType) -> int:
        """How many actors the cluster has room for now."""
        total = ray.cluster_resources()
        rooms = [total.get("CPU", 0) // self.cpus] if self.cpus else []
        rooms += [total.get("GPU", 0) // self.gpus] if self.gpus else []
        return int(min(rooms, default=1))


@dataclass(frozen=True)
class Shipped:
    """Loads something from a file that is sent along; each node keeps one copy of it.

    Attributes:
        load: from the path of a copy to what a worker calls with its number.
        name: of the file.
        digest: of its content.
        content: Ray's reference to its bytes.
    """

    load: Callable[[Path], Callable[[int], Any]]
    name: str
    digest: str
    content: Any

    @staticmethod
    def of(load: Callable[[Path], Callable[[int], Any]], file: Path, address: str) -> "Shipped":
        """Put a file into the cluster."""
        data = file.read_bytes()
        digest = sha256(data).hexdigest()[:32]
        return Shipped(load, file.name, digest, _connected(address).put(data))

    def __call__(self, worker: int) -> Any:
        """What was loaded from this node's copy."""
        folder = Path(tempfile.gettempdir()) / f"smoothcert-{os.getuid()}-{self.digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise WorkerError(f"{folder} belongs to somebody else. Remove it, and start again.")
        file = folder / self.name
        if not file.exists():
            write_whole(file, _import_ray().get(self.content))
        return self.load(file)(worker)


def _open(load: Load, request: RunRequest) -> Exception | None:
    """In the cluster: open a run, and return what went wrong."""
    try:
        request.open(*load(0))
    except Exception as error:  # noqa: BLE001 - raised where the cluster is led
        return portable(error)
    return None


class _Worker:
    """In the cluster: computes blocks."""

    def __init__(self, load: Load, number: int, order: TaskSpec) -> None:
        self._told, self._lock, self._doer, self._error = 0, threading.Lock(), None, None
        try:
            self._doer = order.start(*load(number), self._tell)
        except Exception as error:  # noqa: BLE001 - returned by `do`
            self._error = portable(error)

    def do(self, block: int) -> Done | Exception:
        """Compute a block, and return what its doer did, or what went wrong."""
        if self._doer is None:
            assert self._error is not None
            return self._error
        try:
            return Done(self._doer.do(block))
        except Exception as error:  # noqa: BLE001 - raised where the cluster is led
            return portable(error)

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

    def __init__(self, ray: ModuleType, actor: Any, progress: Progress) -> None:
        self._ray, self._actor, self._progress = ray, actor, progress

    def is_ready(self, left: Callable[[], bool]) -> bool:
        """Wait until it has started; not longer than there is something left for it.

        Raises:
            Lost: it died before it could be given a block.
        """
        ready = self._actor.told.remote()
        while not self._is_done(ready):
            if not left():
                self.close()
                return False
        self._get(ready)
        return True

    def do(self, block: int, wanted: Callable[[], bool]) -> Any:
        return follow(partial(self._hear, self._actor.do.remote(block)), self._progress, wanted)

    def _hear(self, done: Any) -> int | Done:
        """See `follow`."""
        finished = self._is_done(done)
        told = self._get(self._actor.told.remote())
        if told or not finished:
            return told
        found = self._get(done)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        self._ray.kill(self._actor)

    def _is_done(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=_LOOK)[0])

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference, timeout=HEARTBEAT_TIMEOUT)
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
