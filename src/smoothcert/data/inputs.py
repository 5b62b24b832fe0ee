"""Data sets as items on an integer grid, each with a hash of its content."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Context
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.data.source import DataReference
from smoothcert.errors import InvalidInput
from smoothcert.noise.law import grid_levels
from smoothcert.text import many

_OFF_GRID = 1e-3  # of a grid step: float32 pixels of an 8-bit image are off by at most 1e-5
_SHOWN, _SHOWN_CLASSES = 3, 5  # names of inputs, and classes, in a description
_AT_ONCE = 2**22  # values whose distances to the grid are computed together


@dataclass(frozen=True, eq=False)
class Item:
    """One input: its index in the data set and its values in grid steps (int32, 0..levels)."""

    index: int
    pixels: NDArray[np.int32] = field(repr=False)

    @cached_property
    def content(self) -> str:
        """Hash of shape and values (16 hex digits)."""
        header = repr(self.pixels.shape).encode()
        return sha256(header + self.pixels.astype("<i4").tobytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False, repr=False)
class Inputs:
    """Inputs of one shape on one grid, read when asked for.

    Args:
        name: the data's name in messages; the reference it was loaded from.
        shape: shape of one input, (channels, height, width) for images; any other for tensors.
        levels: grid steps in 1; pixel values are whole numbers in 0..levels.
        indices: each input's index in the full data set, which determines its noise; all differ.
        read: from an index to that input's values in grid steps, of the given shape.
        labels: true classes in the order of `indices`, or None. Certification never uses them.
        classes: names of the classes, may be empty.
        off_grid: the largest l2 distance, on the [0, 1] scale, of an input as given from its grid
            point, which `read` returns; it is subtracted from every radius.
        notes: decisions made in reading the data, one sentence each; see `describe`.
        called: from an index to the input's name, such as its file's name.
        unit: what 0 and 1 are in the inputs' own units; empty for images.
        source: where they were loaded from, so that a run can record it; None if in memory.

    Raises:
        InvalidInput: an empty set, a repeated index, or labels that do not match the inputs.
    """

    name: str
    shape: tuple[int, ...]
    levels: int
    indices: tuple[int, ...]
    read: Callable[[int], NDArray[Any]]
    labels: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    off_grid: float = 0.0
    notes: tuple[str, ...] = ()
    called: Callable[[int], str] | None = None
    unit: str = ""
    source: DataReference | None = None

    def __post_init__(self) -> None:
        """Refuse an empty set, a repeated index, and labels that do not match the inputs."""
        if not self.indices:
            raise InvalidInput(f"The data set {self.name} is empty: nothing to certify.")
        if self.labels is not None and len(self.labels) != len(self.indices):
            raise InvalidInput(
                f"{self.name} has {len(self.indices)} inputs and {len(self.labels)} labels. "
                "Give one label per input."
            )
        if len(set(self.indices)) < len(self.indices):
            twice = next(i for i, count in Counter(self.indices).items() if count > 1)
            raise InvalidInput(
                f"{self.name} has the index {twice} twice. An index determines an input's noise, "
                "so both would be tested on the same noise, but bounds need independent inputs. "
                "Select each input once."
            )

    def __len__(self) -> int:
        """Count the inputs."""
        return len(self.indices)

    def __iter__(self) -> Iterator[Item]:
        """Read the inputs in order."""
        return (self.item(position) for position in range(len(self)))

    def item(self, position: int) -> Item:
        """Read the input at a position (not an index) of this selection.

        Raises:
            InvalidInput: its shape differs from the others'.
        """
        index = self.indices[position]
        pixels = np.ascontiguousarray(self.read(index), dtype=np.int32)
        if pixels.shape != self.shape:
            raise InvalidInput(
                f"Input {index} of {self.name} has shape {pixels.shape}; "
                f"the others have {self.shape}. All inputs must have one shape."
            )
        return Item(index, pixels)

    def __repr__(self) -> str:
        """What they are, in a line."""
        return f"Inputs({self._line()})"

    def _line(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{self.name}: {many(len(self), 'input')} of shape {shape}, {self._counted()}"

    def describe(self) -> str:
        """What was read, in a line or two: number of inputs, shape, classes, first names."""
        one = f"{self._line()}."
        first = [self.called(index) for index in self.indices[:_SHOWN]] if self.called else []
        told = [f"First: {', '.join(first)}."] if first else []
        return "\n".join([one, " ".join([*told, *self.notes])]).strip()

    def _counted(self) -> str:
        """The first classes with their numbers, names and numbers of inputs."""
        if self.labels is None:
            return "no labels"
        counts = Counter(self.labels)
        known = sorted({*range(len(self.classes)), *counts})
        names = dict(enumerate(self.classes))
        shown = [f"{k} {names.get(k, '')}".strip() + f": {counts[k]}" for k in known]
        more = ", ..." if len(known) > _SHOWN_CLASSES else ""
        without = len(known) - len(counts)
        missing = f", {without} of them without an input" if without else ""
        return f"{many(len(known), 'class')}{missing} ({', '.join(shown[:_SHOWN_CLASSES])}{more})"

    def select(self, positions: Sequence[int]) -> "Inputs":
        """Keep the inputs at these positions, with their indices and labels."""
        labels = None if self.labels is None else tuple(self.labels[p] for p in positions)
        indices = tuple(self.indices[p] for p in positions)
        return replace(self, indices=indices, labels=labels, source=None)

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """The content hash of every input; reads them all once."""
        return tuple(item.content for item in self)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the grid, the indices and every input's content, not of the labels."""
        return fingerprint_of(self.shape, self.levels, self.indices, self.contents)

    def check_labels(self, num_classes: int) -> None:
        """Raise InvalidInput unless all labels are in 0..num_classes - 1."""
        wrong = [label for label in self.labels or () if not 0 <= label < num_classes]
        if wrong:
            raise InvalidInput(
                f"{self.name} has the label {wrong[0]}, but the classifier has classes "
                f"0..{num_classes - 1}. Check that the data is for this classifier."
            )

    @staticmethod
    def from_arrays(
        images: ArrayLike,
        labels: ArrayLike | None = None,
        grid: float | Fraction = 1 / 255,
        name: str = "array",
    ) -> "Inputs":
        """Inputs from memory.

        Args:
            images: shape (count, *shape): uint8 on the grid 1/255, or floats in [0, 1] that are
                on the grid, or within a thousandth of a step of it (see `off_grid`).
            labels: whole numbers of shape (count,) or (count, 1), one-hot rows, or None.
            grid: the step between neighbouring values.
            name: the data's name in messages.

        Returns:
            Inputs with the indices 0, 1, ...

        Raises:
            InvalidInput: wrong dtype, range, count or shape, NaN, or values off the grid.
        """
        levels = grid_levels(grid)
        images = np.asarray(images)
        if images.ndim < 2:
            raise InvalidInput(
                f"{name} must have shape (count, ...) with at least one axis per input; "
                f"got {images.shape}"
            )
        if len(images) == 0:
            raise InvalidInput(f"The data set {name} is empty: nothing to certify.")
        steps = to_steps(images, levels, name)
        return Inputs(
            name,
            steps.shape[1:],
            levels,
            tuple(range(len(steps))),
            lambda index: steps[index],
            None if labels is None else known_labels(_checked_labels(labels, name), name),
            off_grid=_off_grid(images, steps, levels),
        )


def fingerprint_of(
    shape: tuple[int, ...], levels: int, indices: tuple[int, ...], contents: Sequence[str]
) -> str:
    """`Inputs.fingerprint`, from the content hashes."""
    digest = sha256(repr((shape, levels, indices)).encode())
    digest.update("".join(contents).encode())
    return digest.hexdigest()[:32]


def to_float(steps: NDArray[np.integer], levels: int) -> NDArray[np.float32]:
    """Grid steps to the classifier's float32: one float per integer, on every device."""
    return steps.astype(np.float32) * np.float32(1 / levels)


def to_steps(images: NDArray[Any], levels: int, name: str) -> NDArray[np.int32]:
    """Values as whole grid steps: uint8 values are steps of the grid 1/255, floats are scaled."""
    if images.dtype == np.uint8:
        if levels != 255:
            raise InvalidInput(
                f"{name} holds uint8 values, whose grid is 1/255; got the grid 1/{levels}. "
                "Divide by the largest value and pass floats in [0, 1] for another grid."
            )
        return images.astype(np.int32)
    if not np.issubdtype(images.dtype, np.floating):
        raise InvalidInput(
            f"{name} has dtype {images.dtype}; give uint8 in 0..255 or floats in [0, 1]."
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise InvalidInput(
            f"{name} must have values in [0, 1]; got values from {low:g} to {high:g}. "
            "Scale to [0, 1], and put the normalization inside the classifier."
        )
    scaled = images.astype(np.float64) * levels
    steps = np.rint(scaled)
    off = float(np.abs(scaled - steps).max())
    if off > _OFF_GRID:
        raise InvalidInput(
            f"{name} has values off the grid 1/{levels}, by up to {off:.3g} of a step. "
            "Certify on the data's own grid: name its step, such as grid=1/1023 or --grid 1/1023. "
            f"Or round to this grid first (numpy.rint(x * {levels}) / {levels}), but then the "
            "certificates are about the rounded inputs, not about the original ones."
        )
    return steps.astype(np.int32)


def _off_grid(images: NDArray[Any], steps: NDArray[np.int32], levels: int) -> float:
    """The largest l2 distance of an input from its grid point."""
    if images.dtype == np.uint8:
        return 0.0
    rows = max(1, _AT_ONCE // max(1, prod(images.shape[1:])))
    parts = (slice(start, start + rows) for start in range(0, len(images), rows))
    return rounded_up(max(_farthest(images[part], steps[part], levels) for part in parts))


def rounded_up(distance: float) -> float:
    """A distance in three digits: the same on every machine, whatever the order of sums."""
    return float(Context(3, ROUND_CEILING).create_decimal_from_float(distance))


def _farthest(images: NDArray[Any], steps: NDArray[np.int32], levels: int) -> float:
    """The largest distance of some inputs, never below the exact one."""
    fine = images.astype(np.promote_types(images.dtype, np.float64))
    coarse = images.astype(np.float32).astype(fine.dtype)
    # In two parts, each short enough for its product with levels to be exact.
    off = (coarse * levels - steps) + (fine - coarse) * levels
    largest = float(np.abs(off).max())
    if not largest:
        return 0.0
    squares = np.square(off / largest).reshape(len(off), -1)  # no relevant one underflows
    length = float(np.sqrt(squares.sum(axis=1).max())) * largest / levels
    return length * (1 + (squares.shape[1] + 16) * 2.0**-52)


def known_labels(labels: Sequence[int], name: str) -> tuple[int, ...] | None:
    """Labels, or None if all are -1, which means unknown in many data sets.

    Raises:
        InvalidInput: some are -1, and others not.
    """
    unknown = [position for position, label in enumerate(labels) if label == -1]
    if 0 < len(unknown) < len(labels):
        raise InvalidInput(
            f"{name} has {len(unknown)} labels of -1 (unknown; the first at {unknown[0]}) among "
            f"{len(labels)}. Leave these inputs out, or leave out all labels."
        )
    return None if unknown else tuple(labels)


def require_named(labels: Sequence[int], classes: Sequence[str], name: str) -> None:
    """Raise InvalidInput if some classes have names and others do not."""
    if classes and labels and not 0 <= min(labels) <= max(labels) < len(classes):
        raise InvalidInput(
            f"{name} has labels from {min(labels)} to {max(labels)}, but names of {len(classes)} "
            "classes. Labels must be numbers from 0, one for each name."
        )


def whole_numbers(values: Sequence[Any]) -> list[int] | None:
    """Numbers as integers, if all are whole, including floats that a table made from integers."""
    numbers = (int, float, np.integer, np.floating)
    if any(isinstance(v, bool) or not isinstance(v, numbers) or v % 1 != 0 for v in values):
        return None
    return [int(value) for value in values]


def _checked_labels(labels: ArrayLike, name: str) -> tuple[int, ...]:
    """Labels from an array of shape (count,) or (count, 1), or from one-hot rows."""
    given: NDArray[Any] = np.asarray(labels)
    column = given
    if given.ndim == 2 and given.shape[1] == 1:
        column = given[:, 0]
    elif given.ndim == 2 and np.isin(given, (0, 1)).all() and (given.sum(axis=1) == 1).all():
        column = given.argmax(axis=1)
    found = whole_numbers(column.tolist()) if column.ndim == 1 else None
    if found is None:
        raise InvalidInput(
            f"The labels of {name} must be whole numbers of shape (count,), or one-hot rows; "
            f"got dtype {given.dtype} and shape {given.shape}"
        )
    return tuple(found)
