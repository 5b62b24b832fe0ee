"""What shape a model expects its inputs to have, and how to give it that shape."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smoothcert.classifiers.reference import ModelReference


def adapting(reference: str, options: str) -> str:
    """The command that writes a model's file with these options of `adapt` in front."""
    file = ModelReference.parse(reference).path or Path("model.onnx")
    out = file.with_name(f"{file.stem}-adapted{file.suffix}")
    words = [shlex.quote(reference), options, "--out", shlex.quote(str(out))]
    return f"`smoothcert adapt {' '.join(word for word in words if word)}`"


def fitting(expected: Sequence[Any], shape: tuple[int, ...], reference: str = "") -> str:
    """Advice on how to get inputs of the expected shape, as far as the two shapes show it.

    Args:
        expected: the batch sizes that the model states; anything but a positive number means any.
        shape: shape of the batch that it got.
        reference: of a model that `adapt` can put operations in front of; empty for others.
    """
    if len(expected) == 2 and len(shape) == 4:
        flatten = _adapted(reference, "--layout flat") or _FLATTEN
        return f"It takes vectors: {flatten}, or give data of that shape. "
    if len(expected) != 4 or len(shape) != 4:
        return ""
    _, channels, height, width = (n if isinstance(n, int) and n > 0 else 0 for n in expected)
    last, channels_last = "", width in (1, 3) and channels not in (0, 1, 3)
    if channels_last:
        last = f"It takes channels last: {_adapted(reference, '--layout nhwc') or _TRANSPOSE}. "
        channels, height, width = width, channels, height
    found = []
    if channels not in (0, shape[1]) and (channels, shape[1]) not in ((1, 3), (3, 1)):
        return last
    if channels not in (0, shape[1]):
        found.append(f"made grey (1) or colour (3) by --channels {channels}")
    differs = bool(height and width) and shape[2:] != (height, width)
    if differs and height == width:
        found.append(f"resized and cropped to that size by --size {height}")
    elif differs:
        last += f"Give images of {width} by {height} pixels, as an .npz. "
    if found:
        last += f"Images are {' and '.join(found)}. "
    if differs and reference:
        options = f"{'--layout nhwc ' if channels_last else ''}--resize {height}x{width}"
        last += f"Or resize them inside the model: {_adapted(reference, options)}. "
    return last


_IN_FRONT = "give MODEL+preprocess.json, a file that holds"
_FLATTEN = f'put a Flatten in front of its input: {_IN_FRONT} {{"layout": "flat"}}'
_TRANSPOSE = f'put a Transpose in front of its input: {_IN_FRONT} {{"layout": "nhwc"}}'


def _adapted(reference: str, options: str) -> str:
    if not reference:
        return ""
    return (
        f"{adapting(reference, options)} puts it in front (add --mean and --std if it was trained "
        "on normalized images)"
    )
