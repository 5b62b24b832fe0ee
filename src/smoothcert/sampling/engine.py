"""The only loop that runs a classifier under noise: draws of many inputs in, labels out.

Draws are packed into batches of one fixed shape, whichever inputs they belong to, so a thousand
inputs with ten draws each cost as much as one input with ten thousand.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.protocol import Classifier, TakesTensors
from smoothcert.errors import ModelError
from smoothcert.noise.law import RoundedGaussian
from smoothcert.sampling.answers import LABEL
from smoothcert.sampling.batches import Batch, Open, Request, Segment, cut, packed

_Asked = TypeVar("_Asked", bound=Request)

Progress = Callable[[int], None]
"""Called with the number of evaluations just finished."""


def default_batch_size(shape: tuple[int, ...]) -> int:
    """A batch that keeps a CPU's caches warm: 16 rows for ImageNet, 256 for CIFAR."""
    return int(np.clip(2**20 // prod(shape), 16, 256))


def sample(
    classifier: Classifier,
    requests: Iterable[Request],
    noise: RoundedGaussian,
    seed: int,
    batch_size: int,
    progress: Progress | None = None,
    answer: np.dtype = LABEL,
) -> Iterator[NDArray[Any]]:
    """Label every requested draw.

    Args:
        classifier: the classifier; it gets float32 batches of shape (batch_size, *shape).
        requests: consumed as the batches need them, so memory does not grow with their number.
        noise: the law; its grid is the inputs' grid.
        seed: the run's noise seed.
        batch_size: rows in every batch; the last is filled up with repeats, whose labels
            are dropped.
        progress: called with the number of labelled draws after every batch.
        answer: `LABEL`, or `CONTEST` for the runner-up too.

    Yields:
        For each request, in order, an array of that dtype over its draws; a label is
        `NO_CLASS` where there is none.
    """
    facts = (noise, seed, batch_size, progress, answer)
    return (answers for _, answers in answered(classifier, requests, *facts))


def answered(
    classifier: Classifier,
    requests: Iterable[_Asked],
    noise: RoundedGaussian,
    seed: int,
    batch_size: int,
    progress: Progress | None = None,
    answer: np.dtype = LABEL,
) -> Iterator[tuple[_Asked, NDArray[Any]]]:
    """Label every requested draw: as `sample`, with the request before its answers."""
    open_: deque[Open[_Asked]] = deque()
    flying: deque[tuple[list[Segment], Pending]] = deque()

    def opened() -> Iterator[Open[_Asked]]:
        for request in requests:
            open_.append(Open(request, answer))
            yield open_[-1]

    def settled(at_most: int) -> Iterator[tuple[_Asked, NDArray[Any]]]:
        """Wait until at most this many batches are running, and pass on the finished requests."""
        while len(flying) > at_most:
            segments, pending = flying.popleft()
            answers = pending.result()
            done = 0
            for segment in segments:
                segment.settle(answers[done : done + len(segment)])
                done += len(segment)
            if progress is not None:
                progress(done)
            while open_ and open_[0].missing == 0:
                done_with = open_.popleft()
                yield done_with.request, done_with.answers

    with _labels(classifier, noise, seed, answer) as labels:
        for segments in cut(opened(), batch_size):
            flying.append((segments, labels.submit(packed(segments, batch_size))))
            yield from settled(labels.ahead)
        yield from settled(0)
    while open_:  # requests for no draws at all, after the last batch
        done_with = open_.popleft()
        yield done_with.request, done_with.answers


class Pending(Protocol):
    """A running batch."""

    def result(self) -> NDArray[Any]:
        """Wait for its answers, shape (B,)."""
        ...


class Labels(Protocol):
    """What runs batches."""

    @property
    def ahead(self) -> int:
        """How many batches to run at once, so that nothing waits."""
        ...

    def submit(self, batch: Batch, /) -> Pending:
        """Start a batch."""
        ...


def _labels(
    classifier: Classifier, noise: RoundedGaussian, seed: int, answer: np.dtype
) -> AbstractContextManager[Labels]:
    if classifier.device == "cpu":
        from smoothcert.sampling.cpu import on_host

        return on_host(classifier, noise, seed, answer)
    from smoothcert.sampling.gpu import on_device

    if not isinstance(classifier, TakesTensors):
        raise ModelError(
            f"Only torch and ONNX models run on device {classifier.device!r}; "
            f"got {classifier.name}. Load it with device='cpu'."
        )
    return on_device(classifier, noise, seed, answer)
