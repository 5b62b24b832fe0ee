"""Fine-tuning: training goes on, and what pruning removed stays removed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert.compress import compress
from smoothcert.compress.finetune import keep_zeros
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.training.gaussian import accuracy, train
from smoothcert.training.recipe import Recipe
from support.small_networks import weights


@pytest.fixture(scope="module")
def data():
    return smoothcert.load_inputs("digits", "train", limit=600)


@pytest.fixture(scope="module")
def pruned(models, tmp_path_factory):
    file = tmp_path_factory.mktemp("pruned") / "p.safetensors"
    compress(models / "net.safetensors", "prune:0.8", file)
    return file


def noisy_accuracy(file):
    network = smoothcert.load_classifier(file).module
    return accuracy(network, smoothcert.load_inputs("digits"), 0.25)


def test_a_pruned_network_recovers_and_stays_sparse(pruned, data, tmp_path):
    out = tmp_path / "f.safetensors"
    change = compress(pruned, "finetune:4", out, inputs=data, sigma=0.25)
    before, after = weights(pruned), weights(out)
    zeros = sum(int((t == 0).sum()) for t in before.values())
    moved = sum(int((before[k] != after[k]).sum()) for k in before)
    assert all(np.array_equal(before[k] == 0, after[k] == 0) for k in before)
    total = sum(t.size for t in before.values())
    assert zeros == 8 * total // 10
    assert moved > 0.19 * total
    assert change.fraction_changed == moved / total
    assert f"the {zeros:,} weights that were zero kept at zero" in change.describe()
    assert "fine-tuned for 4 epochs at a rate of 0.001 and sigma 0.25" in change.describe()
    assert noisy_accuracy(out) > noisy_accuracy(pruned) + 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "precision"), [("adamw", "fp32"), ("sgd", "bf16")])
def test_only_the_kept_zeros_stay(optimizer, precision, pruned, data):
    """And without keeping, both optimizers move them: the control."""
    recipe = Recipe("small_cnn", 0.25, 1, rate=0.01, optimizer=optimizer, precision=precision)
    for keep in (True, False):
        network = smoothcert.load_classifier(pruned).module
        zeros = {k: t == 0 for k, t in network.state_dict().items() if t.ndim > 1}
        if keep:
            assert keep_zeros(network) == sum(int(z.sum()) for z in zeros.values())
        state = train(recipe, data, network=network).state_dict()
        assert all(bool((state[k][zero] == 0).all()) for k, zero in zeros.items()) == keep


def test_an_unpruned_network_changes_a_little(models, data, tmp_path):
    out = tmp_path / "f.safetensors"
    change = compress(models / "net.safetensors", "finetune:1", out, inputs=data, sigma=0.25)
    assert change.tensors_changed == change.tensors == 4
    assert "zero" not in change.describe()
    before, after = weights(models / "net.safetensors"), weights(out)
    apart = max(np.abs(before[k] - after[k]).max() for k in before)
    assert 0 < apart < 0.1
    compress(
        models / "net.safetensors",
        "finetune:1",
        tmp_path / "g.safetensors",
        inputs=data,
        sigma=0.25,
    )
    again = weights(tmp_path / "g.safetensors")
    assert all(np.array_equal(after[k], again[k]) for k in after)


def test_a_slimmed_network_keeps_its_widths(models, data, tmp_path):
    slim, out = tmp_path / "s.safetensors", tmp_path / "f.safetensors"
    compress(models / "net.safetensors", "prune-channels:0.5", slim)
    compress(slim, "finetune:4", out, inputs=data, sigma=0.25)
    shapes = [{k: t.shape for k, t in weights(file).items()} for file in (slim, out)]
    assert shapes[0] == shapes[1]
    assert noisy_accuracy(out) > noisy_accuracy(slim) + 0.1


@pytest.mark.parametrize("argument", ["", "0", "-1", "two", "1.5", "²"])
def test_bad_epochs(argument, pruned, data, tmp_path):
    with pytest.raises(
        InvalidInput, match="finetune needs a whole number of epochs, as in finetune:4"
    ):
        compress(
            pruned, f"finetune:{argument}", tmp_path / "f.safetensors", inputs=data, sigma=0.25
        )


def test_bad_requests(models, pruned, data, tmp_path):
    out = tmp_path / "f.safetensors"
    with pytest.raises(ModelError, match="finetune needs the weights of a zoo network"):
        compress(models / "net.onnx", "finetune:1", out, inputs=data, sigma=0.25)
    with pytest.raises(InvalidInput, match="has no labels; training needs them"):
        compress(pruned, "finetune:1", out, inputs=replace(data, labels=None), sigma=0.25)
    with pytest.raises(InvalidInput, match="has the label 10, but the network has 10 classes"):
        many = replace(data, labels=tuple(label + 1 for label in data.labels))
        compress(pruned, "finetune:1", out, inputs=many, sigma=0.25)
    with pytest.raises(ModelError, match="failed on a batch of shape"):
        colour = smoothcert.Inputs.from_arrays(np.zeros((4, 3, 8, 8), np.uint8), np.zeros(4, int))
        compress(pruned, "finetune:1", out, inputs=colour, sigma=0.25)
    with pytest.raises(InvalidInput, match="finetune:1 is fitted to noisy inputs: give --sigma"):
        compress(pruned, "finetune:1", out, inputs=data)
    assert not out.exists()
    assert torch.is_grad_enabled()
