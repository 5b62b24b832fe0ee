"""The scheduler: a worker pool, whose workers take numbered blocks from one queue.

The block of a lost worker is retried by another, and so is one that takes much longer than the
rest. What a block is, a part of a run or a candidate to screen, makes no difference here.
"""

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Protocol

from smoothcert.errors import WorkerError
from smoothcert.sampling.engine import Progress

_LOG = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT = 900.0
"""Seconds without a heartbeat after which a worker counts as hanging. It may just be compiling."""

STRAGGLER_FACTOR, STRAGGLER_GRACE = 3.0, 10.0
"""A block is a straggler, and an idle worker computes it too, once it has taken this many times the
median and this many seconds more (a first block includes the worker's start)."""

MAX_ATTEMPTS = 3
"""Workers lost at one block before it is no longer retried: then it must be the block's fault."""

RESTART_BACKOFF = (1.0, 5.0, 20.0)
"""Seconds before a worker that was lost while it started is replaced, by failures in a row. A
cluster may take that long to notice that a node is gone, and until then starts workers on it."""

_INITIAL_ESTIMATE = 120.0  # seconds that stand for the median while no block is finished
_POLL_INTERVAL = 0.2  # seconds


def best_block_seconds(
    work: float, overhead: float, failures_per_hour: float, workers: int = 1
) -> float:
    """The block length that wastes least time, by a formula.

    With blocks of `B` seconds, a run of `W` seconds of work on `w` workers loses a share `o / B` to
    the overhead `o` of a block, `r B / 2` to failures at the rate `r`, and half a block at the end:
    `W/w (o/B + r B/2) + B/2` seconds, least at `B = sqrt(2 o / (r + w/W))`.

    Args:
        work: seconds of it, for one worker.
        overhead: seconds beside a block's evaluations.
        failures_per_hour: of one worker.
        workers: how many.
    """
    return math.sqrt(2 * overhead / (failures_per_hour / 3600 + workers / work))


class BlockTask(Protocol):
    """Computes blocks in a worker's process."""

    def compute(self, block: int, /) -> Any:
        """Compute a block, and return its result for the scheduler."""
        ...


class TaskSpec(Protocol):
    """What is sent to other processes; picklable."""

    def start(self, models: Any, inputs: Any, progress: Progress, /) -> BlockTask:
        """The task, with the worker's own models and data."""
        ...


@dataclass(frozen=True, eq=False)
class Work:
    """Blocks to be computed by an executor.

    Attributes:
        spec: the task, as other processes are sent it.
        blocks: their numbers.
        progress: called with evaluations as they finish; thread-safe.
        local: the task in this process, if it has model and data.
        on_finished: called with each finished block, by any thread.
        then: what else to compute after a finished block, by its result; by one thread at a time.
    """

    spec: TaskSpec
    blocks: tuple[int, ...]
    progress: Progress
    local: BlockTask | None
    on_finished: Callable[[int], None] = lambda block: None
    then: Callable[[int, Any], Iterable[int]] = lambda block, result: ()


class Executor(Protocol):
    """Computes blocks: here, in processes or on a cluster. It changes no byte of the result."""

    def __call__(self, work: Work, stop: Callable[[], int], /) -> dict[int, Any]:
        """Compute blocks until none is left, or `stop` returns something.

        Args:
            work: the blocks.
            stop: returns something once no more blocks are to be started.

        Returns:
            What the tasks returned, by block.
        """
        ...


def run_serially(work: Work, stop: Callable[[], int], /) -> dict[int, Any]:
    """Compute blocks in this process, one after the other: the default executor."""
    assert work.local is not None
    waiting, results = deque(work.blocks), {}
    while waiting and not stop():
        block = waiting.popleft()
        results[block] = work.local.compute(block)
        waiting.extend(work.then(block, results[block]))
        work.on_finished(block)
    return results


def thread_safe(progress: Progress | None) -> Progress:
    """The same callback, which several threads may call."""
    lock = threading.Lock()

    def report(evaluations: int) -> None:
        if progress is not None:
            with lock:
                progress(evaluations)

    return report


class WorkerLost(Exception):
    """A worker died, hangs or was given up, and its block must be retried."""


class Worker(Protocol):
    """A worker of the pool: this process, another one, or an actor of a cluster."""

    def compute(self, block: int, wanted: Callable[[], bool]) -> Any:
        """Compute a block.

        Args:
            block: its number.
            wanted: false once another worker has finished it, so that it may be cancelled.

        Returns:
            What the task returned.

        Raises:
            WorkerLost: the worker died, or was given up.
        """
        ...

    def close(self) -> None:
        """Stop the worker, even in the middle of a block; safe to repeat."""
        ...


@dataclass(frozen=True)
class BlockResult:
    """What a remote worker sends when a block is finished: what its task returned."""

    value: Any


def wait_for_block(
    poll: Callable[[], int | BlockResult],
    progress: Progress,
    wanted: Callable[[], bool],
    heartbeat_timeout: float = HEARTBEAT_TIMEOUT,
) -> Any:
    """Wait until a remote worker has finished its block, and return what the task returned.

    Args:
        poll: waits a moment, and returns the evaluations since the last call (the heartbeat), or
            the result of the block. Raises WorkerLost, or what the worker raised.
        progress: called with evaluations.
        wanted: as of `Worker.compute`.
        heartbeat_timeout: seconds that the worker may be silent.

    Raises:
        WorkerLost: the worker died, hangs, or its block is no longer wanted.
    """
    heartbeat = time.monotonic()
    while True:
        message = poll()
        if isinstance(message, BlockResult):
            return message.value
        if message:
            progress(message)
            heartbeat = time.monotonic()
        if not wanted():
            raise WorkerLost("another worker finished its block")
        if time.monotonic() - heartbeat > heartbeat_timeout:
            raise WorkerLost(f"it sent no heartbeat for {heartbeat_timeout:g} s")


class BlockQueue:
    """Which block a worker computes next; shared by the threads of the pool."""

    def __init__(
        self,
        missing: Iterable[int],
        stop: Callable[[], int],
        on_finished: Callable[[int], None] = lambda block: None,
        then: Callable[[int, Any], Iterable[int]] = lambda block, result: (),
    ) -> None:
        """Queue the missing blocks; once `stop` returns something, no more is started."""
        self._waiting = deque(missing)
        self._started: dict[int, float] = {}
        self._running: Counter[int] = Counter()
        self._durations: list[float] = []
        self._failures: Counter[int] = Counter()
        self._changed = threading.Condition()
        self._results: dict[int, Any] = {}
        self._stop, self._on_finished, self._then = stop, on_finished, then
        self._error: BaseException | None = None

    def take(self) -> int | None:
        """The next block, or None when there is nothing left to start.

        Waits while all that is left is being computed: a worker may be lost, or a straggler be
        computed a second time.
        """
        with self._changed:
            while not self._error and not self._stop():
                block = self._waiting.popleft() if self._waiting else self._straggler()
                if block is not None:
                    self._started[block] = time.monotonic()
                    self._running[block] += 1
                    return block
                if not self._started:
                    return None
                self._changed.wait(_POLL_INTERVAL)
            return None

    def _straggler(self) -> int | None:
        """The block that was started first, if it takes much longer than others did."""
        if not self._started:
            return None
        block = min(self._started, key=self._started.__getitem__)
        usual = median(self._durations) if self._durations else _INITIAL_ESTIMATE
        late = time.monotonic() - self._started[block] > STRAGGLER_FACTOR * usual + STRAGGLER_GRACE
        return block if late else None

    def has_work(self) -> bool:
        """Whether a worker may still be given a block."""
        with self._changed:
            return not self._error and not self._stop() and bool(self._waiting or self._started)

    def wanted(self, block: int) -> bool:
        """Whether a started block is still to be finished."""
        return block in self._started and not self._error

    def finish(self, block: int, value: Any) -> None:
        """Store the result of a block, unless another worker was first."""
        with self._changed:
            first = block in self._started
            if first:
                self._results[block] = value
                self._durations.append(time.monotonic() - self._started.pop(block))
                del self._running[block]
                self._waiting.extend(self._then(block, value))
            self._changed.notify_all()
        if first:
            self._on_finished(block)

    def requeue(self, block: int, why: WorkerLost) -> None:
        """Retry the block of a lost worker, unless another one has finished it.

        Raises:
            WorkerError: after `MAX_ATTEMPTS`.
        """
        with self._changed:
            if block in self._started:
                self._failures[block] += 1
                if self._failures[block] >= MAX_ATTEMPTS:
                    raise _too_many(self._failures[block], f"at block {block}", why)
                self._running[block] -= 1
                if not self._running[block]:
                    del self._started[block]
                    self._waiting.appendleft(block)
            self._changed.notify_all()

    def back_off(self, failures: int, why: WorkerLost) -> None:
        """Wait before a worker that was lost while it started is replaced, while there is work.

        Raises:
            WorkerError: more often than `RESTART_BACKOFF` has pauses.
        """
        if failures > len(RESTART_BACKOFF):
            raise _too_many(failures, "as they started", why)
        end = time.monotonic() + RESTART_BACKOFF[failures - 1]
        while time.monotonic() < end and self.has_work():
            time.sleep(_POLL_INTERVAL)

    def fail(self, error: BaseException) -> None:
        """Start no more blocks, and cancel what is being computed."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def results(self) -> dict[int, Any]:
        """What tasks returned, by block; raises the first error of any worker."""
        if self._error:
            raise self._error
        return self._results


def _too_many(failures: int, where: str, why: WorkerLost) -> WorkerError:
    return WorkerError(
        f"{failures} workers were lost {where}, the last because {why}. "
        "Finished blocks are kept. If memory ran out, use fewer workers or a "
        "smaller batch; then repeat the command with --resume."
    )


def run_workers(
    factories: Sequence[Callable[[], Worker | None]], blocks: BlockQueue
) -> dict[int, Any]:
    """Run the pool, with a thread for each worker, until no block is left to start.

    Args:
        factories: each starts a worker, or returns None when there is nothing left for it; called
            again after each that is lost.
        blocks: the queue.

    Returns:
        What the tasks returned, by block.

    Raises:
        WorkerError: workers were lost again and again at one block.
        SmoothcertError: what a worker raised; the others are stopped, their stored blocks kept.
    """
    workers: dict[int, Worker] = {}
    threads = [
        threading.Thread(target=_run_worker, args=(number, start, workers, blocks), daemon=True)
        for number, start in enumerate(factories)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_POLL_INTERVAL)  # in short pieces, so that signals are handled
    except BaseException as error:
        blocks.fail(error)
        raise
    finally:
        for number in range(len(factories)):
            _close(workers, number)
    return blocks.results()


def _run_worker(
    number: int, start: Callable[[], Worker | None], workers: dict[int, Worker], blocks: BlockQueue
) -> None:
    """The thread of a worker: start it, give it blocks, and replace it if it is lost."""
    failures = 0
    try:
        while blocks.has_work():
            block = None
            try:
                if number not in workers:
                    if (worker := start()) is None:
                        return
                    workers[number], failures = worker, 0
                if (block := blocks.take()) is not None:
                    wanted = partial(blocks.wanted, block)
                    blocks.finish(block, workers[number].compute(block, wanted))
            except WorkerLost as why:
                _LOG.info("Worker %d was lost: %s", number, why)
                _close(workers, number)
                if block is not None:
                    blocks.requeue(block, why)
                else:
                    failures += 1
                    blocks.back_off(failures, why)
        _close(workers, number)  # here, so that workers stop in parallel
    except BaseException as error:  # noqa: BLE001 - raised again by `results`
        blocks.fail(error)


def _close(workers: dict[int, Worker], number: int) -> None:
    """Close a worker once, whichever thread comes first."""
    if worker := workers.pop(number, None):
        worker.close()
