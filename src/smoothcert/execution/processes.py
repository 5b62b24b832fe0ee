"""Several processes of this machine on one work: one for each GPU, or a few on the CPU."""

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
    BlockTask,
    Done,
    Lost,
    TaskSpec,
    Work,
    drive,
    follow,
)
from smoothcert.sampling.engine import Progress

_POLL = 0.2  # seconds between two looks at whether a block is still wanted
_TELL = 0.2  # seconds between two reports of progress
_GOODBYE = 2.0  # seconds that an idle worker gets to end by itself


class Load(Protocol):
    """Loads model and data in another process, so it must be picklable."""

    def __call__(self, worker: int, /) -> tuple[Any, Inputs]:
        """What `TaskSpec.start` takes: of a run its classifier on this device, and its inputs."""
        ...


@dataclass(frozen=True)
class Processes:
    """An executor: this process, with its own classifier, and others beside it.

    A worker that dies is replaced and its block done again; one that is silent for too long is
    ended first.

    Attributes:
        load: loads model and data in the workers 1, 2, ...; this process is worker 0.
        count: processes in all.
        patience: seconds without a sign of life after which a worker counts as hanging.
    """

    load: Load
    count: int
    patience: float = HEARTBEAT_TIMEOUT

    def __post_init__(self) -> None:
        """Refuse less than one."""
        if self.count < 1:
            raise InvalidInput(f"--workers must be at least 1; got {self.count}")
        try:
            ForkingPickler.dumps(self.load)
        except Exception as error:
            raise InvalidInput(
                f"What loads model and data in other processes cannot be sent to them: {error}. "
                "Give a function of a module, or functools.partial of one."
            ) from error

    def __call__(self, work: Work, stop: Callable[[], int], /) -> dict[int, Any]:
        """See `Executor`."""
        here = work.here
        assert here is not None

        def other(number: int) -> Callable[[], _Process]:
            return lambda: _Process(self.load, number, work.order, work.progress, self.patience)

        others = range(1, min(self.count, len(work.blocks)))
        return drive(
            [lambda: _Here(here), *map(other, others)], BlockQueue(work.blocks, stop, work.finished)
        )


class _Here:
    """This process as a worker."""

    def __init__(self, doer: BlockTask) -> None:
        self.doer = doer

    def do(self, block: int, wanted: Callable[[], bool]) -> Any:
        return self.doer.do(block)

    def close(self) -> None:
        """Nothing to end."""


class _Process:
    """A process that was started for the work, and the pipe to it."""

    def __init__(
        self, load: Load, number: int, order: TaskSpec, progress: Progress, patience: float
    ) -> None:
        # A forked process could not use CUDA, nor the threads of its parent.
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._progress, self._patience = progress, patience
        facts = (theirs, load, number, order)
        self._process = context.Process(target=_serve, args=facts, daemon=True)
        self._process.start()
        theirs.close()

    def do(self, block: int, wanted: Callable[[], bool]) -> Any:
        with suppress(OSError):  # why it is gone may still be in the pipe
            self._pipe.send(block)
        return follow(self._hear, self._progress, wanted, self._patience)

    def _hear(self) -> int | Done:
        """See `follow`."""
        try:
            if not self._pipe.poll(_POLL):
                return 0
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_GOODBYE)
            code = self._process.exitcode
            raise Lost(f"its process ended with exit code {code}") from None
        if kind == "failed":
            raise value
        return value if kind == "progress" else Done(value)

    def close(self) -> None:
        self._pipe.close()  # which is how one that waits for a block is told
        self._process.join(_GOODBYE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, load: Load, number: int, order: TaskSpec) -> None:
    """A worker process: do the blocks that come through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    told = ProgressBuffer(lambda evaluations: pipe.send(("progress", evaluations)))
    try:
        try:
            doer = order.start(*load(number), told)
            while True:
                value = doer.do(pipe.recv())
                told.rest()
                pipe.send(("done", value))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the work is over, or its first process gone
        except Exception as error:  # noqa: BLE001 - the first process raises it
            pipe.send(("failed", portable(error)))
    except OSError:
        return


class ProgressBuffer:
    """Adds up progress, and passes it on a few times a second."""

    def __init__(self, tell: Callable[[int], Any]) -> None:
        """Pass sums on to `tell`."""
        self.tell: Callable[[int], Any] = tell
        self.count: int = 0
        self.told: float = 0.0

    def __call__(self, evaluations: int) -> None:
        """Count evaluations."""
        self.count += evaluations
        if time.monotonic() - self.told > _TELL:
            self.rest()

    def rest(self) -> None:
        """Pass on what has not been."""
        if self.count:
            self.tell(self.count)
        self.count, self.told = 0, time.monotonic()


def portable(error: Exception) -> Exception:
    """An error that another process can read: one of the package, or one that says the same."""
    if isinstance(error, MissingExtra):  # made of other arguments than its message
        return WorkerError(f"A worker failed: {error}")
    if isinstance(error, SmoothcertError):
        return error
    crash = WorkerCrash(f"A worker failed: {type(error).__name__}: {error}")
    crash.add_note("".join(traceback.format_exception(error)))
    return crash
