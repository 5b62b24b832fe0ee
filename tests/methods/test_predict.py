"""Prediction under noise."""

import numpy as np
import pytest

import smoothcert
from known_truth import PixelSum
from smoothcert.errors import InvalidInput
from smoothcert.sampling.inputs import Item
from smoothcert.sampling.noise import RoundedGaussian

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
