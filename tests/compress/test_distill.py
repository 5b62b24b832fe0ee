"""Distillation: the student learns the teacher, from noisy images alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert.compress import compress
from smoothcert.compress.learning import recipe_for
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.training.gaussian import TEMPERATURE, _imitating, train
from smoothcert.training.recipe import Recipe
from support.small_networks import weights


@pytest.fixture(scope="module")
def data():
    return smoothcert.load_inputs("digits", "train", limit=400)


@pytest.fixture(scope="module")
def noisy():
    inputs = smoothcert.load_inputs("digits")
    images = np.stack([item.pixels for item in inputs]) / inputs.levels
    noise = np.random.default_rng(0).normal(0, 0.25, images.shape)
    return (images + noise).astype(np.float32)


def winners(model, images):
    return smoothcert.load_classifier(model).logits(images).argmax(1)


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["net.safetensors", "net.onnx", "bf16.pt2"])
def test_the_student_learns_its_teacher(teacher, models, data, noisy, tmp_path):
    agreement = {}
    for epochs in (1, 6):
        out = tmp_path / f"{epochs}.safetensors"
        target = f"distill:cifar_resnet8,{epochs}"
        change = compress(models / teacher, target, out, inputs=data, sigma=0.25)
        agreement[epochs] = (winners(out, noisy) == winners(models / teacher, noisy)).mean()
    assert agreement[6] > 0.85
    assert agreement[6] > agreement[1] + 0.1
    assert "cifar_resnet8 trained for 6 epochs on the logits of" in change.describe()
    assert "at temperature 4 and sigma 0.25" in change.describe()
    assert (change.tensors_changed, change.tensors, change.fraction_changed) == (10, 10, 1.0)
    assert change.bytes_before == (models / teacher).stat().st_size
    assert change.bytes_after == out.stat().st_size


def test_labels_are_not_used(models, data, tmp_path):
    other = replace(data, labels=None)
    for inputs, out in ((data, "a.safetensors"), (other, "b.safetensors")):
        compress(
            models / "net.onnx", "distill:small_cnn,1", tmp_path / out, inputs=inputs, sigma=0.25
        )
    a, b = weights(tmp_path / "a.safetensors"), weights(tmp_path / "b.safetensors")
    assert all(np.array_equal(a[key], b[key]) for key in a)
    assert a["12.weight"].shape[0] == 10


def test_the_student_has_its_teachers_classes(models, data):
    """Though the data shows only some of them."""
    few = replace(data, labels=np.minimum(data.labels, 3))
    teacher = smoothcert.load_classifier(models / "net.safetensors").module
    recipe = Recipe("small_cnn", 0.25, epochs=1)
    student = train(recipe, few, teacher=teacher)
    assert student(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert train(recipe, few)(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


def test_the_loss_by_hand():
    """T squared times the mean over images of KL(teacher || student), both softened by T."""
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 5, (2, 7, 10))
    soft = [np.exp(z / TEMPERATURE) for z in (student, teacher)]
    q, p = (z / z.sum(1, keepdims=True) for z in soft)
    expected = TEMPERATURE**2 * (p * np.log(p / q)).sum(1).mean()
    loss = _imitating(lambda _: torch.tensor(teacher))
    rows = torch.arange(7)
    assert loss(torch.tensor(student), rows, rows).item() == pytest.approx(expected)
    assert loss(torch.tensor(teacher), rows, rows).item() == pytest.approx(0, abs=1e-12)


def test_the_recipe_follows_the_data():
    """A mirrored digit is no digit; a mirrored photograph is one."""
    grey, colour = (
        smoothcert.Inputs.from_arrays(np.zeros((2, channels, 8, 8), np.uint8))
        for channels in (1, 3)
    )
    assert not recipe_for("small_cnn", grey, 0.25, 1).crop_and_flip
    recipe = recipe_for("cifar_resnet8", colour, 0.25, 1, epochs=3, slower=10)
    assert recipe.crop_and_flip
    assert (recipe.architecture, recipe.epochs, recipe.seed) == ("cifar_resnet8", 3, 1)
    assert recipe.rate == pytest.approx(0.02)
    assert recipe_for("cifar_resnet8", colour, 0.25, 1).epochs == 16


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("distill:", r"distill takes an architecture .*got 'distill:'. Architectures: small_cnn"),
        ("distill:vgg", r"distill:cifar_resnet8,8; got 'distill:vgg'"),
        ("distill:small_cnn,", "distill needs a whole number of epochs, as in distill:small_cnn,8"),
        ("distill:small_cnn,0", "whole number of epochs"),
        ("distill:small_cnn,2.5", "whole number of epochs"),
    ],
)
def test_bad_arguments(target, message, models, data, tmp_path):
    with pytest.raises(InvalidInput, match=message):
        compress(models / "net.onnx", target, tmp_path / "s.safetensors", inputs=data, sigma=0.25)


def test_bad_requests(models, data, tmp_path):
    out = tmp_path / "s.safetensors"
    with pytest.raises(
        InvalidInput, match="distill:small_cnn is fitted to noisy inputs: give --sigma"
    ):
        compress(models / "net.onnx", "distill:small_cnn", out, inputs=data)
    with pytest.raises(InvalidInput, match="give --data"):
        compress(models / "net.onnx", "distill:small_cnn", out, sigma=0.25)
    with pytest.raises(InvalidInput, match=r"writes a .safetensors file"):
        compress(models / "net.onnx", "distill:small_cnn", tmp_path / "s.onnx")
    fixed = torch.export.export(torch.nn.Flatten(), (torch.zeros(4, 1, 8, 8),))
    torch.export.save(fixed, tmp_path / "fixed.pt2")
    with pytest.raises(
        ModelError, match="only takes batches of 4, but a teacher needs a dynamic batch"
    ):
        compress(tmp_path / "fixed.pt2", "distill:small_cnn", out, inputs=data, sigma=0.25)
