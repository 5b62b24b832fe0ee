"""What tests of coverage share: independent certifications with known truth, and grids of laws."""

import numpy as np

import smoothcert
from smoothcert.data.inputs import Inputs
from support.known_truth import LEVELS, PixelSum, probability_above

ERROR = 1e-6
SIGMA = 0.25
ALPHA = 0.05
GRID_P = np.concatenate([np.linspace(0.02, 0.98, 33), [0.99, 0.995, 0.999, 1.0]])
GRID_U = np.concatenate([[0.0, 0.001, 0.005], np.linspace(0.01, 0.99, 27)])


def inputs(count: int) -> Inputs:
    return Inputs.from_arrays(np.full((count, 1, 2, 2), 8 / LEVELS), grid=1 / LEVELS)


def truth(threshold: int) -> float:
    """P[class 1] for every input above, exactly."""
    return probability_above(threshold, np.full(4, 8), SIGMA)


def certify(count: int, n: int, threshold: int, alpha: float = ALPHA):
    data = inputs(count)
    return smoothcert.certify(PixelSum(threshold), data, SIGMA, n0=10, n=n, alpha=alpha, seed=11)
