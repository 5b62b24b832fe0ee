"""Image files as arrays, and the only resizing."""

import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.files import require_regular

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Formats by content, whatever the name: for others (EPS) Pillow starts programs."""

IMAGE_FILES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
"""Suffixes of such files."""


def is_image(name: str) -> bool:
    """Whether a file of such a name is read as an image."""
    return Path(name).suffix.lower() in IMAGE_FILES


OTHER_IMAGES = frozenset(
    (
        *(".heic", ".heif", ".avif", ".jp2", ".jxl", ".tga", ".ico", ".svg", ".eps", ".psd"),
        *(".dds", ".exr", ".hdr", ".pfm", ".dcm", ".nii", ".dng", ".cr2", ".nef", ".arw"),
        *(".npy", ".npz", ".mat"),
    )
)
"""Suffixes of images that are not read; they raise an error and are not skipped."""

CHANNELS = {
    **dict.fromkeys(("1", "L"), 1),
    **dict.fromkeys(("LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"), 3),
}
"""The table in docs/data.md: Pillow's modes that are read, and the channels of each.

Any other mode has values of more than 8 bits, which Pillow would clip at 255 instead of scaling, or
another kind of colours.
"""

MOST_PIXELS = 2**26
"""Pixel limit of an image, as stored or resized: eight times ImageNet's largest."""

MOST_FILE_BYTES = 2**28
"""Byte limit of an image file: about what that many pixels take without compression."""

_ZOOM = 256 / 224  # shorter side over crop, as Cohen et al. (2019) and most of ImageNet's models


def decode(
    source: Any, channels: int | None = None, size: int | None = None, name: str = "The image"
) -> NDArray[np.uint8]:
    """An image as 8-bit values: the first frame, as stored, whatever EXIF says about its rotation.

    Args:
        source: a path, a stream or a PIL image.
        channels: 1 or 3, or None for the image's own, see `CHANNELS`. Colours become grey with
            Pillow's weights (0.299 R + 0.587 G + 0.114 B), grey is repeated.
        size: None for the image's own size. Otherwise its shorter side is resized to 256/224 of
            `size` (bilinear, antialiased, by Pillow) and the central square of `size` x `size` is
            kept: for 224, shorter side 256, as in torchvision's Resize and CenterCrop.
        name: name of a source that is not a path, for messages.

    Returns:
        uint8 of shape (channels, height, width).

    Raises:
        InvalidInput: not an image, or one that needs more than 8 bits or has transparency.
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
            channels = channels or CHANNELS[image.mode]
            image = _opaque(image).convert("L" if channels == 1 else "RGB")
        array = np.asarray(image if size is None else _cropped(image, size))
    except InvalidInput:
        raise
    except (*_UNREADABLE, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        named = isinstance(source, str | Path)
        why = _instead(source) if isinstance(error, Image.UnidentifiedImageError) else ""
        shown = f"{source if named else name} cannot be read as an image: {why or error}"
        raise InvalidInput(shown) from error
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _instead(source: Any) -> str:
    """What a file is whose content is not a supported image; empty if unknown."""
    if isinstance(source, str | Path):
        with open(source, "rb") as file:
            start = file.read(64)
    else:
        source.seek(0)
        start = source.read(64)
    known = (what for mark, what in _STARTS.items() if mark in start.lower())
    return next(known, "") if start else "it is empty. Download it again, or remove it"


_STARTS = {
    b"version https://git-lfs": "it is a Git LFS pointer. Run git lfs pull",
    b"<!doctype": "it is a web page. Download the image again",
    b"<html": "it is a web page. Download the image again",
    b"<svg": "it is SVG, which is not read. Save it as PNG",
    b"ftypavif": "it is AVIF by its content, which is not read. Save it as PNG",
    b"ftyphei": "it is HEIC by its content, which is not read. Save it as PNG",
    b"ftypmif": "it is HEIC by its content, which is not read. Save it as PNG",
}

_UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError, AttributeError),
    *(ArithmeticError, EOFError, MemoryError, RuntimeError, struct.error),
)
"""What Pillow's readers raise for a file that is not what its name says."""


def _check(image: Any) -> None:
    """Refuse modes that are not in the table, and 16-bit files that Pillow would clip to 8 bits."""
    mode = image.mode
    if mode not in CHANNELS:
        deep = mode.startswith(("I", "F"))
        what = "values of more than 8 bits" if deep else "colours that are not converted"
        raise ValueError(f"it has {what} (Pillow's mode {mode}). {_ADVICE}")
    if (bits := _bits(image)) > 8:
        raise ValueError(f"it has values of more than 8 bits ({bits} per channel). {_ADVICE}")
    _check_size(*image.size)


_ADVICE = (
    "Save it as 8-bit grey or RGB, or all as floats in [0, 1] (float64) in an .npz, with its --grid"
)


def _bits(image: Any) -> int:
    """Bits per channel by the file's header; Pillow's mode says 8 for colours of 16 bits."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,)))  # BitsPerSample
    tiles = getattr(image, "tile", ())  # an image made in memory has none
    raw = [arg for tile in tiles for arg in (tile[3] if _many(tile[3]) else (tile[3],))]
    if image.format == "PPM":
        return max((arg.bit_length() for arg in raw if isinstance(arg, int)), default=8)
    return 16 if image.format == "PNG" and any(";16" in str(arg) for arg in raw) else 8


def _many(args: Any) -> bool:
    return isinstance(args, tuple | list)


def _opaque(image: Any) -> Any:
    """The image without its transparency, if nothing shows through it."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] < 255:
        raise ValueError(
            "parts of it are transparent, and the file does not define a background. Paste it on "
            "the background that the classifier was trained with, and save it without "
            "transparency (torchvision drops it: convert('RGB'))"
        )
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} is more than {MOST_PIXELS} pixels")


def _cropped(image: Any, size: int) -> Any:
    from PIL.Image import Resampling

    shorter = round(_ZOOM * size)
    width, height = (int(shorter * side / min(image.size)) for side in image.size)
    _check_size(width, height)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))
