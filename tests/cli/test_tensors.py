"""Inputs that are no images, from a file through every command."""

import json

import numpy as np
import pytest

import smoothcert
from smoothcert.compress import compress
from smoothcert.errors import InvalidInput
from smoothcert.runs.store import Run
from smoothcert.training.gaussian import train
from smoothcert.training.recipe import recipe
from support.command_line import run_in

MODELS = """
import torch
from torch import nn

def table():  # fitted by hand: the class is the larger of two halves' sums
    network = nn.Sequential(nn.Linear(6, 2), nn.Identity(), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]))
        network[2].weight.copy_(torch.eye(2))
        network[0].bias.zero_(), network[2].bias.zero_()
    return network

class Series(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = table()

    def forward(self, series):  # (batch, 3 moments, 2 sensors)
        assert series.shape[1:] == (3, 2)
        return self.inner(series.transpose(1, 2).flatten(1))

def series():
    return Series()
"""


@pytest.fixture
def folder(tmp_path):
    """The factories, and a table of 8 rows as a file and as a series of 3 moments, 2 sensors."""
    (tmp_path / "mine.py").write_text(MODELS)
    steps = np.random.default_rng(0).integers(0, 101, (8, 6))
    y = (steps[:, 3:].sum(axis=1) > steps[:, :3].sum(axis=1)).astype(int)
    np.savez(tmp_path / "table.npz", x=steps / 100, y=y)
    turned = steps.reshape(8, 2, 3).transpose(0, 2, 1)
    np.savez(tmp_path / "series.npz", inputs=turned / 100, y=y)
    return tmp_path


def check(certificates, folder):
    """The classifier is linear, so what is certified has a true radius: the distance to its
    boundary, |sum of one half minus sum of the other| / sqrt(6)."""
    with np.load(folder / "table.npz") as archive:
        x, y = archive["x"], archive["y"]
    distances = np.abs(x[:, :3].sum(axis=1) - x[:, 3:].sum(axis=1)) / np.sqrt(6)
    certified = [c for c in certificates if c.predicted >= 0]
    assert len(certified) >= 4
    for certificate in certified:
        true = distances[certificate.index]
        assert certificate.predicted == y[certificate.index]
        assert min(true - 0.15, 0.4) < certificate.radius <= true


@pytest.mark.slow
def test_a_table_through_every_command(folder):
    common = ("--data", "table.npz", "--grid", "1/100")
    settings = ("--sigma", 0.2, "--n0", 50, "--n", 2000)
    run_in("certify", "mine:table", *common, *settings, "--out", "base", cwd=folder)
    base = Run.open(folder / "base")
    assert (base.identity.shape, base.identity.settings.levels) == ((6,), 100)
    check(base.certificates, folder)
    to_int8 = ("--to", "int8", *common, "--sigma", 0.2, "--out", "q.onnx")
    run_in("compress", "mine:table", *to_int8, cwd=folder)
    out, _ = run_in("recertify", "q.onnx", "--base", "base", "--out", "new", "--json", cwd=folder)
    assert json.loads(out)["certified"] >= 4
    run_in("report", "base", "new", "--out", "report", cwd=folder)
    assert (folder / "report" / "index.html").read_text().count("<tr") >= 2 * 8
    run_in("verify", "new", "--replay", "10%", cwd=folder)


@pytest.mark.slow
def test_a_series(folder, monkeypatch):
    monkeypatch.chdir(folder)
    data = smoothcert.load_inputs("series.npz", grid=1 / 100)
    assert data.shape == (3, 2)
    original = smoothcert.certify("mine:series", data, 0.2, n0=50, n=2000)
    check(original.certificates, folder)
    compress("mine:series", "onnx", "m.onnx", inputs=data)
    new = smoothcert.recertify(original, "m.onnx", data, per_input=2000)
    check(new.certificates, folder)


def test_training_says_that_the_zoo_takes_images(folder):
    data = smoothcert.load_inputs(str(folder / "table.npz"), grid=1 / 100)
    with pytest.raises(InvalidInput, match=r"inputs of shape \(6,\); the zoo's networks take imag"):
        train(recipe("quick", 0.2), data)
