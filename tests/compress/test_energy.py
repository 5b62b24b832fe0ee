"""The energy proxy: counts by hand for each kind of layer, the same in torch and in ONNX."""

import numpy as np
import pytest
import torch
from torch import nn

import smoothcert
from smoothcert.compress import EnergyProxy, compress, energy_proxy
from smoothcert.compress.export import to_onnx
from smoothcert.data.inputs import Inputs
from smoothcert.errors import ModelError

pytestmark = pytest.mark.slow

CODE = """
import torch
from torch import nn

class Kinds(nn.Module):
    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(2, 6, 3, padding=1, stride=2)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.transposed = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.gemm, self.matmul = nn.Linear(4, 7), nn.Linear(7, 5, bias=False)

    def forward(self, x):
        x = torch.relu(self.transposed(torch.relu(self.grouped(self.plain(x)))))
        return self.matmul(torch.relu(self.gemm(x.mean((2, 3)))))

def build():
    torch.manual_seed(0)
    return Kinds().eval()
"""
BY_HAND = (
    4 * 4 * 6 * (2 * 9)  # plain: 4x4 places, 6 channels
    + 4 * 4 * 6 * (2 * 9)  # grouped: 2 of 6 channels each
    + 4 * 4 * 6 * (4 * 2 * 2)  # transposed: every input goes to 2x2 places in 4 channels
    + 4 * 7
    + 7 * 5
)
WEIGHTS = 6 * 2 * 9 + 6 + 6 * 2 * 9 + 6 + 6 * 4 * 4 + 4 + 4 * 7 + 7 + 7 * 5


@pytest.fixture
def kinds(tmp_path, monkeypatch):
    import importlib
    import sys

    (tmp_path / "energy_kinds.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("energy_kinds", None)
    network = importlib.import_module("energy_kinds").build()
    to_onnx(network, (2, 8, 8), tmp_path / "kinds.onnx")
    to_onnx(network, (2, 8, 8), tmp_path / "fixed.onnx", 3)
    yield {
        "torch": "energy_kinds:build",
        "onnx": tmp_path / "kinds.onnx",
        "fixed": tmp_path / "fixed.onnx",
    }
    sys.modules.pop("energy_kinds", None)


@pytest.fixture
def images():
    return Inputs.from_arrays(
        np.random.default_rng(0).integers(0, 9, (8, 2, 8, 8)) / 8, None, 1 / 8
    )


@pytest.mark.parametrize("form", ["torch", "onnx", "fixed"])
def test_every_kind_of_layer_by_hand(form, kinds, images):
    found = energy_proxy(kinds[form], images)
    assert found.multiply_adds == {32: BY_HAND}
    assert WEIGHTS * 32 <= found.weight_bits < WEIGHTS * 32 + 1000  # and some constants
    if form == "torch":
        assert found.weight_bits == WEIGHTS * 32


def test_the_formula():
    found = EnergyProxy(64, {32: 10, 16: 100, 8: 1000})
    assert found.picojoules == pytest.approx(1300 + 46 + 150 + 300)


@pytest.mark.parametrize(
    ("target", "out", "width", "bits"),
    [
        ("onnx", "o.onnx", 32, 32),
        ("onnx+int8", "o.onnx", 8, 8),
        ("onnx+int8-dynamic", "o.onnx", 8, 8),
        ("onnx+int4-weights", "o.onnx", 32, 4),
        ("onnx+bf16-weights", "o.onnx", 32, 16),
        ("onnx+fp8-weights", "o.onnx", 32, 8),
        ("bf16", "o.pt2", 16, 16),
        ("int8-pt2e", "o.pt2", 32, 8),
        ("bf16-weights", "o.safetensors", 32, 16),
        ("prune:0.2", "o.pt2", 32, 32),
    ],
)
def test_compressed_files(target, out, width, bits, residual, train_inputs, tmp_path):
    original = energy_proxy(residual / "net.safetensors", train_inputs)
    compress(residual / "net.safetensors", target, tmp_path / out, inputs=train_inputs, sigma=0.25)
    found = energy_proxy(tmp_path / out, train_inputs)
    assert found.multiply_adds == {width: original.multiply_adds[32]}
    assert found.weight_bits == pytest.approx(bits / 32 * original.weight_bits, rel=0.1)
    assert (found.picojoules < original.picojoules) == (target not in ("onnx", "prune:0.2")) or (
        target == "onnx"  # normalization is in the convolutions
    )


def test_exceptions_are_counted_at_their_own_width(residual, train_inputs, tmp_path):
    target = "int8:5.0.second=fp32"
    compress(residual / "net.onnx", target, tmp_path / "q.onnx", inputs=train_inputs, sigma=0.25)
    found = energy_proxy(tmp_path / "q.onnx", train_inputs).multiply_adds
    whole = energy_proxy(residual / "net.onnx", train_inputs).multiply_adds[32]
    assert found == {32: 4 * 4 * 32 * 32 * 9, 8: whole - 4 * 4 * 32 * 32 * 9}


def test_fewer_channels_are_fewer_products(residual, train_inputs, tmp_path):
    out = tmp_path / "n.safetensors"
    compress(residual / "net.safetensors", "prune-channels:0.5", out, inputs=train_inputs)
    one, other = (energy_proxy(m, train_inputs) for m in (residual / "net.safetensors", out))
    assert other.multiply_adds[32] < 0.6 * one.multiply_adds[32]
    assert other.weight_bits < 0.6 * one.weight_bits


def test_attention_counts_its_products_of_activations():
    """On a network by itself, since a transformer needs no file: rows times rows."""
    from smoothcert.classifiers.pytorch import TorchClassifier
    from smoothcert.compress.energy import _of_network

    class Attention(nn.Module):
        def forward(self, x):
            x = x.flatten(2).transpose(1, 2)  # (B, 64, 2)
            return (x @ x.transpose(1, 2)).mean(1)[:, :3]

    found = _of_network(TorchClassifier.of(Attention(), "a"), None, (2, 8, 8))
    assert found.multiply_adds == {32: 64 * 64 * 2}
    assert found.weight_bits == 0


def test_what_cannot_be_counted_is_refused(images, tmp_path, monkeypatch):
    import sys

    code = """
import smoothcert
def build():
    return smoothcert.from_function(lambda x: x.reshape(len(x), -1)[:, :2], "f", "1")
"""
    (tmp_path / "energy_function.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("energy_function", None)
    with pytest.raises(ModelError, match="neither an ONNX file nor a torch network"):
        energy_proxy("energy_function:build", images)
    with pytest.raises(ModelError, match="There is no model file"):
        energy_proxy(tmp_path / "gone.onnx", images)


def test_counting_leaves_no_trace(residual, train_inputs):
    before = smoothcert.load_classifier(residual / "net.safetensors").fingerprint
    energy_proxy(residual / "net.safetensors", train_inputs)
    assert smoothcert.load_classifier(residual / "net.safetensors").fingerprint == before
    assert torch.is_grad_enabled()
