"""What a certificate claims between grid values, on a classifier whose probabilities are known.

Everything here is computed from the law, but for the certified radius, which is a run's.
"""

import numpy as np
import pytest
from scipy import special

import smoothcert
from smoothcert.data.inputs import Inputs
from support.known_truth import LEVELS, PixelSum, probability_above

SIGMA, THRESHOLD = 0.25, 87
INPUT = np.full((1, 3, 4), 8)  # in grid steps; its sum is 96, so class 1
LOWER = INPUT - 0.503  # every value a little more than half a step lower
POINTS = 300


def noise_then_rounding(steps: np.ndarray) -> float:
    """P[class 1] where Gaussian noise is added to values in grid steps, then all are rounded."""
    law, first = np.ones(1), 0
    for value in steps.ravel():
        middle, reach = int(np.rint(value)), int(np.ceil(10 * SIGMA * LEVELS))
        edges = np.arange(-reach, reach + 2) - 0.5 + middle - value
        law = np.convolve(law, np.diff(special.ndtr(edges / (SIGMA * LEVELS))))
        first += middle - reach
    return float(law[max(0, THRESHOLD + 1 - first) :].sum())


def rounding_then_noise(steps: np.ndarray) -> float:
    return probability_above(THRESHOLD, np.rint(steps), SIGMA)


def distance(steps: np.ndarray) -> float:
    return float(np.linalg.norm(steps - INPUT)) / LEVELS


@pytest.fixture(scope="module")
def radius() -> float:
    inputs = Inputs.from_arrays(INPUT[None] / LEVELS, grid=1 / LEVELS)
    found = smoothcert.certify(PixelSum(THRESHOLD), inputs, SIGMA, n0=20, n=10_000)
    (certificate,) = found.certificates
    assert certificate.predicted == 1
    return certificate.radius


def points(radius: float) -> list[np.ndarray]:
    """Inputs just within the radius: in random directions, and straight to the other class."""
    rng = np.random.default_rng(0)
    ways = [*rng.normal(size=(POINTS, *INPUT.shape)), -np.ones(INPUT.shape)]
    lengths = (1 - 1e-9) * radius * LEVELS
    return [INPUT + way * lengths / np.linalg.norm(way) for way in ways]


def test_noise_before_rounding_keeps_the_class_at_every_input_within_the_radius(radius):
    assert noise_then_rounding(INPUT) == pytest.approx(rounding_then_noise(INPUT), abs=1e-12)
    assert distance(LOWER) < radius
    found = [noise_then_rounding(y) for y in (*points(radius), LOWER)]
    assert min(found) > 0.5
    # The claim has an edge: some way out the class is another one.
    assert noise_then_rounding(INPUT - 2 * radius * LEVELS / np.sqrt(INPUT.size)) < 0.5


def test_inputs_on_the_grid_within_the_radius_keep_the_class(radius):
    rng = np.random.default_rng(1)
    near = [INPUT + rng.integers(-1, 2, INPUT.shape) for _ in range(POINTS)]
    near = [y for y in near if distance(y) < radius]
    # Whole steps in all directions of few values, the worst of them straight down.
    near += [INPUT - (np.arange(INPUT.size) < few).reshape(INPUT.shape) for few in range(1, 6)]
    assert len(near) > 10
    assert all(distance(y) < radius for y in near)
    assert min(rounding_then_noise(y) for y in near) > 0.5


def test_the_claim_that_was_withdrawn_is_false(radius):
    """ "Any perturbation below the radius", for inputs that are rounded to the grid first."""
    assert distance(LOWER) < 0.109
    assert radius > 0.14
    assert rounding_then_noise(LOWER) < 0.5
    assert radius < 0.216 < distance(np.rint(LOWER))  # it was moved out of the ball
    inputs = Inputs.from_arrays(np.rint(LOWER)[None] / LEVELS, grid=1 / LEVELS)
    noise = smoothcert.RoundedGaussian(SIGMA, 1 / LEVELS)
    answer = smoothcert.predict(PixelSum(THRESHOLD), inputs.item(0), noise, n=10_000)
    assert answer.predicted == 0
