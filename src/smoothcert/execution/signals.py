"""Ctrl-C and SIGTERM while a run is computed: finish the block, then stop."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_MESSAGE = (
    b"\nStopping after the current block; a second signal stops at once. "
    b"Finished blocks are kept.\n"
)


@contextmanager
def deferred_signals() -> Iterator[Callable[[], int]]:
    """Record the first signal instead of stopping; a second one stops at once.

    Only the main thread gets signals; in any other, nothing changes.

    Yields:
        A function that returns the signal's number, or 0 while there was none.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def record(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()
        os.write(2, _MESSAGE)  # print could be what the signal interrupted

    # Not a signal that is ignored, as under nohup, or whose handler Python has not set.
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {n: handler for n, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, record)
        yield lambda: received[0] if received else 0
    finally:
        restore()


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, with its number, as Ctrl-C does without one."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
