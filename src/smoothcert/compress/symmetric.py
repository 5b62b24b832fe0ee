"""Symmetric quantization of weights, one scale per output channel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = {f"int{bits}": bits for bits in (8, 7, 6, 5, 4, 3)}
"""Names of the integer precisions: from 255 levels (-127..127) to 7 (-3..3)."""


def levels(precision: str) -> int:
    """The largest integer of a symmetric precision: 127 for `int8`, 7 for `int4`."""
    return 2 ** (BITS[precision] - 1) - 1


def scales(weights: NDArray[Any], axis: int, precision: str) -> NDArray[np.float32]:
    """The step of each output channel, shape (channels,): its largest magnitude is on the grid.

    A channel of zeros gets the step 1, which keeps it zero.
    """
    others = tuple(a for a in range(weights.ndim) if a != axis % weights.ndim)
    largest = np.abs(weights).max(axis=others)
    return np.where(largest > 0, largest / levels(precision), 1).astype(np.float32)


def integers(weights: NDArray[Any], axis: int, precision: str) -> NDArray[np.int8]:
    """The weights in steps of their channel's scale, rounded to nearest, same shape."""
    top = levels(precision)
    steps = weights / along(scales(weights, axis, precision), axis, weights.ndim)
    return np.rint(steps).clip(-top, top).astype(np.int8)


def along(values: NDArray[Any], axis: int, dimensions: int) -> NDArray[Any]:
    """Values per channel (channels,) in the shape that broadcasts along `axis`."""
    shape = [1] * dimensions
    shape[axis] = -1
    return values.reshape(shape)


def on_grid(weights: NDArray[Any], axis: int, precision: str) -> NDArray[np.float32]:
    """The weights rounded to the grid, as float32."""
    steps = integers(weights, axis, precision).astype(np.float32)
    return steps * along(scales(weights, axis, precision), axis, weights.ndim)
