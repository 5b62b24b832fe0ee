"""adapt of torch.export programs."""

import json
import shlex

import numpy as np
import pytest
import torch
from torch import nn

import smoothcert
from smoothcert.adapt import adapt, seen
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.errors import InvalidInput, ModelError
from support.command_line import run_in

IMAGES = np.random.default_rng(0).random((6, 3, 8, 8)).astype(np.float32)
WANTED = Preprocessing(scale=255, channels="bgr", mean=(103.0, 116.0, 123.0), std=(58.0,))


class Network(nn.Module):
    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.linear = nn.Linear(192, 10)
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, x):
        if self.form == "normalized":
            x = (x - self.shift) / 0.25
        if self.form == "nhwc":
            x = x.permute(0, 3, 1, 2)
        return self.linear(x.flatten(1)).softmax(1)


def write(path, form="plain", rows=None):
    shape = (8, 8, 3) if form == "nhwc" else (3, 8, 8)
    network = Network(form).eval()
    limits = {"max": 64} if rows == "some" else {}
    dynamic = None if isinstance(rows, int) else ({0: torch.export.Dim("batch", **limits)},)
    example = torch.zeros(rows if isinstance(rows, int) else 2, *shape)
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=dynamic), path)
    return network


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "rows", "wanted"),
    [
        ("plain", None, WANTED),
        ("plain", 6, WANTED),
        ("plain", "some", WANTED),
        ("nhwc", None, Preprocessing(mean=(0.5,), std=(0.25,), layout="nhwc")),
    ],
)
def test_a_program_computes_what_its_owner_did_by_hand(form, rows, wanted, tmp_path):
    network = write(tmp_path / "m.pt2", form, rows)
    done = adapt(tmp_path / "m.pt2", tmp_path / "a.pt2", wanted)
    assert done.rows == (rows if isinstance(rows, int) else None)
    assert done.difference.single < 1e-5
    adapted = smoothcert.load_classifier(tmp_path / "a.pt2")
    with torch.no_grad():
        expected = network(torch.from_numpy(wanted.apply(IMAGES))).numpy()
    assert np.abs(adapted.logits(IMAGES) - expected).max() < 1e-5
    with torch.no_grad():  # the control
        wrong = network(torch.from_numpy(Preprocessing(layout=wanted.layout).apply(IMAGES))).numpy()
    assert np.abs(wrong - expected).max() > 1e-3


@pytest.mark.slow
def test_it_is_seen_adapted_and_certified_by_commands(tmp_path):
    write(tmp_path / "m.pt2", "nhwc")
    out, _ = run_in("adapt", "m.pt2", cwd=tmp_path)
    assert "channels last" in out
    command = out.strip().splitlines()[-1].strip()
    assert command == "smoothcert adapt m.pt2 --layout nhwc --out m-adapted.pt2"
    run_in(*shlex.split(command)[1:], cwd=tmp_path)
    np.savez(tmp_path / "d.npz", x=np.round(255 * IMAGES).astype(np.uint8), y=np.arange(6))
    draws = ("--sigma", 0.25, "--n0", 8, "--n", 16)
    run_in("certify", "m-adapted.pt2", "--data", "d.npz", *draws, "--out", "r", cwd=tmp_path)


@pytest.mark.slow
def test_a_first_normalization_is_seen(tmp_path):
    write(tmp_path / "m.pt2", "normalized")
    assert seen(str(tmp_path / "m.pt2")).normalizes == ("sub", "div")
    assert seen(str(tmp_path / "m.pt2")).probabilities
    write(tmp_path / "m.pt2")
    assert seen(str(tmp_path / "m.pt2")).normalizes == ()


def test_refused_in_words(tmp_path):
    write(tmp_path / "m.pt2")
    for wanted, message in (
        (Preprocessing(resize=(8, 8)), r"m.pt2\+preprocess.json"),
        (Preprocessing(), "nothing to put in front"),
        (Preprocessing(mean=(0.1, 0.2)), "takes 3 channels, but the preprocessing is for 2"),
        (Preprocessing(layout="flat"), "keeps the sizes that it was exported with"),
    ):
        with pytest.raises((InvalidInput, ModelError), match=message):
            adapt(tmp_path / "m.pt2", tmp_path / "a.pt2", wanted)
    with pytest.raises(InvalidInput, match=r"writes a .pt2 file"):
        adapt(tmp_path / "m.pt2", tmp_path / "a.onnx", WANTED)
    (tmp_path / "p.json").write_text(json.dumps({"mean": 0.5}))
    with pytest.raises(ModelError, match="needs no new file"):
        adapt(f"{tmp_path / 'm.pt2'}+{tmp_path / 'p.json'}", tmp_path / "a.pt2", WANTED)
    (tmp_path / "b.pt2").write_bytes((tmp_path / "m.pt2").read_bytes()[:500])
    with pytest.raises(ModelError):
        adapt(tmp_path / "b.pt2", tmp_path / "a.pt2", WANTED)
    assert not (tmp_path / "a.pt2").exists()
