"""What shape a model expects its inputs to have, and how to give it that shape."""

from collections.abc import Sequence
from typing import Any


def fitting(expected: Sequence[Any], shape: tuple[int, ...]) -> str:
    """Advice on how to get inputs of the expected shape, as far as the two shapes show it.

    Args:
        expected: the batch sizes that the model states; anything but a positive number means any.
        shape: shape of the batch that it got.
    """
    if len(expected) == 2 and len(shape) == 4:
        return "It takes vectors: put a Flatten in front of its input, or give data of that shape. "
    if len(expected) != 4 or len(shape) != 4:
        return ""
    _, channels, height, width = (n if isinstance(n, int) and n > 0 else 0 for n in expected)
    last = ""
    if width in (1, 3) and channels not in (0, 1, 3):
        last = (
            "It takes channels last: put a Transpose in front of its input in the graph, or "
            "transpose inside package.module:factory. "
        )
        channels, height, width = width, channels, height
    found = []
    if channels not in (0, shape[1]) and (channels, shape[1]) not in ((1, 3), (3, 1)):
        return last
    if channels not in (0, shape[1]):
        found.append(f"made grey (1) or colour (3) by --channels {channels}")
    if height and height == width and shape[2:] != (height, width):
        found.append(f"resized and cropped to that size by --size {height}")
    elif height and width and shape[2:] != (height, width):
        last += f"Give images of {width} by {height} pixels, as an .npz. "
    return f"{last}Images are {' and '.join(found)}. " if found else last
