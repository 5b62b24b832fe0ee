"""Training with noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import smoothcert
from smoothcert.errors import InvalidInput, ModelError, StoreError
from smoothcert.training.checkpoint import Checkpoint
from smoothcert.training.gaussian import _augmented, accuracy, train
from smoothcert.training.losses import LOSSES
from smoothcert.training.recipe import RECIPES, Recipe, optimizer_for, schedule_for
from smoothcert.training.recipe import recipe as recipe_named


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


CROPPED = Recipe(
    "small_cnn",
    0.25,
    epochs=3,
    optimizer="sgd",
    rate=0.05,
    crop_and_flip=True,
    precision="bf16",
    loss=LOSSES["consistency"],
)


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path):
    data = smoothcert.load_inputs("digits", "train", limit=100)
    whole = train(CROPPED, data)
    kept = Checkpoint(tmp_path / "net.checkpoint", CROPPED, data.fingerprint)

    def stop(epoch, loss):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(CROPPED, data, progress=stop, checkpoint=kept)
    epochs = []
    resumed = train(CROPPED, data, progress=lambda e, loss: epochs.append(loss), checkpoint=kept)
    assert np.isnan(epochs).tolist() == [True, True, False]
    assert same(whole, resumed)
    assert not same(whole, train(replace(CROPPED, seed=1), data))


def test_a_checkpoint_serves_only_its_own_training(tmp_path):
    data = smoothcert.load_inputs("digits", "train", limit=64)
    path = tmp_path / "net.checkpoint"
    train(CROPPED, data, checkpoint=Checkpoint(path, CROPPED, "this"))
    with pytest.raises(InvalidInput, match="belongs to another recipe or other data"):
        train(CROPPED, data, checkpoint=Checkpoint(path, CROPPED, "that"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match="is damaged"):
        train(CROPPED, data, checkpoint=Checkpoint(path, CROPPED, "this"))
    Checkpoint(path, CROPPED, "this").remove()
    assert not path.exists()


def test_crops_are_shifts_and_flips_mirror():
    pixels = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    torch.manual_seed(0)
    shown = _augmented(pixels, 255, replace(CROPPED, sigma=0.0)) * 255
    straight = F.pad(pixels[0, 0].float(), (4, 4, 4, 4))
    windows = {
        tuple(image[r : r + 8, c : c + 8].flatten().tolist())
        for image in (straight, straight.flip(1))
        for r in range(9)
        for c in range(9)
    }
    seen = {tuple(image.round().flatten().tolist()) for image in shown}
    assert seen <= windows
    assert len(seen) > 80


def test_the_step_schedule_divides_by_ten_every_third():
    recipe = replace(RECIPES["cohen2019"], sigma=0.5)
    optimizer = optimizer_for(recipe, [torch.nn.Parameter(torch.zeros(1))])
    schedule = schedule_for(recipe, optimizer, 90)
    rates = []
    for _ in range(90):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[::30] == pytest.approx([0.1, 0.01, 0.001])
    assert rates[29] == pytest.approx(0.1)


def test_recipes_by_name():
    assert recipe_named("cohen2019", 0.5).epochs == 90
    assert recipe_named("short", 0.25, architecture="cifar_resnet8", epochs=2).epochs == 2
    with pytest.raises(InvalidInput, match="There is no recipe 'long'; there are: quick, short"):
        recipe_named("long", 0.5)
    with pytest.raises(InvalidInput, match="precision must be one of fp32, bf16; got 'fp8'"):
        replace(CROPPED, precision="fp8")


def test_accuracy_is_counted():
    data = smoothcert.load_inputs("digits", "test", limit=40)

    class Knows(torch.nn.Module):
        def forward(self, images):
            return torch.nn.functional.one_hot(answers.pop(0), 10).float()

    answers = [torch.tensor(data.labels)]
    assert accuracy(Knows(), data, 0.0) == 1.0
    answers = [(torch.tensor(data.labels) + (torch.arange(40) < 10)) % 10]
    assert accuracy(Knows(), data, 0.0) == 0.75
