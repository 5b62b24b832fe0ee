"""The only loop that runs a classifier under noise: draws of many inputs in, labels out.

Draws are packed into batches of one fixed shape, whichever inputs they belong to, so that
a thousand inputs with ten draws each cost what one input with ten thousand does.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import ModelError
from smoothcert.sampling.inputs import Item
from smoothcert.sampling.noise import RoundedGaussian, Stream

NO_CLASS = -1
"""The label of a draw whose logits have a NaN or a tie at the top: it votes for nothing."""

LABEL = np.dtype(np.int32)
"""What is kept of a draw: the top class."""

CONTEST = np.dtype([("label", np.int32), ("second", np.int32), ("gap", np.float32)])
"""Or the top class, the second one, and the difference of their logits (0 in a tie)."""

Progress = Callable[[int], None]
"""Called with the number of evaluations just finished."""


@dataclass(frozen=True)
class Request:
    """The labels wanted of one input: which stream, and which draws of it, in which order."""

    item: Item
    stream: Stream
    draws: range | NDArray[np.int64]


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
) -> Iterator[NDArray]:
    """Label every requested draw.

    Args:
        classifier: what to run; it sees float32 batches of shape (batch_size, *shape).
        requests: consumed as the batches need them, so memory does not grow with their number.
        noise: the law; its grid is the inputs' grid.
        seed: the run's noise seed.
        batch_size: rows in every batch; the last is filled up with repeats, whose labels
            are dropped.
        progress: told the number of draws labelled after every batch.
        answer: `LABEL`, or `CONTEST` for the runner-up too.

    Yields:
        For each request, in order, an array of that dtype over its draws; a label is
        `NO_CLASS` where there is none.
    """
    label = _labeller(classifier, noise, seed, answer)
    open_: deque[_Open] = deque()
    for batch in _batches(requests, batch_size, open_, answer):
        labels = label(*_arrays(batch, batch_size))
        done = 0
        for request, start, stop in batch:
            request.labels[start:stop] = labels[done : done + stop - start]
            request.missing -= stop - start
            done += stop - start
        if progress is not None:
            progress(done)
        while open_ and open_[0].missing == 0:
            yield open_.popleft().labels
    while open_:  # requests for no draws at all, after the last batch
        yield open_.popleft().labels


@dataclass(eq=False)
class _Open:
    """A request whose labels are still coming in."""

    request: Request
    answer: np.dtype
    labels: NDArray = field(init=False)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.missing = len(self.request.draws)
        self.labels = np.empty(self.missing, dtype=self.answer)


_Segment = tuple[_Open, int, int]


def _batches(
    requests: Iterable[Request], batch_size: int, open_: deque[_Open], answer: np.dtype
) -> Iterator[list[_Segment]]:
    """Cut the requests, end to end, into runs of `batch_size` draws."""
    batch: list[_Segment] = []
    room = batch_size
    for request in requests:
        current = _Open(request, answer)
        open_.append(current)
        start = 0
        while start < len(request.draws):
            stop = min(start + room, len(request.draws))
            batch.append((current, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield batch
                batch, room = [], batch_size
    if batch:
        yield batch


def _arrays(batch: list[_Segment], batch_size: int) -> tuple[NDArray, ...]:
    """A batch's pixels and addresses, padded to its fixed size by repeating the last row."""
    counts = [stop - start for _, start, stop in batch]
    counts[-1] += batch_size - sum(counts)
    requests = [open_.request for open_, _, _ in batch]
    pixels = np.repeat(np.stack([r.item.pixels for r in requests]), counts, axis=0)
    inputs = np.repeat(np.array([r.item.index for r in requests], dtype=np.int64), counts)
    streams = np.repeat(np.array([r.stream for r in requests], dtype=np.int64), counts)
    draws = np.concatenate([np.asarray(o.request.draws[a:b], dtype=np.int64) for o, a, b in batch])
    draws = np.pad(draws, (0, batch_size - len(draws)), mode="edge")
    return pixels, inputs, streams, draws


class Labeller(Protocol):
    """Answers of one batch, from its pixels (B, *shape) in grid steps and its addresses (B,)."""

    def __call__(
        self, pixels: NDArray, inputs: NDArray, streams: NDArray, draws: NDArray, /
    ) -> NDArray:
        """Return the answers, shape (B,)."""
        ...


def _labeller(
    classifier: Classifier, noise: RoundedGaussian, seed: int, answer: np.dtype
) -> Labeller:
    if classifier.device == "cpu":
        return NumpyLabels(classifier, noise, seed, answer)
    from smoothcert.classifiers.pytorch import TorchClassifier
    from smoothcert.sampling.torch_noise import DeviceLabels

    if not isinstance(classifier, TorchClassifier):
        raise ModelError(
            f"Only torch classifiers run on device {classifier.device!r}; "
            f"got {classifier.name}. Load it with device='cpu'."
        )
    return DeviceLabels(classifier, noise, seed, answer)


@dataclass(frozen=True)
class NumpyLabels:
    """Labels under noise made in host memory by NumPy."""

    classifier: Classifier
    noise: RoundedGaussian
    seed: int
    answer: np.dtype = LABEL

    def __call__(
        self, pixels: NDArray, inputs: NDArray, streams: NDArray, draws: NDArray
    ) -> NDArray:
        """Add noise in integers, convert to float32 once, classify."""
        steps = self.noise.rows(self.seed, inputs, streams, draws, prod(pixels.shape[1:]))
        steps += pixels.reshape(steps.shape)
        images = to_float(steps, self.noise.levels).reshape(pixels.shape)
        logits = self.classifier.logits(images)
        return labels_of(logits) if self.answer == LABEL else contests_of(logits)


def to_float(steps: NDArray[np.integer], levels: int) -> NDArray[np.float32]:
    """Grid steps to the classifier's float32: one float per integer, on every device."""
    return steps.astype(np.float32) * np.float32(1 / levels)


def labels_of(logits: NDArray[np.floating]) -> NDArray[np.int32]:
    """The top class of each row of (B, K) logits; `NO_CLASS` where there is a tie or a NaN."""
    top = logits.argmax(axis=1)
    best = np.take_along_axis(logits, top[:, None], axis=1)
    decided = (logits == best).sum(axis=1) == 1  # a NaN is the argmax and equals nothing
    return np.where(decided, top, NO_CLASS).astype(np.int32)


def contests_of(logits: NDArray[np.floating]) -> NDArray:
    """Top class, runner-up and the gap between them, of each row of (B, K) logits: `CONTEST`."""
    rows = np.arange(len(logits))
    top = logits.argmax(axis=1)
    others = logits.copy()
    others[rows, top] = -np.inf
    found = np.empty(len(logits), dtype=CONTEST)
    found["label"] = labels_of(logits)
    found["second"] = others.argmax(axis=1)
    found["gap"] = np.nan_to_num(logits[rows, top] - others[rows, found["second"]], nan=0.0)
    return found
