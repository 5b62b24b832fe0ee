"""Training with noise."""

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.training.gaussian import Recipe, train


def test_learns_and_repeats():
    data = smoothcert.load_inputs("digits", "train", limit=300)
    losses = []
    recipe = Recipe("small_cnn", 0.25, epochs=6)
    network = train(recipe, data, progress=lambda epoch, loss: losses.append(loss))
    assert len(losses) == 6
    assert losses[-1] < 0.6 * losses[0]
    again = train(recipe, data)
    for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not network.training


def test_leaves_torchs_own_random_state_alone():
    data = smoothcert.load_inputs("digits", "train", limit=64)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    train(Recipe("small_cnn", 0.25, epochs=1), data)
    assert torch.equal(torch.rand(1), expected)


def test_bad_recipes():
    unlabelled = smoothcert.Inputs.from_arrays(np.zeros((4, 1, 8, 8), np.uint8))
    with pytest.raises(InvalidInput, match="has no labels; training needs them"):
        train(Recipe("small_cnn", 0.25), unlabelled)
    with pytest.raises(InvalidInput, match="sigma must be a number >= 0; got -1"):
        Recipe("small_cnn", -1)
    with pytest.raises(InvalidInput, match="epochs and batch must be at least 1"):
        Recipe("small_cnn", 0.25, epochs=0)
    with pytest.raises(ModelError, match="There is no architecture 'vgg'"):
        train(Recipe("vgg", 0.25), smoothcert.load_inputs("digits", "train", limit=4))
