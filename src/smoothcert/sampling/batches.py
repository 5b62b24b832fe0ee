"""Draws of many inputs, end to end, cut into batches of one fixed size."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.inputs import Item
from smoothcert.noise.law import Addresses, Stream


@dataclass(frozen=True)
class Request:
    """The labels requested for one input: the stream, its draws and their order."""

    item: Item
    stream: Stream
    draws: range | NDArray[np.int64]


_Asked = TypeVar("_Asked", bound=Request)


@dataclass(frozen=True)
class Batch:
    """One forward pass: the inputs and the noise of its rows.

    Attributes:
        pixels: inputs in grid steps, int32 of shape (inputs, *shape).
        item: which of them each row shows, shape (B,).
        addresses: of the noise of the B rows.
    """

    pixels: NDArray[np.int32]
    item: NDArray[np.int64]
    addresses: Addresses


@dataclass(eq=False)
class Open(Generic[_Asked]):
    """A request with answers still to come."""

    request: _Asked
    answer: np.dtype
    answers: NDArray[Any] = field(init=False)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        """Make room for the answers."""
        self.missing = len(self.request.draws)
        self.answers = np.empty(self.missing, dtype=self.answer)


@dataclass(frozen=True)
class Segment:
    """A run of draws of one request that share a batch."""

    open: Open[Any]
    start: int
    stop: int

    def __len__(self) -> int:
        """Rows of the batch."""
        return self.stop - self.start

    def settle(self, answers: NDArray[Any]) -> None:
        """Write the answers of its rows."""
        self.open.answers[self.start : self.stop] = answers
        self.open.missing -= len(self)


def cut(opened: Iterable[Open[Any]], batch_size: int) -> Iterator[list[Segment]]:
    """Segments of consecutive requests, `batch_size` draws at a time; the last may have fewer."""
    batch: list[Segment] = []
    room = batch_size
    for current in opened:
        start, draws = 0, current.missing
        while start < draws:
            segment = Segment(current, start, min(start + room, draws))
            batch.append(segment)
            room -= len(segment)
            start = segment.stop
            if room == 0:
                yield batch
                batch, room = [], batch_size
    if batch:
        yield batch


def packed(segments: list[Segment], batch_size: int) -> Batch:
    """The batch of some segments, filled up to its fixed size by repeating the last row."""
    requests = [segment.open.request for segment in segments]
    draws = [np.asarray(s.open.request.draws[s.start : s.stop], dtype=np.int64) for s in segments]
    counts = [len(some) for some in draws]
    padding = batch_size - sum(counts)
    counts[-1] += padding
    item = np.repeat(np.arange(len(segments)), counts)
    addresses = Addresses(
        np.array([r.item.index for r in requests], dtype=np.int64)[item],
        np.array([r.stream for r in requests], dtype=np.int64)[item],
        np.pad(np.concatenate(draws), (0, padding), mode="edge"),
    )
    return Batch(np.stack([r.item.pixels for r in requests]), item, addresses)
