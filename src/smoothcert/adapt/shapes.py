"""The shape of the images that an adapted model takes."""

from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.errors import ModelError

Dims = list[int | str]
"""Sizes; an unknown one is a word or empty text."""


def images_shape(dims: Dims, wanted: Preprocessing) -> Dims:
    """The shape of images (B, C, H, W) for a network with an input of these sizes."""
    if wanted.ranges:
        _require(len(dims) in (0, 2), dims, "a columns file", "two axes, the batch and the columns")
        count = len(wanted.ranges.low)
        if len(dims) == 2 and isinstance(dims[1], int) and dims[1] != count:
            raise ModelError(
                f"It takes rows of {dims[1]} values, but the columns file has {count} features. "
                "Give those that the model takes, in its order."
            )
        return [_batch(dims), count]
    if wanted.layout == "flat":
        _require(len(dims) in (0, 2), dims, "--layout flat", "two axes")
        return [_batch(dims), "channels", "height", "width"]
    four = wanted.layout == "nhwc" or wanted.resize or wanted.channels == "bgr"
    per_channel_given = max(len(wanted.mean), len(wanted.std)) > 1
    if dims:
        _require(len(dims) == 4 or not four, dims, "this preprocessing", "four axes")
        needed = not per_channel_given or len(dims) > 1
        _require(needed, dims, "a number per channel", "an axis of channels")
    if not dims:
        dims = ["batch", "", "", ""]
    if wanted.layout == "nhwc":
        dims = [dims[0], dims[3], *dims[1:3]]
    constants = max(len(wanted.mean), len(wanted.std), 3 if wanted.channels == "bgr" else 1)
    if constants > 1 and isinstance(dims[1], int) and dims[1] != constants:
        raise ModelError(
            f"It takes {dims[1]} channels, but the preprocessing is for {constants}: its input is "
            f"{shown(dims)} with channels first. Give as many numbers as it has channels, and "
            "--layout nhwc if its channels are last."
        )
    if wanted.resize:
        for side, asked in zip(dims[2:], wanted.resize, strict=True):
            if isinstance(side, int) and side != asked:
                raise ModelError(
                    f"It takes images of {dims[2]}x{dims[3]} (height x width), not "
                    f"{wanted.resize[0]}x{wanted.resize[1]}. Give --resize {dims[2]}x{dims[3]}."
                )
        dims = [*dims[:2], "height", "width"]
    words = ["batch", "channels", "height", "width", *[f"axis{n}" for n in range(4, len(dims))]]
    return [_batch(dims), *[size or word for size, word in zip(dims[1:], words[1:], strict=False)]]


def _batch(dims: Dims) -> int | str:
    return dims[0] if dims and isinstance(dims[0], int) else "batch"


def _require(holds: bool, dims: Dims, what: str, axes: str) -> None:
    if not holds:
        raise ModelError(f"Its input is {shown(dims)}, and {what} needs {axes}.")


def shown(dims: Dims) -> str:
    """Sizes in round brackets, ? for an unknown one."""
    return f"({', '.join(str(size or '?') for size in dims)})"
