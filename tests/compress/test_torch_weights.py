"""Pruning and rounding of a torch network of somebody's own, and of an exported program."""

import numpy as np
import pytest
import torch
from torch import nn

import smoothcert
from smoothcert.compress import compress
from smoothcert.compress.prune import without_smallest
from smoothcert.compress.symmetric import on_grid
from smoothcert.compress.torch_weights import network_layers
from smoothcert.errors import ModelError

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.place = nn.Parameter(torch.randn(1, 6, 8, 8))
        self.last = nn.Linear(384, 10)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x)) + self.place).flatten(1))

def build():
    torch.manual_seed(0)
    return Net().eval()
"""
LAYERS = ["first.weight", "last.weight"]


@pytest.fixture(scope="module")
def data():
    return smoothcert.load_inputs("digits", limit=20)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The module, importable as `own_network`."""
    import importlib
    import sys

    (tmp_path / "own_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own_network", None)
    yield importlib.import_module("own_network")
    sys.modules.pop("own_network", None)


def state(file):
    network = smoothcert.load_classifier(file).module
    return {k: t.detach().float().numpy() for k, t in network.state_dict().items()}


@pytest.mark.parametrize("source", ["factory", "program"])
def test_pruned_weights_are_the_smallest_of_the_layers(source, own, data, tmp_path):
    """The embedding of places is no layer's weight, and stays."""
    model = "own_network:build"
    before = {k: t.numpy() for k, t in own.build().state_dict().items()}
    if source == "program":
        compress(model, "finetune:1", tmp_path / "p.pt2", inputs=data, sigma=0.25)
        model, before = str(tmp_path / "p.pt2"), state(tmp_path / "p.pt2")
    change = compress(model, "prune:0.3", tmp_path / "q.pt2", inputs=data)
    due = without_smallest({k: before[k] for k in LAYERS}, 0.3)
    after = state(tmp_path / "q.pt2")
    for name, values in before.items():
        assert np.array_equal(after[name], due.get(name, values)), name
    assert change.tensors == 2
    assert change.fraction_changed == pytest.approx(0.3, abs=0.001)
    logits = smoothcert.load_classifier(tmp_path / "q.pt2").logits(np.full((3, 1, 8, 8), 0.4, "f4"))
    network = own.build()
    network.load_state_dict({k: torch.tensor(v) for k, v in after.items()})
    with torch.no_grad():
        wanted = network(torch.full((3, 1, 8, 8), 0.4)).numpy()
    assert np.allclose(logits, wanted, atol=1e-5)


def test_a_network_is_not_changed_by_its_compression(own, data, tmp_path):
    before = smoothcert.load_classifier("own_network:build").fingerprint
    compress("own_network:build", "prune-layers:0.5", tmp_path / "q.pt2", inputs=data)
    assert smoothcert.load_classifier("own_network:build").fingerprint == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["int8-weights", "int4-weights", "fp8-weights", "int4-weights:9"]
)
def test_rounded_weights_are_on_the_grid_of_each_output(target, own, data, tmp_path):
    compress("own_network:build", target, tmp_path / "q.pt2", inputs=data)
    before, after = own.build().state_dict(), state(tmp_path / "q.pt2")
    for name in LAYERS:
        precision, _, group = target.partition("-weights")
        wanted = on_grid(before[name].numpy(), 0, precision, int(group[1:] or 0))
        assert np.array_equal(after[name], wanted)
    assert np.array_equal(after["place"], before["place"].numpy())


def test_bf16_weights_round_everything(own, data, tmp_path):
    compress("own_network:build", "bf16-weights", tmp_path / "q.pt2", inputs=data)
    before, after = own.build().state_dict(), state(tmp_path / "q.pt2")
    for name, tensor in before.items():
        if tensor.is_floating_point():
            assert np.array_equal(after[name], tensor.bfloat16().float().numpy()), name


def test_what_has_no_weights_left_is_refused(models, data, tmp_path, own):
    compress("own_network:build", "int8-pt2e", tmp_path / "i.pt2", inputs=data, sigma=0.25)
    with pytest.raises(ModelError, match="no float32 weights"):
        compress(tmp_path / "i.pt2", "prune:0.2", tmp_path / "q.pt2", inputs=data)


def test_attention_counts_as_layers():
    found = {one.weight: one for one in network_layers(nn.TransformerEncoderLayer(8, 2, 16))}
    assert found["self_attn.in_proj_weight"].bias == "self_attn.in_proj_bias"
    assert (found["linear1.weight"].node, found["linear1.weight"].bias) == (
        "linear1",
        "linear1.bias",
    )
    assert "norm1.weight" not in found
    alone = network_layers(nn.Linear(3, 2, bias=False))
    assert [(one.names, one.bias, one.parameters) for one in alone] == [(("weight",) * 3, "", 6)]
