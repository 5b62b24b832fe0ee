"""Noisy inputs to fit activation scales to: what a smoothed classifier sees."""

import numpy as np
from numpy.typing import NDArray

from smoothcert.sampling.engine import to_float
from smoothcert.sampling.inputs import Inputs
from smoothcert.sampling.noise import RoundedGaussian, Stream

_IMAGES = 256
_BATCH = 64


def noisy_batches(inputs: Inputs, sigma: float, seed: int) -> list[NDArray[np.float32]]:
    """The first 256 inputs with one draw of noise each, in batches (up to 64, *shape)."""
    noise = RoundedGaussian(sigma, 1 / inputs.levels)
    chosen = [inputs.item(p) for p in range(min(_IMAGES, len(inputs)))]
    steps = np.stack(
        [i.pixels + noise.draws(seed, i.index, Stream.PROBE, [0], inputs.shape)[0] for i in chosen]
    )
    return np.array_split(to_float(steps, inputs.levels), -(-len(steps) // _BATCH))
