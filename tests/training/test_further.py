"""train MODEL: any torch network is trained further, and written as what every command takes."""

import json

import pytest
import torch

import smoothcert
from smoothcert.training.gaussian import accuracy
from smoothcert.training.recipe import Recipe
from support.command_line import run_in

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1),
            nn.Flatten(), nn.Linear(512, 10),
        )

    def forward(self, x):
        return self.body((x - 0.5) / 0.5)

def fresh():
    torch.manual_seed(0)
    return Net()
"""
COMMON = ("--data", "digits", "--limit", 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network of somebody's own, trained without noise."""
    path = tmp_path_factory.mktemp("further")
    (path / "mine.py").write_text(NETWORK)
    run_in(
        "train", "mine:fresh", *COMMON, "--sigma", 0, "--epochs", 6, "--out", "plain.pt2", cwd=path
    )
    return path


def noisy(file, sigma=0.75):
    return accuracy(
        smoothcert.load_classifier(file).module, smoothcert.load_inputs("digits"), sigma
    )


@pytest.mark.slow
def test_noise_is_learned_by_a_factory_and_by_a_program(folder):
    """A program keeps its normalization statistics, and its dropout is left out."""
    assert noisy(folder / "plain.pt2", 0.0) > 0.8
    tune = (*COMMON, "--sigma", 0.75, "--epochs", 15, "--json")
    found = json.loads(run_in("train", "plain.pt2", *tune, "--out", "tuned.pt2", cwd=folder)[0])
    assert found["model"] == "tuned.pt2"
    assert found["recipe"]["crop_and_flip"] is False
    assert noisy(folder / "tuned.pt2") > noisy(folder / "plain.pt2") + 0.05
    before, after = (
        {k: t for k, t in smoothcert.load_classifier(folder / f).module.state_dict().items()}
        for f in ("plain.pt2", "tuned.pt2")
    )
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert {"body.0.weight", "body.5.weight"} <= moved
    assert not any("running" in k for k in moved)


@pytest.mark.slow
def test_a_program_behind_its_preprocessing_is_trained_and_pruned(folder):
    """Which was refused as a fault of this package, and as a network without weights."""
    (folder / "p.json").write_text('{"mean": 0.1, "std": 0.9}')
    tune = (*COMMON, "--sigma", 0.5, "--epochs", 1, "--out", "behind.pt2")
    run_in("train", "plain.pt2+p.json", *tune, cwd=folder)
    prune = ("--to", "prune:0.5", "--data", "digits", "--out", "pruned.pt2")
    run_in("compress", "behind.pt2", *prune, cwd=folder)
    run_in("compress", "plain.pt2+p.json", *prune, "--overwrite", cwd=folder)
    state = smoothcert.load_classifier(folder / "pruned.pt2").module.state_dict()
    zeros = sum(int((t == 0).sum()) for k, t in state.items() if t.ndim > 1 and "weight" in k)
    assert zeros == (8 * 9 + 5120) // 2
    _, err = run_in(
        *("compress", "plain.pt2+p.json", "--to", "lowrank:0.5", "--data", "digits"),
        *("--out", "l.pt2"),
        cwd=folder,
        code=2,
    )
    assert "an exported graph, whose layers are fixed" in err


def test_a_network_of_the_zoo_keeps_its_format(models, folder):
    out, _ = run_in(
        *("train", models / "net.safetensors", *COMMON, "--sigma", 0.5, "--epochs", 1, "--json"),
        *("--out", "zoo.safetensors"),
        cwd=folder,
    )
    assert json.loads(out)["model"] == "small_cnn@zoo.safetensors"
    assert smoothcert.load_classifier(folder / "zoo.safetensors").name.startswith("small_cnn@")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{models}/net.onnx", "--out", "y.pt2"), "cannot be trained here"),
        (("{models}/int8.onnx", "--out", "y.pt2"), "Train the network that it was exported from"),
        (("mine:fresh", "--out", "y.safetensors"), "is written as a .pt2 program"),
        (("--out", "y.pt2"), "Weights are written as .safetensors"),
        (("mine:fresh", "--arch", "small_cnn", "--out", "y.pt2"), "--arch names a network"),
        (("mine:gone", "--out", "y.pt2"), "has no 'gone'"),
    ],
)
def test_what_cannot_be_trained(arguments, said, models, folder):
    given = [str(a).replace("{models}", str(models)) for a in arguments]
    _, err = run_in("train", *given, *COMMON, "--sigma", 0.5, cwd=folder, code=2)
    assert said in err
    assert not (folder / "y.pt2").exists()


def test_a_stopped_training_belongs_to_its_network(folder, tmp_path):
    """The checkpoint of another network is not continued."""
    from smoothcert.training.checkpoint import Checkpoint

    (tmp_path / "mine.py").write_text(NETWORK)
    other = Checkpoint(tmp_path / "t.checkpoint", Recipe("", 0.5), "another")
    torch.save({"belongs_to": other.belongs_to, "epoch": 1}, tmp_path / "t.checkpoint")
    tune = (*COMMON, "--sigma", 0.5, "--epochs", 1, "--resume", "--out", "t.pt2")
    _, err = run_in("train", "mine:fresh", *tune, cwd=tmp_path, code=2)
    assert "belongs to another" in err
