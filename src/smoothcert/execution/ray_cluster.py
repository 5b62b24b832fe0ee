"""A worker pool on a Ray cluster: an actor for each GPU or share of cores, wherever there is room.

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
from smoothcert.execution.processes import Load, picklable_error
from smoothcert.execution.scheduler import (
    HEARTBEAT_TIMEOUT,
    BlockQueue,
    BlockResult,
    TaskSpec,
    Work,
    WorkerLost,
    run_workers,
    wait_for_block,
)
from smoothcert.execution.start import RunRequest
from smoothcert.files import write_whole
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress

_POLL_INTERVAL = 0.2  # seconds between two polls of an actor
_SCALE_INTERVAL = 2.0  # seconds between two checks of whether the cluster has grown
_MAX_ACTORS = 64  # in a cluster that grows; it may also double


@dataclass(frozen=True)
class Cluster:
    """An executor: actors of a Ray cluster.

    An actor that dies, alone or with its node, is restarted where there is room; what becomes of
    its block is up to the `scheduler`. When nodes join, actors start on them.

    Attributes:
        load: loads model and data in an actor.
        address: `auto` for the cluster of this machine, `HOST:PORT` or `ray://HOST:PORT` of
            another; empty to start one here.
        workers: actors to request from the start, which may make the cluster grow; by default as
            many as it has room for at any time.
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
        self._max_actors(ray)  # raises if there is room for none
        remote = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=3)(_open)
        try:
            failed = ray.get(
                remote.remote(self.load, replace(request, options=request.options.picklable))
            )
        except ray.exceptions.RayError as error:
            raise WorkerError(f"The run could not be opened in the cluster: {error}") from error
        if failed is not None:
            raise failed
        return Run.open(request.storage)

    def __call__(self, work: Work, stop: Callable[[], int], /) -> dict[int, Any]:
        """See `Executor`; nothing is computed here."""
        ray = _connected(self.address)
        actor_class = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_concurrency=2
        )(_Worker)
        blocks = BlockQueue(work.blocks, stop, work.on_finished, work.then)

        def start(number: int) -> _Actor | None:
            while self.workers is None and number >= self._capacity(ray):
                if not blocks.has_work():
                    return None
                time.sleep(_SCALE_INTERVAL)
            actor = _Actor(ray, actor_class.remote(self.load, number, work.spec), work.progress)
            return actor if actor.is_ready(blocks.has_work) else None

        count = min(self._max_actors(ray), len(work.blocks))
        return run_workers([partial(start, number) for number in range(count)], blocks)

    def _max_actors(self, ray: ModuleType) -> int:
        """How many actors there may be at most."""
        if self.workers is not None:
            return self.workers
        capacity = self._capacity(ray)
        if capacity < 1:
            total = ray.cluster_resources()
            raise InvalidInput(
                f"The cluster has {total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs, "
                f"and a worker needs {self.cpus:g} and {self.gpus:g}. Add nodes, or pass --workers "
                "to wait for them."
            )
        return max(_MAX_ACTORS, 2 * capacity)

    def _capacity(self, ray: ModuleType) -> int:
        """How many actors the cluster has room for now."""
        total = ray.cluster_resources()
        limits = [total.get("CPU", 0) // self.cpus] if self.cpus else []
        limits += [total.get("GPU", 0) // self.gpus] if self.gpus else []
        return int(min(limits, default=1))


@dataclass(frozen=True)
class BroadcastFile:
    """Loads something from a file that is sent to the cluster once; each node keeps one copy.

    Attributes:
        load: from the path of a copy to what a worker calls with its number.
        name: name of the file.
        digest: of its content.
        content: Ray's reference to its bytes.
    """

    load: Callable[[Path], Callable[[int], Any]]
    name: str
    digest: str
    content: Any

    @staticmethod
    def of(
        load: Callable[[Path], Callable[[int], Any]], file: Path, address: str
    ) -> "BroadcastFile":
        """Put a file into the cluster."""
        data = file.read_bytes()
        digest = sha256(data).hexdigest()[:32]
        return BroadcastFile(load, file.name, digest, _connected(address).put(data))

    def __call__(self, worker: int) -> Any:
        """What was loaded from this node's copy."""
        folder = Path(tempfile.gettempdir()) / f"smoothcert-{os.getuid()}-{self.digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise WorkerError(f"{folder} belongs to another user. Remove it, and start again.")
        file = folder / self.name
        if not file.exists():
            write_whole(file, _import_ray().get(self.content))
        return self.load(file)(worker)


def _open(load: Load, request: RunRequest) -> Exception | None:
    """In the cluster: open a run, and return what went wrong."""
    try:
        request.open(*load(0))
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        return picklable_error(error)
    return None


class _Worker:
    """In the cluster: a worker, as a Ray actor."""

    def __init__(self, load: Load, number: int, spec: TaskSpec) -> None:
        self._evaluations, self._lock, self._task, self._error = 0, threading.Lock(), None, None
        try:
            self._task = spec.start(*load(number), self._add)
        except Exception as error:  # noqa: BLE001 - returned by `compute`
            self._error = picklable_error(error)

    def compute(self, block: int) -> BlockResult | Exception:
        """Compute a block, and return its result, or what went wrong."""
        if self._task is None:
            assert self._error is not None
            return self._error
        try:
            return BlockResult(self._task.compute(block))
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            return picklable_error(error)

    def heartbeat(self) -> int:
        """Evaluations since the last call; answered while a block is being computed."""
        with self._lock:
            evaluations, self._evaluations = self._evaluations, 0
        return evaluations

    def _add(self, evaluations: int) -> None:
        with self._lock:
            self._evaluations += evaluations


class _Actor:
    """In this process: the handle of an actor; see `Worker`."""

    def __init__(self, ray: ModuleType, actor: Any, progress: Progress) -> None:
        self._ray, self._actor, self._progress = ray, actor, progress

    def is_ready(self, left: Callable[[], bool]) -> bool:
        """Wait until it has started, while there is work.

        Raises:
            WorkerLost: it died before it could be given a block.
        """
        ready = self._actor.heartbeat.remote()
        while not self._is_done(ready):
            if not left():
                self.close()
                return False
        self._get(ready)
        return True

    def compute(self, block: int, wanted: Callable[[], bool]) -> Any:
        return wait_for_block(
            partial(self._poll, self._actor.compute.remote(block)), self._progress, wanted
        )

    def _poll(self, block: Any) -> int | BlockResult:
        """See `wait_for_block`."""
        finished = self._is_done(block)
        evaluations = self._get(self._actor.heartbeat.remote())
        if evaluations or not finished:
            return evaluations
        result = self._get(block)
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        self._ray.kill(self._actor)

    def _is_done(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=_POLL_INTERVAL)[0])

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference, timeout=HEARTBEAT_TIMEOUT)
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(str(error).strip().partition("\n")[0]) from None


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
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage report is sent
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtra("ray", "cluster") from error
    return ray
