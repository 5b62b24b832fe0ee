"""Low-rank layers: the nearest product of their rank, really in the exported file."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import smoothcert
from smoothcert.compress import compress
from smoothcert.compress.lowrank import cut, factorized
from smoothcert.errors import InvalidInput, ModelError
from support.small_networks import logits, random_network, saved


@pytest.fixture(scope="module")
def data():
    return smoothcert.Inputs.from_arrays(np.zeros((2, 1, 8, 8), np.uint8))


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lowrank")
    network = random_network("cifar_resnet8")
    return saved(network, "cifar_resnet8", folder / "net.safetensors")


LAYERS = {
    "plain": lambda: nn.Conv2d(6, 8, 3),
    "strided": lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
    "dilated": lambda: nn.Conv2d(6, 8, (3, 2), dilation=2, padding=(2, 1), padding_mode="reflect"),
    "same": lambda: nn.Conv2d(6, 8, 5, padding="same"),
    "linear": lambda: nn.Linear(9, 5),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_full_rank_is_the_same_function(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    images = torch.rand(3, 9) if kind == "linear" else torch.rand(3, 6, 9, 9)
    with torch.no_grad():
        two = cut(layer, min(layer.weight.flatten(1).shape))
        torch.testing.assert_close(two(images), layer(images), atol=1e-5, rtol=1e-5)
        less = cut(layer, 2)(images)
    assert (less - layer(images)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rank", [1, 3])
def test_the_error_is_the_discarded_singular_values(kind, rank):
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    first, second = (part.weight.detach().numpy().astype(float) for part in cut(layer, rank))
    assert len(first) == second.shape[1] == rank
    product = np.einsum("or,r...->o...", second.reshape(len(second), rank), first)
    weight = layer.weight.detach().numpy().astype(float)
    values = np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)
    error = np.linalg.norm(product - weight)
    assert error == pytest.approx(np.sqrt((values[rank:] ** 2).sum()), rel=1e-5)


def of_rank(network, fraction):
    """Every convolution and linear matrix replaced by one of exactly this part of full rank."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rows, columns = layer.weight.flatten(1).shape
            rank = max(1, int(fraction * min(rows, columns)))
            left = torch.randn(rows, rank, generator=generator)
            right = torch.randn(rank, columns, generator=generator)
            scale = (rank * columns) ** -0.5
            layer.weight.data = (scale * left @ right).reshape(layer.weight.shape)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_a_network_of_low_rank_keeps_its_logits(suffix, data, tmp_path):
    network = of_rank(random_network("cifar_resnet8"), 0.25)
    file = saved(network, "cifar_resnet8", tmp_path / "net.safetensors")
    compress(file, "lowrank:0.25", tmp_path / f"exact{suffix}", inputs=data)
    np.testing.assert_allclose(logits(tmp_path / f"exact{suffix}"), logits(file), atol=2e-4)
    compress(file, "lowrank:0.2", tmp_path / f"less{suffix}", inputs=data)
    assert np.abs(logits(tmp_path / f"less{suffix}") - logits(file)).max() > 0.01


@pytest.mark.slow
def test_the_exported_file_has_the_smaller_layers(residual, data, tmp_path):
    change = compress(residual, "lowrank:0.25", tmp_path / "l.onnx", inputs=data)
    shapes = {
        tuple(t.dims) for t in onnx.load(tmp_path / "l.onnx").graph.initializer if len(t.dims) == 4
    }
    # The last stage's convolutions, 64 from 32 and from 64 channels, to a quarter of rank 64.
    assert {(16, 32, 3, 3), (16, 64, 3, 3), (64, 16, 1, 1)} <= shapes
    assert not {(64, 32, 3, 3), (64, 64, 3, 3)} & shapes
    kinds = [node.op_type for node in onnx.load(tmp_path / "l.onnx").graph.node]
    assert kinds.count("Conv") == 2 * 9
    assert (change.tensors_changed, change.tensors, change.fraction_changed) == (10, 10, 1.0)
    assert change.bytes_before == residual.stat().st_size


def test_layers_stay_whole_where_nothing_is_saved():
    """By hand: two layers of rank r cost r (outputs + inputs x kernel) multiplications a site."""
    network = nn.Sequential(
        nn.Conv2d(16, 16, 3),  # 2,304 at full rank 16; 14 x 160 = 2,240, so worth it
        nn.Conv2d(1, 16, 3),  # 144 at full rank 9; 7 x 25 = 175
        nn.Conv2d(16, 16, 3, groups=4),
        nn.Linear(10, 10),  # 100 at full rank 10; 8 x 20 = 160
    )
    cut_ones = [type(layer) is nn.Sequential for layer in factorized(network, 0.89)]
    assert cut_ones == [True, False, False, False]
    cut_ones = [type(layer) is nn.Sequential for layer in factorized(network, 0.4)]
    assert cut_ones == [True, True, False, True]
    assert type(network[0]) is nn.Conv2d  # the original is not touched
    assert [type(p) for p in factorized(nn.Linear(10, 10), 0.4)] == [nn.Linear, nn.Linear]


@pytest.mark.slow
def test_what_stays_whole_is_said(residual, data, tmp_path):
    some = compress(residual, "lowrank:0.9", tmp_path / "l.pt2", inputs=data)
    # 3x3 convolutions with 16 outputs from 16, 32 from 32, 64 from 32 and 64 from 64 channels:
    # r < 14.4 of 16 (r = 14), 28.8 of 32 (28), 52.4 of 64 (57), 57.6 of 64 (57).
    wide = {16 * 16: 2, 32 * 32: 1, 64 * 64: 1}
    assert some.tensors_changed == 4
    total = sum(
        t.numel() for t in random_network("cifar_resnet8").state_dict().values() if t.ndim > 1
    )
    assert some.fraction_changed == 9 * sum(k * n for k, n in wide.items()) / total
    assert "6 of 10 stay whole (grouped, or nothing saved)" in some.describe()
    none = compress(residual, "lowrank:0.99", tmp_path / "m.pt2", inputs=data)
    assert none.describe().startswith("NOTHING WAS CHANGED")


def test_bad_requests(residual, models, data, tmp_path):
    with pytest.raises(ModelError, match="is an exported graph, whose layers are fixed"):
        compress(models / "bf16.pt2", "lowrank:0.5", tmp_path / "l.pt2", inputs=data)
    with pytest.raises(ModelError, match="net.onnx is not a torch model"):
        compress(models / "net.onnx", "lowrank:0.5", tmp_path / "l.onnx", inputs=data)
    with pytest.raises(ModelError, match="net.onnx is not a torch model"):  # data would not help
        compress(models / "net.onnx", "lowrank:0.5", tmp_path / "l.onnx")
    with pytest.raises(InvalidInput, match="lowrank needs a fraction between 0 and 1"):
        compress(residual, "lowrank:8", tmp_path / "l.onnx", inputs=data)
    with pytest.raises(InvalidInput, match=r"lowrank:0.5 writes a .pt2 or .onnx file"):
        compress(residual, "lowrank:0.5", tmp_path / "l.safetensors", inputs=data)
    with pytest.raises(InvalidInput, match="lowrank:0.5 needs example data: give --data"):
        compress(residual, "lowrank:0.5", tmp_path / "l.pt2")
