"""Channel pruning: the smallest filters go, and with them weights and operations."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

import smoothcert
from smoothcert import zoo
from smoothcert.compress import compress
from smoothcert.errors import InvalidInput, ModelError
from support.small_networks import logits, random_network, saved, weights


@pytest.fixture
def residual(tmp_path):
    network = random_network("cifar_resnet8")
    return saved(network, "cifar_resnet8", tmp_path / "net.safetensors")


def with_dead_quarter(network, shift):
    """Every fourth filter of every inner convolution is zero; its normalization adds `shift`."""
    state = network.state_dict()
    for convolution, normalization, _ in zoo.inner_layers("cifar_resnet8", state):
        state[f"{convolution}.weight"][::4] = 0
        state[f"{normalization}.running_mean"][::4] = 0
        state[f"{normalization}.bias"][::4] = shift
    return network


def test_removing_dead_channels_changes_no_logit(tmp_path):
    network = with_dead_quarter(random_network("cifar_resnet8"), -0.1)
    file = saved(network, "cifar_resnet8", tmp_path / "net.safetensors")
    change = compress(file, "prune-channels:0.25", tmp_path / "p.safetensors")
    assert "28 of 112 inner channels removed" in change.describe()
    np.testing.assert_allclose(logits(tmp_path / "p.safetensors"), logits(file), atol=1e-5)
    compress(file, "prune-channels:0.3", tmp_path / "q.safetensors")
    assert np.abs(logits(tmp_path / "q.safetensors") - logits(file)).max() > 1e-3


def test_what_a_removed_channel_added_counts_as_zero(tmp_path):
    network = with_dead_quarter(random_network("cifar_resnet8"), 0.5)
    file = saved(network, "cifar_resnet8", tmp_path / "net.safetensors")
    compress(file, "prune-channels:0.25", tmp_path / "p.safetensors")
    for convolution, normalization, reader in zoo.inner_layers(
        "cifar_resnet8", dict(network.state_dict())
    ):
        assert convolution.endswith("first.0")
        network.get_submodule(reader).weight.data[:, ::4] = 0
        assert normalization.endswith("first.1")
    np.testing.assert_allclose(logits(tmp_path / "p.safetensors"), logits(network), atol=1e-5)


def test_lenet_loses_channels_of_its_first_convolution(tmp_path):
    """It has no normalization, and biases."""
    torch.manual_seed(0)
    network = zoo.build("lenet", 1, 10).eval()
    state = network.state_dict()
    state["1.conv1.weight"][::4] *= 1e-3
    file = saved(network, "lenet", tmp_path / "net.safetensors")
    change = compress(file, "prune-channels:0.25", tmp_path / "p.safetensors")
    assert "5 of 20 inner channels removed" in change.describe()
    images = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    found = smoothcert.load_classifier(tmp_path / "p.safetensors").logits(images)
    state["1.conv2.weight"][:, ::4] = 0
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_smallest_filters_go(residual, tmp_path):
    compress(residual, "prune-channels:0.4", tmp_path / "p.safetensors")
    before, after = weights(residual), weights(tmp_path / "p.safetensors")
    for stage, width in ((4, 16), (5, 32), (6, 64)):
        first, second = f"{stage}.0.first.0.weight", f"{stage}.0.second.0.weight"
        norms = np.abs(before[first]).reshape(width, -1).sum(1)
        kept = np.sort(np.argsort(norms)[4 * width // 10 :])
        assert np.array_equal(after[first], before[first][kept])
        assert np.array_equal(after[second], before[second][:, kept])
    untouched = [key for key in before if "first" not in key and "second" not in key]
    assert len(untouched) == 4
    assert all(np.array_equal(before[key], after[key]) for key in untouched)


def test_as_many_weights_as_by_hand(residual, tmp_path):
    change = compress(residual, "prune-channels:0.5", tmp_path / "p.safetensors")
    inner = {16: 8, 32: 16, 64: 32}
    gone = sum(
        9 * (c * half + half * w)
        for (c, (w, half)) in zip((16, 16, 32), inner.items(), strict=True)
    )
    before, after = weights(residual), weights(tmp_path / "p.safetensors")
    total = sum(t.size for t in before.values())
    assert sum(t.size for t in after.values()) == total - gone
    assert change.fraction_changed == gone / total
    assert (change.tensors_changed, change.tensors) == (6, 10)
    assert change.bytes_after < change.bytes_before


def test_the_small_network_loses_channels_too(tmp_path):
    file = saved(random_network("small_cnn"), "small_cnn", tmp_path / "net.safetensors")
    change = compress(file, "prune-channels:0.5", tmp_path / "p.safetensors")
    after = weights(tmp_path / "p.safetensors")
    shapes = [after[key].shape for key in ("1.weight", "4.weight", "7.weight", "12.weight")]
    assert shapes == [(8, 1, 3, 3), (16, 8, 3, 3), (32, 16, 3, 3), (10, 128)]
    assert (change.tensors_changed, change.tensors) == (3, 4)
    first, second = weights(file)["1.weight"], weights(file)["4.weight"]
    left = np.sort(np.argsort(np.abs(first).sum((1, 2, 3)))[8:])
    narrower = second[:, left]  # the norms of the second do not count what the first lost
    kept = np.sort(np.argsort(np.abs(narrower).sum((1, 2, 3)))[16:])
    assert np.array_equal(after["4.weight"], narrower[kept])


def operations(model):
    network = smoothcert.load_classifier(model).module
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 8, 8))
    return counter.get_total_flops()


def test_fewer_operations(residual, tmp_path):
    compress(residual, "prune-channels:0.5", tmp_path / "p.safetensors")
    sites = {16: 64, 32: 16, 64: 4}  # 8x8, 4x4, 2x2
    in_blocks = sum(
        2 * 9 * sites[width] * width * (channels + width)
        for channels, width in ((16, 16), (16, 32), (32, 64))
    )
    full, slim = operations(residual), operations(tmp_path / "p.safetensors")
    assert full - slim == in_blocks // 2
    assert slim < 0.6 * full


@pytest.mark.slow
def test_slimmed_networks_are_compressed_further(residual, tmp_path):
    data = smoothcert.load_inputs("digits", "train", limit=64)
    slim = tmp_path / "slim.safetensors"
    compress(residual, "prune-channels:0.25", slim)
    for target, out in (
        ("prune-channels:0.25", "a.safetensors"),
        ("prune-layers:0.5", "b.safetensors"),
        ("onnx", "c.onnx"),
        ("int8", "d.onnx"),
        ("bf16", "e.pt2"),
        ("lowrank:0.5", "f.pt2"),
    ):
        change = compress(slim, target, tmp_path / out, inputs=data, sigma=0.25)
        assert change.exact or not change.nothing_changed
        assert logits(tmp_path / out).shape == (100, 10)
    np.testing.assert_allclose(logits(tmp_path / "c.onnx"), logits(slim), atol=1e-4)
    assert weights(tmp_path / "a.safetensors")["6.0.first.0.weight"].shape[0] == 36


def test_widths_are_read_in_the_order_of_the_blocks(tmp_path):
    """A file of another writer lists block 10 of a stage before block 2."""
    inner = tuple(range(3, 57))
    network = zoo.cifar_resnet.build(1, 10, 110, inner).eval()
    save_file(network.state_dict(), tmp_path / "foreign.safetensors")
    again = f"cifar_resnet110@{tmp_path / 'foreign.safetensors'}"
    np.testing.assert_array_equal(logits(again, count=2), logits(network, count=2))


def test_a_slimmed_network_of_another_depth_does_not_fit(residual, tmp_path):
    compress(residual, "prune-channels:0.5", tmp_path / "p.safetensors")
    with pytest.raises(ModelError, match="of 'cifar_resnet8', as it records, and not of 'cif"):
        smoothcert.load_classifier(f"cifar_resnet14@{tmp_path / 'p.safetensors'}")


def test_too_small_a_fraction_is_said_loudly(residual, tmp_path):
    change = compress(residual, "prune-channels:0.01", tmp_path / "p.safetensors")
    assert change.describe().startswith("NOTHING WAS CHANGED: 0 of 112 inner channels")


def test_bad_requests(residual, models, tmp_path):
    with pytest.raises(ModelError, match="prune-channels takes torch models"):
        compress(models / "net.onnx", "prune-channels:0.5", tmp_path / "p.safetensors")
    with pytest.raises(ModelError, match="There is no model file"):
        compress(tmp_path / "no.safetensors", "prune-channels:0.5", tmp_path / "p.safetensors")
    with pytest.raises(InvalidInput, match="prune-channels needs a fraction between 0 and 1"):
        compress(residual, "prune-channels:1", tmp_path / "p.safetensors")
    with pytest.raises(InvalidInput, match=r"prune-channels:0.5 writes a .safetensors file"):
        compress(residual, "prune-channels:0.5", tmp_path / "p.onnx")
