"""What the engine asks of a classifier, and what one may offer beyond that."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Classifier(Protocol):
    """A function from float32 batches in [0, 1] (plus noise) to logits, evaluated row by row.

    Normalization happens inside. A row's logits must not depend on the other rows.
    """

    @property
    def name(self) -> str:
        """How to refer to it in messages and tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides its output: structure, weights, arithmetic."""
        ...

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda`, `cuda:1`, ..."""
        ...

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size it accepts, or None."""
        ...

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating]:
        """Logits (B, K) of float32 images (B, *shape)."""
        ...


@runtime_checkable
class Named(Protocol):
    """A classifier that knows what its classes are called."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class, or empty."""
        ...


@runtime_checkable
class HasMemoryLayouts(Protocol):
    """A classifier that can keep its tensors in more than one order in memory."""

    @property
    def layout(self) -> str:
        """The order it uses; empty for the one that its model came with."""
        ...

    def layouts(self) -> Sequence[Classifier]:
        """Itself, and equal classifiers (up to the last bits of logits) in other orders."""
        ...


@runtime_checkable
class ThreadReplicable(Protocol):
    """A classifier on the CPU that can work on several batches at once.

    One core for each batch is faster than all cores for one batch, since cores never wait for
    each other, and makes logits independent of the number of cores.
    """

    def workers(self) -> AbstractContextManager[Sequence[Classifier]]:
        """Equal classifiers; each computes on one core, for one thread at a time."""
        ...


@runtime_checkable
class Exported(Protocol):
    """A classifier read from a graph, whose mode was fixed when it was exported."""

    @property
    def in_training(self) -> str:
        """The operators in it that are in training mode, for messages; empty if none is."""
        ...


@runtime_checkable
class Advised(Protocol):
    """A classifier that can say why its rows are not computed one by one, and always alike."""

    @property
    def advice(self) -> str:
        """What to do about it; empty where that is unknown."""
        ...
