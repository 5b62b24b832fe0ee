"""Batches that do not fit into memory: halved while the size is not fixed, else explained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from smoothcert.classifiers.blame import message_of, root_of
from smoothcert.classifiers.out_of_memory import ran_out
from smoothcert.errors import OutOfMemory

_Found = TypeVar("_Found")


def fitting(
    attempt: Callable[[int], _Found], size: int, free: bool
) -> tuple[_Found, int, tuple[int, ...]]:
    """Attempt a batch of `size` rows and, if the size is not fixed, halve it until one fits.

    Returns:
        The attempt's result, the size that fitted, and those that did not.

    Raises:
        OutOfMemory: no size fits, or the only one allowed does not.
    """
    too_large: list[int] = []
    while True:
        try:
            return attempt(size), size, tuple(too_large)
        except Exception as error:
            if not ran_out(error):
                raise
            if size == 1 or not free:
                raise _explained(error, size) from error
        too_large.append(size)  # outside the handler, which keeps the batch's memory
        size //= 2


@contextmanager
def explaining(size: int) -> Iterator[None]:
    """Turn an error about memory into an OutOfMemory that says what to do at this batch size."""
    try:
        yield
    except Exception as error:
        if ran_out(error):
            raise _explained(error, size) from error
        raise


def _explained(error: Exception, size: int) -> OutOfMemory:
    root = root_of(error)
    first = (message_of(root).strip() or type(root).__name__).splitlines()[0].rstrip(".")
    advice = (
        f"Pass --batch-size {size // 2} or less, with a new --out (in Python batch_size), since "
        "the batch size is part of a run's identity."
        if size > 1
        else "One row is too much: use a smaller model or a device with more memory."
    )
    return OutOfMemory(f"A batch of {size} ran out of memory ({first}). {advice}")
