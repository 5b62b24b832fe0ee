"""A constructed classifier defeats float noise; exact noise keeps Cohen et al.'s theorem."""

from math import dist

import numpy as np
import pytest
from float_noise_attack import (
    LAW,
    LEVELS,
    PICTURES,
    SIGMA,
    Remembers,
    by_floats,
    by_integers,
    refuted,
)
from scipy import special

from smoothcert.data.inputs import to_float

DISTANCE = dist(*(PICTURES.reshape(2, -1) / LEVELS))


@pytest.fixture
def remembers() -> Remembers:
    return Remembers(to_float(PICTURES[0], LEVELS))


def test_float_noise_certifies_two_classes_in_one_ball(remembers):
    """Each of the two is wrong with probability 0.001 if the sampler is what the theorem needs."""
    here, there = (by_floats(remembers, to_float(x, LEVELS), 4000, seed=0) for x in PICTURES)
    assert (here.label, here.votes) == (0, here.n)  # every sum is possible where it was made
    assert there.label == 1
    assert here.radius > 20 * DISTANCE
    assert there.radius > 10 * DISTANCE
    assert refuted(here, there, DISTANCE)


def test_exact_noise_certifies_one_class(remembers):
    here, there = by_integers(remembers, 4000, seed=0)
    assert here.label == there.label == 1
    assert min(here.radius, there.radius) > 10 * DISTANCE
    assert not refuted(here, there, DISTANCE)
    assert not refuted(there, here, DISTANCE)


def test_under_exact_noise_the_classifier_obeys_the_theorem_exactly(remembers):
    """Its probabilities from the law itself, at pictures brighter by 0 to 60 steps a pixel.

    The quantile of a class's probability falls by at most distance / sigma.
    """
    edges = np.array([0, *LAW.table.tolist(), 2**64], dtype=object)
    law = (np.diff(edges) / 2**64).astype(float)
    noise = np.arange(len(law)) - len(law) // 2
    steps = np.arange(61)
    quantiles = []
    for brightness in int(PICTURES[0].flat[0]) + steps:
        pixels = to_float(brightness + noise, LEVELS)[:, None, None, None]
        one = Remembers(remembers.picture[:, :1, :1]).logits(pixels)[:, 0]
        quantiles.append(special.ndtri((law @ one) ** 64))
    moved = np.abs(np.subtract.outer(quantiles, quantiles))
    far = np.abs(np.subtract.outer(steps, steps)) * 8 / LEVELS / SIGMA
    assert np.ptp(quantiles) > 0.1  # it is no constant function of the picture
    assert (moved <= far + 1e-9).all()
