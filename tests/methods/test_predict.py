"""Prediction under noise."""

import numpy as np
import pytest

import smoothcert
from smoothcert.data.inputs import Item
from smoothcert.errors import InvalidInput
from smoothcert.noise.law import RoundedGaussian
from support.known_truth import PixelSum

LAW = RoundedGaussian(0.25, 1 / 16)
ITEM = Item(0, np.full((1, 2, 2), 8, np.int32))


def test_a_clear_case_and_a_toss_up():
    clear = smoothcert.predict(PixelSum(20), ITEM, LAW)
    assert (clear.predicted, clear.top) == (1, 1)
    assert clear.top_votes + clear.second_votes == clear.draws == 1000
    assert smoothcert.predict(PixelSum(32), ITEM, LAW, n=100).predicted == smoothcert.ABSTAIN


def test_bad_settings():
    with pytest.raises(InvalidInput, match="n must be a whole number"):
        smoothcert.predict(PixelSum(20), ITEM, LAW, n=0)


class Loose(RoundedGaussian):
    """As if the sampled noise were further from the exact one than it is."""

    def slack(self, shape):
        return 1e-5


def test_the_distance_of_sampled_noise_from_exact_noise_comes_off_alpha():
    """All ten draws agree: at level 0.002 that decides (2^-10 < 0.001), at 0.0019 it does not."""
    always, facts = PixelSum(-1000), {"n": 10, "alpha": 0.002}
    assert 0.0019 / 2 < 2**-10 < 0.002 / 2
    assert smoothcert.predict(always, ITEM, LAW, **facts).predicted == 1
    assert smoothcert.predict(always, ITEM, Loose(0.25, 1 / 16), **facts).predicted == -1
    loose = Loose(0.25, 1 / 16)
    assert smoothcert.predict(always, ITEM, loose, n=10, alpha=0.0022).predicted == 1
    with pytest.raises(InvalidInput, match="n = 200 draws .* 0.002, and alpha is 0.002. Use fewer"):
        smoothcert.predict(always, ITEM, loose, n=200, alpha=0.002)
