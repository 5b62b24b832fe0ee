"""Numbered blocks of work for several workers: each takes the next one, and what a lost worker had
is redone. What a block is, a part of a run or a candidate to screen, is no matter here."""

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from smoothcert.errors import WorkerError
from smoothcert.sampling.engine import Progress

_LOG = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT = 900.0
"""Seconds without a sign of life after which a worker counts as hanging: it may be compiling."""

SLOW, START = 3.0, 10.0
"""A block that takes so many times the usual, and so many seconds longer (a first block includes
the worker's start), is done by an idle worker too."""

MAX_ATTEMPTS = 3  # of workers at one block, before it must be the block's fault
_PAUSES = (1.0, 5.0, 20.0)
"""Seconds before a worker that was lost as it started is replaced, and again: a cluster may take as
long to see that a node is gone, and start workers on it until then."""
_FIRST = 120.0  # seconds that stand for the usual time while none is known
_TICK = 0.2  # seconds between two looks at what has changed


def best_block_seconds(
    work: float, overhead: float, failures_per_hour: float, workers: int = 1
) -> float:
    """The length of a block that wastes least, on paper.

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
    """Computes blocks, in whatever process it is."""

    def do(self, block: int, /) -> Any:
        """Compute a block, and return what is to be known of it where the workers are led."""
        ...


class TaskSpec(Protocol):
    """What is sent to other processes; picklable."""

    def start(self, models: Any, inputs: Any, progress: Progress, /) -> BlockTask:
        """What computes the blocks with that process's models and data."""
        ...


def _nobody(block: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, eq=False)
class Work:
    """Blocks to be computed, by whomever.

    Attributes:
        order: for other processes.
        blocks: their numbers.
        progress: called with evaluations as they finish; safe from several threads.
        here: computes blocks in this process, if it can.
        finished: called with each block that is done, by whichever thread led to it.
    """

    order: TaskSpec
    blocks: tuple[int, ...]
    progress: Progress
    here: BlockTask | None
    finished: Callable[[int], None] = _nobody


class Executor(Protocol):
    """Who computes blocks. It changes no byte of the result."""

    def __call__(self, work: Work, stop: Callable[[], int], /) -> dict[int, Any]:
        """Compute blocks until none is left, or `stop` returns something.

        Args:
            work: what is to be done.
            stop: whether no more blocks are to be begun.

        Returns:
            What the doers returned, by block.
        """
        ...


def alone(work: Work, stop: Callable[[], int], /) -> dict[int, Any]:
    """This process, one block after the other: the default executor."""
    assert work.here is not None
    done = {}
    for block in work.blocks:
        if stop():
            break
        done[block] = work.here.do(block)
        work.finished(block)
    return done


def one_at_a_time(progress: Progress | None) -> Progress:
    """The same callback for several threads."""
    lock = threading.Lock()

    def tell(evaluations: int) -> None:
        if progress is not None:
            with lock:
                progress(evaluations)

    return tell


class Lost(Exception):
    """A worker is gone, and with it the block that it was computing."""


class Worker(Protocol):
    """A worker, wherever it is."""

    def do(self, block: int, wanted: Callable[[], bool]) -> Any:
        """Compute a block.

        Args:
            block: its number.
            wanted: whether it still is: another hand may finish it first.

        Returns:
            What the doer returned.

        Raises:
            Lost: the worker died, or was given up.
        """
        ...

    def close(self) -> None:
        """End the worker, also in the middle of a block; safe to repeat."""
        ...


@dataclass(frozen=True)
class Done:
    """What a worker elsewhere says last of a block, with what its doer returned."""

    value: Any


def follow(
    hear: Callable[[], int | Done],
    progress: Progress,
    wanted: Callable[[], bool],
    patience: float = HEARTBEAT_TIMEOUT,
) -> Any:
    """Listen to a worker elsewhere until it has done its block.

    Args:
        hear: waits a moment; evaluations that were made since the last call, or that the block
            is done. Raises Lost, or what the worker raised.
        progress: called with evaluations.
        wanted: as of `Worker.do`.
        patience: seconds that the worker may be silent.

    Returns:
        What the doer returned.

    Raises:
        Lost: the worker died, hangs, or is not wanted any more.
    """
    heard = time.monotonic()
    while True:
        said = hear()
        if isinstance(said, Done):
            return said.value
        if said:
            progress(said)
            heard = time.monotonic()
        if not wanted():
            raise Lost("another worker finished its block")
        if time.monotonic() - heard > patience:
            raise Lost(f"it gave no sign of life for {patience:g} s")


class BlockQueue:
    """Which block a worker does next; shared by the threads that lead the workers."""

    def __init__(
        self,
        missing: Iterable[int],
        stop: Callable[[], int],
        finished: Callable[[int], None] = _nobody,
    ) -> None:
        """Begin with the missing blocks; once `stop` returns something, no more is begun."""
        self._waiting = deque(missing)
        self._started: dict[int, float] = {}
        self._doers: Counter[int] = Counter()
        self._took: list[float] = []
        self._losses: Counter[int] = Counter()
        self._change = threading.Condition()
        self._done: dict[int, Any] = {}
        self._stop, self._finished = stop, finished
        self._error: BaseException | None = None

    def take(self) -> int | None:
        """The next block, or None when there is nothing left to begin.

        Waits while all that is left is under way: a worker may be lost, or be so slow that doing
        its block a second time is faster.
        """
        with self._change:
            while not self._error and not self._stop():
                block = self._waiting.popleft() if self._waiting else self._straggler()
                if block is not None:
                    self._started[block] = time.monotonic()
                    self._doers[block] += 1
                    return block
                if not self._started:
                    return None
                self._change.wait(_TICK)
            return None

    def _straggler(self) -> int | None:
        """The block that was begun first, if it takes much longer than others did."""
        if not self._started:
            return None
        block = min(self._started, key=self._started.__getitem__)
        usual = median(self._took) if self._took else _FIRST
        late = time.monotonic() - self._started[block] > SLOW * usual + START
        return block if late else None

    def left(self) -> bool:
        """Whether a worker may still get something to do."""
        with self._change:
            return not self._error and not self._stop() and bool(self._waiting or self._started)

    def wanted(self, block: int) -> bool:
        """Whether a block under way is still to be finished."""
        return block in self._started and not self._error

    def finish(self, block: int, value: Any) -> None:
        """Note that a block is done, and what its doer returned."""
        with self._change:
            first = block in self._started
            if first:
                self._done[block] = value
                self._took.append(time.monotonic() - self._started.pop(block))
                del self._doers[block]
            self._change.notify_all()
        if first:
            self._finished(block)

    def requeue(self, block: int, why: Lost) -> None:
        """Let others do the block of a lost worker, unless one has finished it already.

        Args:
            block: its number.
            why: for the message.

        Raises:
            WorkerError: too many workers were lost at this block.
        """
        with self._change:
            if block in self._started:
                self._losses[block] += 1
                if self._losses[block] >= MAX_ATTEMPTS:
                    raise _too_many(self._losses[block], f"at block {block}", why)
                self._doers[block] -= 1
                if not self._doers[block]:
                    del self._started[block]
                    self._waiting.appendleft(block)
            self._change.notify_all()

    def pause(self, losses: int, why: Lost) -> None:
        """Wait before a worker that was lost as it started is replaced, while anything is left.

        Args:
            losses: how often that has happened, one after the other.
            why: for the message.

        Raises:
            WorkerError: too often.
        """
        if losses > len(_PAUSES):
            raise _too_many(losses, "as they started", why)
        end = time.monotonic() + _PAUSES[losses - 1]
        while time.monotonic() < end and self.left():
            time.sleep(_TICK)

    def fail(self, error: BaseException) -> None:
        """Let no worker begin another block."""
        with self._change:
            self._error = self._error or error
            self._change.notify_all()

    def done(self) -> dict[int, Any]:
        """What was returned, by block; raises the first error of any worker."""
        if self._error:
            raise self._error
        return self._done


def _too_many(losses: int, where: str, why: Lost) -> WorkerError:
    return WorkerError(
        f"{losses} workers were lost {where}, the last because {why}. "
        "Finished blocks are kept. If memory ran out, use fewer workers or a "
        "smaller batch; then repeat the command with --resume."
    )


def drive(makers: Sequence[Callable[[], Worker | None]], blocks: BlockQueue) -> dict[int, Any]:
    """Lead workers, a thread for each, until no block is left to begin.

    Args:
        makers: make a worker, or None when there is nothing left for it; once more after each
            that is lost.
        blocks: what there is to do.

    Returns:
        What the doers returned, by block.

    Raises:
        WorkerError: workers were lost again and again at one block.
        SmoothcertError: what a worker raised; the others are ended, their stored blocks kept.
    """
    hands: dict[int, Worker] = {}

    def lead(number: int) -> None:
        losses = 0
        try:
            while blocks.left():
                block = None
                try:
                    if number not in hands:
                        if (made := makers[number]()) is None:
                            return
                        hands[number], losses = made, 0
                    if (block := blocks.take()) is not None:
                        value = hands[number].do(block, lambda block=block: blocks.wanted(block))
                        blocks.finish(block, value)
                except Lost as why:
                    _LOG.info("Worker %d was lost: %s", number, why)
                    _close(hands, number)
                    if block is not None:
                        blocks.requeue(block, why)
                    else:
                        losses += 1
                        blocks.pause(losses, why)
            _close(hands, number)  # here, so that workers end side by side
        except BaseException as error:  # noqa: BLE001 - raised again by whoever leads
            blocks.fail(error)

    threads = [
        threading.Thread(target=lead, args=(number,), daemon=True) for number in range(len(makers))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_TICK)  # in short pieces, so that signals are handled
    except BaseException as error:
        blocks.fail(error)
        raise
    finally:
        for number in range(len(makers)):
            _close(hands, number)
    return blocks.done()


def _close(hands: dict[int, Worker], number: int) -> None:
    """Close one that is still there: whoever takes it out does."""
    if hand := hands.pop(number, None):
        hand.close()
