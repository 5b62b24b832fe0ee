"""Symmetric quantization of weights: a scale per output channel, or per group of its weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = {f"int{bits}": bits for bits in (8, 7, 6, 5, 4, 3)}
"""Names of the integer precisions: from 255 levels (-127..127) to 7 (-3..3)."""

FP8 = "fp8"
"""The 8-bit floating-point numbers e4m3fn: 4 bits of exponent, 3 of fraction, none infinite."""

GRIDS = (*BITS, FP8)
"""Precisions whose weights are small numbers times a scale."""

_LARGEST_FP8 = 448
_LEAST_EXPONENT = -6
_FRACTION = 3


def levels(precision: str) -> int:
    """The largest number of a precision: 127 for `int8`, 7 for `int4`, 448 for `fp8`."""
    return _LARGEST_FP8 if precision == FP8 else 2 ** (BITS[precision] - 1) - 1


def scales(weights: NDArray[Any], axis: int, precision: str, group: int = 0) -> NDArray[np.float32]:
    """The steps of a tensor: each puts the largest magnitude of its weights on the grid.

    Zeros get the step 1, which keeps them zero.

    Args:
        weights: the tensor.
        axis: that of its output channels.
        precision: one of `GRIDS`.
        group: weights of a channel that share a step, one after the other in the order of the other
            axes; the last group of a channel may be smaller. 0 for all of the channel.

    Returns:
        Shape (channels,), or (channels, groups).
    """
    rows = np.abs(np.moveaxis(weights, axis, 0)).reshape(weights.shape[axis], -1)
    largest = rows.max(axis=1)
    if group:
        largest = np.maximum.reduceat(rows, np.arange(0, rows.shape[1], group), axis=1)
    steps = (largest / levels(precision)).astype(np.float32)
    return np.where(steps > 0, steps, np.float32(1))


def pair_scales(weights: NDArray[Any], axis: int) -> NDArray[np.float32]:
    """The steps of a tensor in `int8` for which two weights of one sign add up to at most 128.

    Their products with bytes then fit into 16 bits (see `classifiers.integer_products`): in these
    steps the two largest of a sign add up to 127, and rounding moves each by at most a half.

    Returns:
        Shape (channels,), at most twice those of `scales`; 1 for a channel of zeros, or of weights
        that a float32 step cannot tell from zero.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    signed = np.stack([rows, -rows]).clip(0)
    signed = np.concatenate([signed, np.zeros_like(signed[..., :1])], axis=-1)  # of one weight
    pairs = np.partition(signed, -2)[..., -2:].sum(axis=-1).max(axis=0)
    steps = (pairs / levels("int8")).astype(np.float32)
    return np.where(steps >= np.finfo(np.float32).tiny, steps, np.float32(1))


def spread(steps: NDArray[Any], shape: Sequence[int], axis: int, group: int = 0) -> NDArray[Any]:
    """The result of `scales` in a shape that broadcasts with the weights, which have this shape."""
    if not group:
        return along(steps, axis, len(shape))
    others = [size for place, size in enumerate(shape) if place != axis % len(shape)]
    wide = np.repeat(steps, group, axis=1)[:, : int(np.prod(others))]
    return np.moveaxis(wide.reshape(len(wide), *others), 0, axis)


def along(values: NDArray[Any], axis: int, dimensions: int) -> NDArray[Any]:
    """Values per channel (channels,) in the shape that broadcasts along `axis`."""
    shape = [1] * dimensions
    shape[axis] = -1
    return values.reshape(shape)


def integers(weights: NDArray[Any], axis: int, precision: str, group: int = 0) -> NDArray[np.int8]:
    """The weights in steps of their scale, rounded to nearest, same shape."""
    top = levels(precision)
    return np.rint(_scaled(weights, axis, precision, group)).clip(-top, top).astype(np.int8)


def eights(
    weights: NDArray[Any], axis: int, precision: str = FP8, group: int = 0
) -> NDArray[np.float32]:
    """The weights in units of their scale, rounded to the nearest e4m3fn (ties to even)."""
    values = _scaled(weights, axis, precision, group).astype(np.float32)
    exponents = np.maximum(np.frexp(values)[1] - 1, _LEAST_EXPONENT)
    unit = np.ldexp(np.float32(1), exponents - _FRACTION)
    return (np.rint(values / unit) * unit).clip(-_LARGEST_FP8, _LARGEST_FP8)


def on_grid(
    weights: NDArray[Any], axis: int, precision: str, group: int = 0
) -> NDArray[np.float32]:
    """The weights rounded to the grid, as float32."""
    rounded = eights if precision == FP8 else integers
    small = rounded(weights, axis, precision, group).astype(np.float32)
    return small * spread(scales(weights, axis, precision, group), weights.shape, axis, group)


def _scaled(weights: NDArray[Any], axis: int, precision: str, group: int) -> NDArray[Any]:
    steps = scales(weights, axis, precision, group)
    return weights / spread(steps, weights.shape, axis, group)
