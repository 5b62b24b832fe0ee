"""Image files as arrays, and the one resizing there is."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput, MissingExtra

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
        image = source if isinstance(source, Image.Image) else Image.open(source)
        grey = image.mode in ("L", "1") if channels is None else channels == 1
        image = image.convert("L" if grey else "RGB")
        array = np.asarray(image if size is None else _cropped(image, size))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        shown = source if isinstance(source, str | Path) else "The image"
        raise InvalidInput(f"{shown} cannot be read as an image: {error}") from error
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))


def _cropped(image: Any, size: int) -> Any:
    from PIL.Image import Resampling

    shorter = round(_ZOOM * size)
    width, height = (int(shorter * side / min(image.size)) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))
