"""Images that a loader found, as inputs that are decoded when they are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.images import decode
from smoothcert.data.inputs import Inputs
from smoothcert.data.source import AS_FIRST
from smoothcert.errors import InvalidInput


@dataclass(frozen=True)
class Pictures:
    """The images that were found, not opened yet.

    Args:
        name: the reference they were loaded from.
        count: how many.
        open: from an index to a path, a stream or a PIL image.
        called: from an index to the image's readable name.
        labels: true classes, or None.
        classes: names of the classes, may be empty.
        notes: other decisions made in reading, one sentence each.
    """

    name: str
    count: int
    open: Callable[[int], Any]
    called: Callable[[int], str]
    labels: Sequence[int] | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def inputs(self, size: int | None, channels: int | None) -> Inputs:
        """Inputs; the first image determines the shape, and all must have it.

        Args:
            size: see `images.decode`.
            channels: 1 or 3 to convert all, None for their own, or `AS_FIRST`.
        """
        if self.count == 0:
            raise InvalidInput(f"The data set {self.name} is empty: nothing to certify.")
        shape = self._decoded(0, channels or None, size).shape
        wanted = shape[0] if channels == AS_FIRST else channels

        def read(index: int) -> NDArray[np.uint8]:
            pixels = self._decoded(index, wanted, size)
            if pixels.shape != shape:
                raise InvalidInput(f"{self._which(index)} {_differs(pixels.shape, shape)}")
            return pixels

        return Inputs(
            self.name,
            shape,
            255,
            tuple(range(self.count)),
            read,
            None if self.labels is None else tuple(self.labels),
            self.classes,
            notes=self.notes,
            called=self.called,
        )

    def _decoded(self, index: int, channels: int | None, size: int | None) -> NDArray[np.uint8]:
        return decode(self.open(index), channels, size, self._which(index))

    def _which(self, index: int) -> str:
        return f"Input {index} of {self.name} ({self.called(index)})"


def _differs(got: tuple[int, ...], first: tuple[int, ...]) -> str:
    if got[0] != first[0]:
        kinds = {1: "grey", 3: "colour"}
        return (
            f"is {kinds[got[0]]} and the first is {kinds[first[0]]}. Convert all of them: "
            "--channels 3 repeats grey, --channels 1 makes colours grey."
        )
    return (
        f"has shape {got}; the others have {first}. All inputs must have one shape: give --size "
        "(224 for most ImageNet models) to resize and crop images to a square."
    )
