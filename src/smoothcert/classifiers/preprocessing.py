"""What stands between an image in [0, 1] and a network that was trained on something else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.ranges import Ranges
from smoothcert.classifiers.resampling import resized
from smoothcert.errors import InvalidInput, ModelError, did_you_mean
from smoothcert.vocabulary import LAYOUTS, NORMALIZATIONS, RESAMPLINGS

_BYTES = 255.0
_MOST_SIDE = 2**12
_SMALL_SCALE = 50  # above it, a mean below one cannot be of the scaled values


@dataclass(frozen=True)
class Preprocessing:
    """Operations in front of a network, in the order of the attributes, on images (B, C, H, W).

    Attributes:
        resize: (height, width) of what the network gets; None for the images' own.
        resampling: how, one of `vocabulary.RESAMPLINGS`.
        scale: what values in [0, 1] are multiplied by.
        channels: `bgr` if the network takes blue first; images have red first.
        mean: what is subtracted, one number or one per channel, in the order and on the scale of
            what the network takes; empty for nothing.
        std: what the difference is divided by, likewise.
        layout: `nchw`, `nhwc` (channels last) or `flat` (one row of values, channels first).
        whole: whether values are rounded (half to even) to bytes, and cut to 0..255.
        ranges: of a table's columns, for inputs (B, D): what is done first, in place of all that
            is for images.

    Raises:
        InvalidInput: numbers that cannot be what was meant.
    """

    resize: tuple[int, int] | None = None
    resampling: str = "bilinear"
    scale: float = 1.0
    channels: str = "rgb"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = "nchw"
    whole: bool = False
    ranges: Ranges | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise InvalidInput(f"scale must be a positive number; got {self.scale}")
        for name, allowed in (
            ("resampling", tuple(RESAMPLINGS)),
            ("layout", LAYOUTS),
            ("channels", ("rgb", "bgr")),
        ):
            if (value := getattr(self, name)) not in allowed:
                near = did_you_mean(str(value), allowed)
                raise InvalidInput(f"{name} must be {' or '.join(allowed)}; got {value!r}{near}")
        if self.resize and not all(0 < side <= _MOST_SIDE for side in self.resize):
            raise InvalidInput(f"resize takes sides of 1 to {_MOST_SIDE}; got {self.resize}")
        if len({len(some) for some in (self.mean, self.std)} - {0, 1}) > 1:
            raise InvalidInput(f"mean has {len(self.mean)} numbers and std {len(self.std)}.")
        if any(not (math.isfinite(one) and one > 0) for one in self.std):
            raise InvalidInput(f"std must be positive numbers; got {_listed(self.std)}")
        if self.ranges is None:
            _check_units(self.mean, self.std, self.scale)
        else:
            self._check_columns(len(self.ranges.low))

    def _check_columns(self, count: int) -> None:
        for_rows = ("mean", "std", "ranges")
        others = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        if others := [name for name in others if name not in for_rows]:
            raise InvalidInput(
                f"A columns file is for rows of numbers, and {', '.join(others)} for images. Leave "
                "out one of them."
            )
        if {len(self.mean), len(self.std)} - {0, 1, count}:
            raise InvalidInput(
                f"mean and std must have a number for each of the {count} columns; got "
                f"{len(self.mean)} and {len(self.std)}."
            )

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return self != Preprocessing(resampling=self.resampling)

    def fits(self, axes: int) -> bool:
        """Whether it can be done to inputs of so many axes, with that of the batch."""
        images = self.resize or (self.channels, self.layout) != ("rgb", "nchw")
        return axes == 4 or not images

    def apply(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """What the network gets for images (B, C, H, W) or rows (B, D), in float32 or uint8.

        Raises:
            ModelError: it cannot be done to inputs of this shape.
        """
        values = images
        if not self.fits(values.ndim):
            raise ModelError(f"Images of four axes are needed for: {self.describe()}.")
        if self.ranges:
            values = self.ranges.apply(values)
        if self.resize:
            values = resized(values, self.resize, self.resampling)
        if self.scale != 1:
            values = values * np.float32(self.scale)
        if self.channels == "bgr":
            values = values[:, ::-1]
        if self.mean:
            values = values - per_channel(self.mean, values.ndim)
        if self.std:
            values = values / per_channel(self.std, values.ndim)
        if self.whole:
            values = np.rint(values).clip(0, _BYTES).astype(np.uint8)
        if self.layout == "nhwc":
            values = values.transpose(0, 2, 3, 1)
        elif self.layout == "flat":
            values = values.reshape(len(values), -1)
        return np.ascontiguousarray(values)

    def record(self) -> dict[str, Any]:
        """What is not as in an empty one, for JSON; the names are those of a preprocess.json."""
        plain = Preprocessing()
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        kept = {k: v for k, v in found.items() if v != getattr(plain, k)}
        if self.ranges:
            kept |= kept.pop("ranges").record()
        if self.resize:
            kept["resampling"] = self.resampling
        return {k: list(v) if isinstance(v, tuple) else v for k, v in kept.items()}

    def describe(self) -> str:
        """The operations in their order, in words."""
        parts = [self.ranges.describe()] if self.ranges else []
        if self.resize:
            parts.append(f"resized to {self.resize[0]}x{self.resize[1]} ({self.resampling})")
        if self.scale != 1:
            parts.append(f"times {self.scale:g}")
        if self.channels == "bgr":
            parts.append("channels to blue, green, red")
        if self.mean:
            parts.append(f"minus {_listed(self.mean)}")
        if self.std:
            parts.append(f"over {_listed(self.std)}")
        if self.whole:
            parts.append("rounded and cut to bytes (0..255)")
        if self.layout != "nchw":
            last = {"nhwc": "channels last", "flat": "flattened to one row"}
            parts.append(last[self.layout])
        return ", ".join(parts)


def per_channel(values: Sequence[float], dimensions: int) -> NDArray[np.float32]:
    """Constants as an array that fits a batch (B, C, ...) of so many dimensions."""
    array = np.array(values, np.float32)
    return array.reshape(-1, *[1] * (dimensions - 2)) if array.size > 1 else array.reshape(())


def constants(text: str, which: str, scale: float, channels: str) -> tuple[float, ...]:
    """The numbers that `--mean` or `--std` stands for, on the scale of what the network takes.

    Args:
        text: numbers with commas between them, which are taken as they are, or one of
            `vocabulary.NORMALIZATIONS`, which is for [0, 1] and red first and is converted.
        which: `mean` or `std`.
        scale: what values in [0, 1] are multiplied by.
        channels: `rgb` or `bgr`.

    Raises:
        InvalidInput: neither.
    """
    if text in NORMALIZATIONS:
        found = NORMALIZATIONS[text][which]
        ordered = found[::-1] if channels == "bgr" else found
        return tuple(float(f"{scale * one:.9g}") for one in ordered)
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise InvalidInput(
            f"--{which} takes a number, a number per channel with commas between them, or one of "
            f"{', '.join(NORMALIZATIONS)}; got {text!r}{did_you_mean(text, NORMALIZATIONS)}"
        ) from None


def _check_units(mean: Sequence[float], std: Sequence[float], scale: float) -> None:
    """Refuse constants on another scale than the values that they are for."""
    given = f"mean {_listed(mean) or 0}, std {_listed(std) or 1}"
    if any(not 0 <= one <= scale for one in mean) or any(one > scale for one in std):
        more = "For a network that takes 0..255 add --scale 255. " if scale == 1 else ""
        raise InvalidInput(
            f"Values are in 0..{scale:g} before they are normalized, so mean and std cannot be "
            f"larger or negative; got {given}. {more}Check the numbers."
        )
    small = (mean and 0 < max(mean) <= 1) or (std and max(std) < 1)
    if scale > _SMALL_SCALE and small:
        raise InvalidInput(
            f"Values are in 0..{scale:g} before they are normalized, but {given} is for 0..1. "
            f"Leave out --scale, or multiply these numbers by {scale:g}."
        )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{one:g}" for one in values)
