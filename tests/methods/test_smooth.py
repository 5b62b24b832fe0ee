"""The interface of the 2019 code: its classes and radii, from the same draws as `certify`."""

import numpy as np
import pytest
import torch
from scipy import stats

import smoothcert
from smoothcert import Smooth
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, ModelError


class Bright(torch.nn.Module):
    """Class 1 where the mean of an image exceeds one half."""

    def __init__(self):
        super().__init__()
        self.middle = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        mean = x.flatten(1).mean(1)
        return torch.stack([self.middle - mean, mean - self.middle, mean - 99], dim=1)


def test_as_a_script_of_2019_calls_it():
    smooth = Smooth(Bright(), 3, 0.25)
    x = torch.full((1, 4, 4), 150 / 255)
    label, radius = smooth.certify(x, 100, 1000, 0.001, batch_size=200)
    truth = 4 * (150 / 255 - 0.5)  # the distance to the boundary: this classifier is linear
    assert label == 1
    assert 0.7 * truth < radius < truth
    assert smooth.predict(x, 200, 0.001, 100) == 1
    assert smooth.predict(torch.full((1, 4, 4), 0.0), 200, 0.001, 100) == 0
    assert Smooth.ABSTAIN == -1


def test_it_abstains_where_nothing_is_proven():
    smooth = Smooth(Bright(), 3, 0.25, grid=1 / 2)
    even = np.full((1, 4, 4), 0.5)
    even[0, :, ::2], even[0, :, 1::2] = 0.0, 1.0
    even[0, 0, 0] = 0.5
    even[0, 0, 1] = 0.5
    assert smooth.certify(even, 100, 100, 0.001, 100) == (-1, 0.0)
    assert smooth.predict(even, 100, 1e-6, 100) == -1


def test_the_certificates_are_those_of_certify():
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 4), dtype=np.uint8)
    expected = smoothcert.certify(
        Bright(), Inputs.from_arrays(images), 0.25, n0=50, n=500, alpha=0.01, seed=7, batch_size=50
    )
    smooth = Smooth(Bright(), 3, 0.25, seed=7)
    found = [smooth.certify(image, 50, 500, 0.01, 50) for image in images]
    assert found == [(c.predicted, c.radius) for c in expected.certificates]


def test_the_distance_to_the_grid_comes_off_the_radius():
    """Of float32 some 1e-8, and more of an input that is further away; its class is the same."""
    steps = np.full((1, 4, 4), 150, np.uint8)
    given = [steps, steps.astype(np.float32) / np.float32(255), steps / 255 - 2e-6]
    found = [Smooth(Bright(), 3, 0.25).certify(x, 50, 500, 0.01, 50) for x in given]
    assert [label for label, _ in found] == [1, 1, 1]
    on, single, off = (radius for _, radius in found)
    assert on - 5e-7 < single < on
    assert on - 8.1e-6 < off <= on - 8e-6


def test_calls_have_noise_of_their_own():
    smooth = Smooth(Bright(), 3, 0.25)
    x = np.full((1, 4, 4), 150 / 255)
    radii = {smooth.certify(x, 10, 300, 0.01, 100)[1] for _ in range(6)}
    assert len(radii) > 1
    again = Smooth(Bright(), 3, 0.25)
    assert again.certify(x, 10, 300, 0.01, 100)[1] in radii


def test_certified_radii_exceed_the_truth_as_rarely_as_alpha_says():
    """Error rate at most 0.1 in 300 certificates; at 0.1 more than 50 have probability 1e-4."""
    smooth, x = Smooth(Bright(), 3, 0.25), np.full((1, 4, 4), 140 / 255)
    truth = 4 * (140 / 255 - 0.5)
    wrong = sum(smooth.certify(x, 10, 40, 0.1, 50)[1] > truth for _ in range(300))
    assert stats.binom.sf(50, 300, 0.1) < 1e-3
    assert 5 < wrong <= 50  # and it is not vacuous


def test_bad_use_is_refused():
    x = np.full((1, 4, 4), 0.5)
    with pytest.raises(InvalidInput, match="grid"):
        Smooth(Bright(), 3, 0.25).certify(x, 10, 10, 0.01, 10)
    with pytest.raises(ModelError, match="has 3 classes, not 10"):
        Smooth(Bright(), 10, 0.25).certify(np.zeros((1, 4, 4)), 10, 10, 0.01, 10)
    with pytest.raises(InvalidInput, match="sigma"):
        Smooth(Bright(), 3, -1.0)
    with pytest.raises(InvalidInput, match="alpha"):
        Smooth(Bright(), 3, 0.25).certify(np.zeros((1, 4, 4)), 10, 10, 2, 10)
