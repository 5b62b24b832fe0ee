"""What the engine requires of a classifier, and what it may offer in addition."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class Classifier(Protocol):
    """A function from float32 batches in [0, 1] (plus noise) to logits, evaluated row by row.

    Normalization happens inside. A row's logits must not depend on the other rows.
    """

    @property
    def name(self) -> str:
        """Its name in messages and tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of everything that determines its output: structure, weights, arithmetic."""
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
    """A classifier that knows the names of its classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names in class order, or empty."""
        ...


@runtime_checkable
class Fronted(Protocol):
    """A classifier whose weights may have come without what stood before them."""

    @property
    def front(self) -> str:
        """A sentence on what was put there, and how that is known; empty if nothing had to be."""
        ...


@runtime_checkable
class Denoises(Protocol):
    """A classifier that may have a denoiser in front."""

    @property
    def denoises(self) -> float | None:
        """The sigma for which the denoiser was set; None if there is none, or it is not known."""
        ...


@runtime_checkable
class HasMemoryLayouts(Protocol):
    """A classifier that can keep its tensors in more than one memory order."""

    @property
    def layout(self) -> str:
        """The order it uses; empty for its model's original order."""
        ...

    def layouts(self) -> Sequence[Classifier]:
        """Itself, and classifiers in other orders, equal up to the last bits of logits."""
        ...


@runtime_checkable
class TakesTensors(Protocol):
    """A classifier that computes on torch tensors where they are, so that nothing is copied.

    What runs on a GPU must be one.
    """

    @property
    def channels_last(self) -> bool:
        """Whether images should have their channels next to each other in memory."""
        ...

    def tensor_logits(self, batch: "torch.Tensor") -> "torch.Tensor":
        """Logits (B, K) of float32 images (B, *shape) on its device, of the type of `logits`.

        They are in the order of torch's current stream; nothing waits for them.
        """
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
    """A classifier read from a graph, whose mode was fixed at export."""

    @property
    def in_training(self) -> str:
        """Its operators that are in training mode, for messages; empty if there are none."""
        ...


@runtime_checkable
class AddsIntegers(Protocol):
    """A classifier that may multiply 8-bit integers, whose sums some processors clip."""

    @property
    def can_saturate(self) -> bool:
        """Whether sums can be so large that they do."""
        ...


@runtime_checkable
class Advised(Protocol):
    """A classifier that can say why its rows depend on each other or vary between calls."""

    @property
    def advice(self) -> str:
        """What to do about it; empty if unknown."""
        ...
