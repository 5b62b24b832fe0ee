"""A worker pool of processes on this machine: one for each GPU, or a few on the CPU."""

import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, MissingExtra, SmoothcertError, WorkerCrash, WorkerError
from smoothcert.execution.scheduler import (
    HEARTBEAT_TIMEOUT,
    BlockQueue,
    BlockResult,
    BlockTask,
    TaskSpec,
    Work,
    WorkerLost,
    run_workers,
    wait_for_block,
)
from smoothcert.sampling.engine import Progress

_POLL_INTERVAL = 0.2  # seconds between two checks that a block is still wanted
_REPORT_INTERVAL = 0.2  # seconds between two reports of progress
_SHUTDOWN_TIMEOUT = 2.0  # seconds that a worker gets to stop by itself


class Load(Protocol):
    """Loads model and data in another process, so it must be picklable."""

    def __call__(self, worker: int, /) -> tuple[Any, Inputs]:
        """What `TaskSpec.start` takes: of a run its classifier on this device, and its inputs."""
        ...


@dataclass(frozen=True)
class Processes:
    """An executor: this process, with its own classifier, and others beside it.

    A worker that dies is restarted; one that is silent for too long is killed first. What becomes
    of its block is up to the `scheduler`.

    Attributes:
        load: loads model and data in the workers 1, 2, ...; this process is worker 0.
        count: processes in all.
        heartbeat_timeout: seconds without a heartbeat after which a worker is killed.
    """

    load: Load
    count: int
    heartbeat_timeout: float = HEARTBEAT_TIMEOUT

    def __post_init__(self) -> None:
        """Refuse less than one."""
        if self.count < 1:
            raise InvalidInput(f"--workers must be at least 1; got {self.count}")
        try:
            ForkingPickler.dumps(self.load)
        except Exception as error:
            raise InvalidInput(
                f"The loader of model and data cannot be sent to other processes: {error}. "
                "Give a function of a module, or functools.partial of one."
            ) from error

    def __call__(self, work: Work, stop: Callable[[], int], /) -> dict[int, Any]:
        """See `Executor`."""
        local = work.local
        assert local is not None

        def remote(number: int) -> Callable[[], _RemoteProcess]:
            timeout = self.heartbeat_timeout
            return lambda: _RemoteProcess(self.load, number, work.spec, work.progress, timeout)

        others = range(1, min(self.count, len(work.blocks)))
        return run_workers(
            [lambda: _ThisProcess(local), *map(remote, others)],
            BlockQueue(work.blocks, stop, work.on_finished, work.then),
        )


class _ThisProcess:
    """This process as a worker."""

    def __init__(self, task: BlockTask) -> None:
        self.task = task

    def compute(self, block: int, wanted: Callable[[], bool]) -> Any:
        return self.task.compute(block)

    def close(self) -> None:
        """Nothing to stop."""


class _RemoteProcess:
    """A process that was started as a worker, and the pipe to it."""

    def __init__(
        self, load: Load, number: int, spec: TaskSpec, progress: Progress, heartbeat_timeout: float
    ) -> None:
        # A forked process could not use CUDA, nor the threads of its parent.
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._progress, self._heartbeat_timeout = progress, heartbeat_timeout
        self._process = context.Process(
            target=_serve, args=(theirs, load, number, spec), daemon=True
        )
        self._process.start()
        theirs.close()

    def compute(self, block: int, wanted: Callable[[], bool]) -> Any:
        with suppress(OSError):  # why it is gone may still be in the pipe
            self._pipe.send(block)
        return wait_for_block(self._poll, self._progress, wanted, self._heartbeat_timeout)

    def _poll(self) -> int | BlockResult:
        """See `wait_for_block`."""
        try:
            if not self._pipe.poll(_POLL_INTERVAL):
                return 0
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_SHUTDOWN_TIMEOUT)
            code = self._process.exitcode
            raise WorkerLost(f"its process ended with exit code {code}") from None
        if kind == "failed":
            raise value
        return value if kind == "progress" else BlockResult(value)

    def close(self) -> None:
        self._pipe.close()  # on which a worker that waits for a block stops
        self._process.join(_SHUTDOWN_TIMEOUT)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, load: Load, number: int, spec: TaskSpec) -> None:
    """A worker process: compute the blocks that come through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process handles it
    progress = ProgressBuffer(lambda evaluations: pipe.send(("progress", evaluations)))
    try:
        try:
            task = spec.start(*load(number), progress)
            while True:
                value = task.compute(pipe.recv())
                progress.flush()
                pipe.send(("done", value))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the pool is closed, or its first process gone
        except Exception as error:  # noqa: BLE001 - the first process raises it
            pipe.send(("failed", picklable_error(error)))
    except OSError:
        return


class ProgressBuffer:
    """Adds up progress, and reports it a few times a second."""

    def __init__(self, report: Callable[[int], Any]) -> None:
        """Call `report` with sums."""
        self.report: Callable[[int], Any] = report
        self.count: int = 0
        self.reported_at: float = 0.0

    def __call__(self, evaluations: int) -> None:
        """Count evaluations."""
        self.count += evaluations
        if time.monotonic() - self.reported_at > _REPORT_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Report what has not been."""
        if self.count:
            self.report(self.count)
        self.count, self.reported_at = 0, time.monotonic()


def picklable_error(error: Exception) -> Exception:
    """An error that pickle can send: one of the package, or a `WorkerError` that says the same."""
    if isinstance(error, MissingExtra):  # made of other arguments than its message
        return WorkerError(f"A worker failed: {error}")
    if isinstance(error, SmoothcertError):
        return error
    crash = WorkerCrash(f"A worker failed: {type(error).__name__}: {error}")
    crash.add_note("".join(traceback.format_exception(error)))
    return crash
