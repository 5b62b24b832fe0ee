"""Noisy inputs to fit activation scales to: what a smoothed classifier sees."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.inputs import Inputs, Item, to_float
from smoothcert.noise.law import RoundedGaussian, Stream

_IMAGES = 256
_BATCH = 64


def with_noise(items: Sequence[Item], noise: RoundedGaussian, seed: int) -> NDArray[np.int32]:
    """Items with one draw of noise each, in grid steps, shape (len(items), *shape)."""
    return np.stack(
        [i.pixels + noise.draws(seed, i.index, Stream.PROBE, [0], i.pixels.shape)[0] for i in items]
    )


def noisy_batches(inputs: Inputs, sigma: float, seed: int) -> list[NDArray[np.float32]]:
    """The first 256 inputs with one draw of noise each, in batches (up to 64, *shape)."""
    chosen = [inputs.item(p) for p in range(min(_IMAGES, len(inputs)))]
    steps = with_noise(chosen, RoundedGaussian(sigma, 1 / inputs.levels), seed)
    return np.array_split(to_float(steps, inputs.levels), -(-len(steps) // _BATCH))


def batches_of(rows: int | None, batches: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The same in batches of the only size that a model takes; the last repeats its first rows.

    Args:
        rows: that size; None or 0 for a model that takes any.
        batches: batches of any size.
    """
    if not rows or rows < 0:
        return batches
    everything = np.concatenate(batches)
    count = -(-len(everything) // rows)
    return np.split(np.resize(everything, (count * rows, *everything.shape[1:])), count)
