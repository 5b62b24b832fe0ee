"""Channels of any torch network: which may go, and that the rest computes what it did without."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert.compress import compress
from smoothcert.compress.channel_graph import widths
from smoothcert.errors import InvalidInput, ModelError
from support.command_line import run_in
from support.small_networks import random_network, saved

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x):
        return F.relu(x + self.norms[1](self.two(F.silu(self.norms[0](self.one(x))))))


class Residual(nn.Module):
    '''Stem and sums keep their width; the inner of each block may shrink.'''
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, padding_mode="reflect"), nn.PReLU(6), nn.MaxPool2d(2),
            nn.Conv2d(6, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.LeakyReLU(0.1),
            nn.AvgPool2d((2, 1)),
        )
        self.top = nn.Sequential(
            nn.Dropout(), nn.Linear(96, 20), nn.BatchNorm1d(20), nn.GELU(), nn.Linear(20, 10)
        )

    def forward(self, x):
        x = self.features(x)
        return self.top(x.view(x.size(0), -1))


class Mobile(nn.Module):
    '''Depthwise convolutions, a concatenation, a gate: only the two layers at the end.'''
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point, self.side = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
        self.gate = nn.Linear(12, 12)
        self.wide, self.narrow = nn.Conv2d(12, 16, 3, stride=2), nn.Conv2d(16, 6, 2)
        self.last = nn.Linear(6, 10)

    def forward(self, x):
        x = F.hardswish(self.deep(F.relu6(self.stem(x))))
        x = torch.cat([self.point(x), self.side(x)], 1)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        x = F.max_pool2d(F.elu(self.wide(x)), 2, 1)
        return self.last(torch.flatten(F.adaptive_avg_pool2d(self.narrow(x), 1), 1))


class Attention(nn.Module):
    '''Of a transformer, what is inside of its two layers of each place.'''
    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Linear(8, 12), nn.LayerNorm(12)
        self.attend = nn.MultiheadAttention(12, 2, batch_first=True)
        self.up, self.down, self.last = nn.Linear(12, 24), nn.Linear(24, 12), nn.Linear(12, 10)

    def forward(self, x):
        x = self.embed(x.flatten(1, 2))
        x = x + self.attend(x, x, x, need_weights=False)[0]
        return self.last((x + self.down(F.gelu(self.up(self.norm(x))))).mean(1))


class Shared(nn.Module):
    '''One layer twice, and another whose weights are those of a second.'''
    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.tied, self.same = nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        self.same.weight = self.tied.weight
        self.last = nn.Linear(256, 10)

    def forward(self, x):
        x = F.relu(self.again(F.relu(self.again(F.relu(self.first(x))))))
        return self.last(F.relu(self.same(F.relu(self.tied(x)))).flatten(1))


class Read(nn.Module):
    '''Channels that something else reads too: a shape that mixes them, the channels' softmax.'''
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.c, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x):
        x = self.b(torch.softmax(self.a(x), 1))
        x = self.c(x.reshape(-1, 1, 8, 8)).reshape(x.shape[0], 4, 4, 8, 8).mean((1, 3))
        return self.last(x.mean(2).repeat(1, 4))


def make(name):
    torch.manual_seed(1)
    network = globals()[name]().eval()
    with torch.no_grad():
        for each in network.modules():
            if isinstance(each, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for tensor in (each.running_mean, each.bias):
                    tensor.normal_()
                for tensor in (each.running_var, each.weight):
                    tensor.uniform_(0.5, 2)
    return network
"""
INNER = {
    "Residual": {"blocks.0.one": "blocks.0.two", "blocks.1.one": "blocks.1.two"},
    "Vgg": {"features.0": "features.3", "features.3": "top.1", "top.1": "top.4"},
    "Mobile": {"wide": "narrow", "narrow": "last"},
    "Attention": {"up": "down"},
}
IMAGES = np.random.default_rng(0).normal(0.5, 0.5, (5, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def data():
    return smoothcert.load_inputs("digits", limit=20)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_shapes.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own_shapes", None)
    yield tmp_path
    sys.modules.pop("own_shapes", None)


def built(name):
    return import_module("own_shapes").make(name)


def program(network, rows=0):
    batch = None if rows else ({0: torch.export.Dim("batch")},)
    return torch.export.export(
        network, (torch.from_numpy(IMAGES[: rows or 2]),), dynamic_shapes=batch
    )


def without(network, pairs, fraction):
    """The network whose smallest channels count as zero in their reader, and how many those are."""
    gone = 0
    for writer, reader in pairs.items():
        norms = network.get_submodule(writer).weight.abs().flatten(1).sum(1).detach().numpy()
        smallest = np.argsort(norms, kind="stable")[: int(fraction * len(norms))]
        read = network.get_submodule(reader).weight.data
        columns = read.shape[1] // len(norms)
        for channel in smallest:
            read[:, channel * columns : (channel + 1) * columns] = 0
        gone += len(smallest)
    return network, gone


def scores(model):
    return smoothcert.load_classifier(model).logits(IMAGES)


def by_hand(network):
    with torch.no_grad():
        return network(torch.from_numpy(IMAGES)).numpy()


def weights(model):
    state = smoothcert.load_classifier(model).module.state_dict()
    return {k: t.detach().numpy() for k, t in state.items() if t.ndim > 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("source", ["factory", "program", "fixed"])
def test_it_computes_what_the_network_does_with_these_channels_zero(name, source, data, folder):
    model, out = f"own_shapes:make,name={name}", folder / "slim.pt2"
    if source != "factory":
        torch.export.save(program(built(name), rows=5 * (source == "fixed")), folder / "p.pt2")
        model = str(folder / "p.pt2")
    change = compress(model, "prune-channels:0.4", out, inputs=data)
    expected, gone = without(built(name), INNER[name], 0.4)
    assert change.describe().startswith(f"{gone} of ")
    assert gone > 0
    assert np.allclose(scores(out), by_hand(expected), atol=1e-5)
    assert not np.allclose(scores(out), by_hand(built(name)), atol=1e-3)
    before, after = ({k: w.shape for k, w in weights(m).items()} for m in (model, out))
    narrower = {k for k in before if before[k] != after[k]}
    assert narrower == {f"{layer}.weight" for pair in INNER[name].items() for layer in pair}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's, on itself
@pytest.mark.parametrize("name", INNER)
def test_of_a_program_in_core_operators_what_is_found_is_right(name, data, folder):
    """Their linear layers are products of transposed matrices, which stay."""
    torch.export.save(program(built(name)).run_decompositions(), folder / "p.pt2")
    found = widths(smoothcert.load_classifier(folder / "p.pt2").module)
    pairs = {
        x.weight.removesuffix(".weight"): x.reader.removesuffix(".weight") for x in found.layers
    }
    assert pairs.items() <= INNER[name].items()
    if name != "Mobile":
        assert not pairs  # silu and prelu are sums and products there
        with pytest.raises(
            ModelError, match="no channels that one layer|only products of matrices"
        ):
            compress(folder / "p.pt2", "prune-channels:0.4", folder / "o.pt2", inputs=data)
        return
    compress(folder / "p.pt2", "prune-channels:0.4", folder / "slim.pt2", inputs=data)
    expected, _ = without(built(name), pairs, 0.4)
    assert np.allclose(scores(folder / "slim.pt2"), by_hand(expected), atol=1e-5)


@pytest.mark.slow
def test_the_layers_that_are_found():
    for name, pairs in INNER.items():
        found = widths(program(built(name)).module())
        assert {(x.weight, x.reader) for x in found.layers} == {
            (f"{a}.weight", f"{b}.weight") for a, b in pairs.items()
        }
    why = " ".join(widths(program(built("Mobile")).module()).kept)
    for reason in (
        *("deep.weight is grouped", "point.weight goes into cat", "gate.weight goes into slice"),
        *("stem.weight is read by conv2d_1, which is grouped", "last.weight is what the network"),
    ):
        assert reason in why


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        (
            "Shared",
            [
                "first.weight is read by conv2d_1, which has weights that are used twice",
                "again.weight has weights that are used twice",
                "and 3 more",
            ],
        ),
        ("Read", ["a.weight goes into softmax", "b.weight goes into reshape of another shape"]),
    ],
)
def test_a_network_without_inner_channels_is_refused_with_the_reasons(name, reasons, data, folder):
    with pytest.raises(ModelError, match="no channels that one layer writes") as refused:
        compress(
            f"own_shapes:make,name={name}", "prune-channels:0.4", folder / "o.pt2", inputs=data
        )
    for reason in reasons:
        assert reason in str(refused.value)
    assert not (folder / "o.pt2").exists()


@pytest.mark.slow
def test_the_zoo_as_a_program_loses_what_its_weights_lose(folder, data):
    """But `small_cnn` also channels of its last convolution, whose width the zoo cannot state."""
    file = saved(random_network("cifar_resnet8"), "cifar_resnet8", folder / "net.safetensors")
    for name in ("slim.safetensors", "slim.pt2"):
        compress(file, "prune-channels:0.3", folder / name, inputs=data)
    np.testing.assert_allclose(
        scores(folder / "slim.safetensors"), scores(folder / "slim.pt2"), atol=1e-5
    )
    file = saved(random_network("small_cnn"), "small_cnn", folder / "s.safetensors")
    compress(file, "prune-channels:0.5", folder / "s.pt2", inputs=data)
    assert sorted(w.shape[0] for w in weights(folder / "s.pt2").values()) == [8, 10, 16, 16]


@pytest.mark.slow
def test_every_command_takes_it_behind_its_preprocessing_too(data, folder):
    (folder / "p.json").write_text('{"mean": 0.4, "std": 0.3}')
    model, slim = f"own_shapes:make,name=Vgg+{folder}/p.json", folder / "slim.pt2"
    compress(model, "prune-channels:0.25", slim, inputs=data)
    expected, _ = without(built("Vgg"), INNER["Vgg"], 0.25)
    with torch.no_grad():
        due = expected(torch.from_numpy((IMAGES - np.float32(0.4)) / np.float32(0.3))).numpy()
    assert np.allclose(scores(slim), due, atol=1e-5)
    more = ("--data", "digits", "--sigma", "0.25")
    run_in("certify", model, *more, "--limit", 4, "--n", 50, "--out", "base", cwd=folder)
    run_in("recertify", slim, "--base", "base", "--out", "again", cwd=folder)
    for target, out in (
        *(("prune-channels:0.25", "a.pt2"), ("onnx", "b.onnx"), ("int8", "c.onnx")),
        *(("int8-weights", "d.pt2"), ("finetune:1", "e.pt2")),
    ):
        change = compress(slim, target, folder / out, inputs=data, sigma=0.25)
        assert change.exact or not change.nothing_changed
    assert np.allclose(scores(folder / "b.onnx"), scores(slim), atol=1e-4)
    widest = [max(len(w) for w in weights(m).values()) for m in (model, slim, folder / "a.pt2")]
    assert widest == [20, 15, 12]


@pytest.mark.slow
def test_nothing_and_bad_requests_are_said(models, data, folder):
    model = "own_shapes:make,name=Vgg"
    change = compress(model, "prune-channels:0.01", folder / "o.pt2", inputs=data)
    assert change.describe().startswith("NOTHING WAS CHANGED: 0 of 38 inner channels")
    with pytest.raises(InvalidInput, match=r"writes a .pt2 file"):
        compress(model, "prune-channels:0.5", folder / "p.safetensors", inputs=data)
    with pytest.raises(InvalidInput, match="needs example data"):
        compress(model, "prune-channels:0.5", folder / "p.pt2")
    with pytest.raises(ModelError, match="prune-channels takes torch models"):
        compress(models / "net.onnx", "prune-channels:0.5", folder / "p.pt2", inputs=data)
