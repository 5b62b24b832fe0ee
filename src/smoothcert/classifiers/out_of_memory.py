"""Whether a framework ran out of memory, and the error that says what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

from smoothcert.classifiers.blame import message_of
from smoothcert.errors import OutOfMemory

_WORDS = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "bad allocation"),
    *("failed to allocate memory", "status_alloc_failed"),  # ONNX Runtime's, cuBLAS's and cuDNN's
)


def ran_out(error: BaseException | None) -> bool:
    """Whether an error, or its cause, is about memory.

    Frameworks have their own types for it (torch.OutOfMemoryError), or only a text.
    """
    seen: list[BaseException] = []  # an error's own text may raise it again, as its own context
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        theirs = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
        if theirs and any(word in message_of(error).lower() for word in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def enough_memory(name: str, device: str, rows: int) -> Iterator[None]:
    """Replace a framework's error about memory by one that says what to do.

    Raises:
        OutOfMemory: a batch of so many rows is too much for the device.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except Exception as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(
            f"{device} has too little memory for {name} on batches of {rows} rows. Pass a smaller "
            f"--batch-size (batch_size=), such as {max(1, rows // 2)}."
        ) from error
