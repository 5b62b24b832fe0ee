"""Resizing a batch of images, as matrices: what the Resize node of an adapted model computes."""

import numpy as np
from numpy.typing import NDArray

from smoothcert.vocabulary import RESAMPLINGS

SHARPNESS = {True: -0.5, False: -0.75}
"""The cubic kernel's coefficient: Pillow's with antialiasing, OpenCV's and torch's without."""


def resized(
    images: NDArray[np.float32], size: tuple[int, int], resampling: str
) -> NDArray[np.float32]:
    """Images (B, C, H, W) in another size, (B, C, *size), computed in float64."""
    kernel, antialias = RESAMPLINGS[resampling]
    rows, columns = (
        _weights(before, after, kernel, antialias)
        for before, after in zip(images.shape[2:], size, strict=True)
    )
    return np.einsum("yh,bchw,xw->bcyx", rows, images, columns, optimize=True).astype(np.float32)


def _weights(before: int, after: int, kernel: str, antialias: bool) -> NDArray[np.float64]:
    """What each of `after` pixels takes from each of `before`, shape (after, before)."""
    step = before / after
    wide = max(1.0, step) if antialias else 1.0
    centres = (np.arange(after) + 0.5) * step - 0.5
    reach = int(np.ceil((1 if kernel == "linear" else 2) * wide)) + 1
    sources = np.floor(centres).astype(int)[:, None] + np.arange(-reach, reach + 1)
    weights = _kernel((sources - centres[:, None]) / wide, kernel, SHARPNESS[antialias])
    if antialias:  # what lies outside of the image does not count
        weights = np.where((sources >= 0) & (sources < before), weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((after, before))
    np.add.at(matrix, (np.arange(after)[:, None], sources.clip(0, before - 1)), weights)
    return matrix


def _kernel(distances: NDArray[np.float64], kernel: str, a: float) -> NDArray[np.float64]:
    x = np.abs(distances)
    if kernel == "linear":
        return np.clip(1 - x, 0, None)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a  # Keys 1981
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
