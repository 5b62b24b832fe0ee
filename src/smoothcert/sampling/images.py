"""Image files as arrays, and the one resizing there is."""

import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.regular import require_regular

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""By content, whatever the name: others (EPS) have Pillow start programs."""

_EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}
"""Pillow's modes of 8-bit values; it would cut 16-bit ones off at 255 rather than scale them."""

MOST_PIXELS = 2**26
"""Of an image, as it is or resized: eight times the largest ones of ImageNet."""

MOST_FILE_BYTES = 2**28
"""Of an image file: as much as so many pixels take without compression, about."""

_ZOOM = 256 / 224  # shorter side over crop, as Cohen et al. (2019) and most of ImageNet's models


def decode(source: Any, channels: int | None = None, size: int | None = None) -> NDArray[np.uint8]:
    """An image as 8-bit values.

    Args:
        source: a path, a stream or a PIL image.
        channels: 1 or 3, or None for what the image has; grey stays one channel.
        size: None for the image as it is. Otherwise its shorter side is resized to 256/224 of
            `size` (bilinear, antialiased, by Pillow) and the central square of `size` x `size` is
            kept: for 224, shorter side 256, as in torchvision's Resize and CenterCrop.

    Returns:
        uint8 of shape (channels, height, width).

    Raises:
        InvalidInput: not an image.
        MissingExtra: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("pillow", "data") from error
    try:
        if isinstance(source, str | Path):
            require_regular(Path(source), MOST_FILE_BYTES, InvalidInput)
        theirs = isinstance(source, Image.Image)
        opened = nullcontext(source) if theirs else Image.open(source, formats=_FORMATS)
        with opened as image:
            _check(image)
            grey = image.mode in ("L", "1") if channels is None else channels == 1
            image = image.convert("L" if grey else "RGB")
        array = np.asarray(image if size is None else _cropped(image, size))
    except InvalidInput:
        raise
    except (*_UNREADABLE, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        shown = source if isinstance(source, str | Path) else "The image"
        raise InvalidInput(f"{shown} cannot be read as an image: {error}") from error
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))


_UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError, AttributeError),
    *(ArithmeticError, EOFError, MemoryError, RuntimeError, struct.error),
)
"""What Pillow's readers raise for a file that is not what it says."""


def _check(image: Any) -> None:
    if image.mode not in _EIGHT_BIT:
        raise ValueError(f"it has values of more than 8 bits (Pillow's mode {image.mode})")
    _check_size(*image.size)


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} are more pixels than {MOST_PIXELS}")


def _cropped(image: Any, size: int) -> Any:
    from PIL.Image import Resampling

    shorter = round(_ZOOM * size)
    width, height = (int(shorter * side / min(image.size)) for side in image.size)
    _check_size(width, height)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))
