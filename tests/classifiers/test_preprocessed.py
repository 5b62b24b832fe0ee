"""`MODEL+preprocess.json`: preprocessing in front of a torch model is part of the classifier."""

import json
import shlex

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert.classifiers.preprocessing_files import given
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress import compress
from smoothcert.errors import InvalidInput, ModelError
from support.command_line import run_in

MINE = """
import torch


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 10)
    )


class Last(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        return self.inner(x.permute(0, 3, 1, 2))


def last():
    return Last()


def row():
    torch.manual_seed(0)
    return torch.nn.Linear(64, 10)
"""
FRONT = {"scale": 255, "mean": 100, "std": [50]}
IMAGES = np.random.default_rng(0).random((5, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_net.py").write_text(MINE)
    (tmp_path / "p.json").write_text(json.dumps(FRONT))
    (tmp_path / "last.json").write_text(json.dumps(FRONT | {"layout": "nhwc"}))
    (tmp_path / "row.json").write_text(json.dumps(FRONT | {"layout": "flat"}))
    (tmp_path / "size.json").write_text(json.dumps({"resize": [8, 8], "resampling": "bicubic"}))
    return tmp_path


def module(name):
    import importlib

    return getattr(importlib.import_module("own_net"), name)().eval()


@pytest.mark.parametrize(
    ("reference", "side"),
    [
        *[("own_net:net+p.json", 8), ("own_net:last+last.json", 8), ("own_net:row+row.json", 8)],
        *[("own_net:net+size.json", 11), ("own_net:net+size.json", 5)],
    ],
)
def test_logits_are_those_of_the_preprocessing_by_hand(reference, side, folder):
    images = np.random.default_rng(0).random((5, 1, side, side)).astype(np.float32)
    name, file = reference.removeprefix("own_net:").split("+")
    wanted, _ = given(folder / file, {})
    with torch.no_grad():
        expected = module(name)(torch.from_numpy(wanted.apply(images))).numpy()
    found = smoothcert.load_classifier(reference)
    assert found.name == reference
    assert np.abs(found.logits(images) - expected).max() < 1e-5 * np.abs(expected).max()


def test_it_is_part_of_the_fingerprint(folder):
    references = ["own_net:net", "own_net:net+p.json", "own_net:net+size.json"]
    found = [smoothcert.load_classifier(reference).fingerprint for reference in references]
    assert len(set(found)) == 3
    (folder / "q.json").write_text(json.dumps({"std": 50.0, "mean": [100.0], "scale": 255.0}))
    same = smoothcert.load_classifier("own_net:net+q.json")
    assert same.fingerprint == found[1]  # what it says counts, not its name or its bytes
    (folder / "p.json").write_text(json.dumps(FRONT | {"mean": 101}))
    assert smoothcert.load_classifier("own_net:net+p.json").fingerprint != found[1]


def exported(folder):
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module("net"), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=dynamic)
    torch.export.save(program, folder / "m.pt2")


@pytest.mark.slow
def test_from_certify_to_a_verified_run_of_the_int8_model(folder):
    """run.json names the file, so replays, other commands and compression find it."""
    exported(folder)
    draws = ("--data", "digits", "--limit", 3, "--sigma", 0.25)
    few = ("--n0", 8, "--n", 40)
    for name, model in (("f", "own_net:net+p.json"), ("e", "m.pt2+p.json")):
        run_in("certify", model, *draws, *few, "--out", name, cwd=folder)
        assert f'"{model}"' in (folder / name / "run.json").read_text()
        named = ("--model", model) if ":" in model else ()
        said, _ = run_in("verify", name, "--replay", "100%", *named, cwd=folder)
        assert "all as stored" in said
    out = ("--out", "q.onnx", "--split", "train")
    run_in("compress", "m.pt2+p.json", "--to", "int8", *draws[:2], *draws[4:], *out, cwd=folder)
    run_in("recertify", "q.onnx", "--base", "e", "--policy", "uniform:8", "--out", "q", cwd=folder)
    _, err = run_in("certify", "m.pt2", *draws, *few, "--out", "e", "--resume", cwd=folder, code=2)
    assert "model" in err


@pytest.mark.slow
@pytest.mark.parametrize("target", ["bf16", "fp16", "onnx", "int8", "int8-pt2e"])
def test_compressed_factories_agree_with_their_originals(target, folder):
    """Normalization is not rounded with the network: 255 x - 100 in bfloat16 would be."""
    inputs = smoothcert.load_inputs("digits", limit=64)
    out = folder / f"q.{'onnx' if target in ('onnx', 'int8') else 'pt2'}"
    compress("own_net:net+p.json", target, out, inputs=inputs, sigma=0.25)
    pixels = np.stack([item.pixels for item in inputs]) / inputs.levels
    noisy = (pixels + np.random.default_rng(0).normal(0, 0.25, pixels.shape)).astype(np.float32)
    before = smoothcert.load_classifier("own_net:net+p.json").logits(noisy)
    after = smoothcert.load_classifier(out).logits(noisy)
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.9
    close = {"bf16": 0.0044, "fp16": 0.001, "onnx": 1e-5}.get(target, 0.03)
    assert np.abs(before - after).mean() < close * np.abs(before).mean()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "fp16-weights", "bf16"])
def test_compress_keeps_it_in_front_of_programs_or_refuses(target, folder):
    exported(folder)
    (folder / "half.json").write_text(json.dumps({"mean": 0.5, "std": 0.5}))
    out = folder / ("q.onnx" if target == "onnx" else "q.pt2")
    data = smoothcert.load_inputs("digits", limit=8)
    if target == "bf16":  # as without the file
        with pytest.raises(ModelError):
            compress("m.pt2+half.json", target, out, inputs=data)
        return
    compress("m.pt2+half.json", target, out, inputs=data)
    before, after = (
        smoothcert.load_classifier(one).logits(IMAGES) for one in ("m.pt2+half.json", out)
    )
    close = 1e-4 if target == "onnx" else 2e-3
    assert np.abs(before - after).max() < close * np.abs(before).max()
    assert np.abs(before - smoothcert.load_classifier("m.pt2").logits(IMAGES)).max() > 0.1


def test_weights_alone_are_refused(folder, models):
    (folder / "net.safetensors").write_bytes((models / "net.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"Give it net.safetensors, and put \+p.json behind"):
        compress("net.safetensors+p.json", "prune:0.2", "q.safetensors")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("own_net:net+none.json", "There is no file none.json"),
        (
            "timm:resnet18+p.json",
            "nothing but a denoiser is put in front",
        ),
        ("own_net:net+last.json", "failed on a batch"),
    ],
)
def test_refused_in_words(reference, message, folder):
    with pytest.raises((ModelError, InvalidInput), match=message):
        smoothcert.load_classifier(reference).logits(IMAGES)


def test_an_onnx_model_is_adapted_instead_by_the_command_that_is_named(folder, models):
    pytest.importorskip("onnx", reason="the onnx extra is not installed")
    (folder / "net.onnx").write_bytes((models / "net.onnx").read_bytes())
    with pytest.raises(ModelError, match="in front of it inside of its file") as refused:
        smoothcert.load_classifier("net.onnx+p.json")
    run_in(*shlex.split(str(refused.value).split("`")[1])[1:], cwd=folder)
    adapted = smoothcert.load_classifier("net-adapted.onnx")
    wanted, _ = given(folder / "p.json", {})
    by_hand = smoothcert.load_classifier("net.onnx").logits(wanted.apply(IMAGES))
    assert np.allclose(adapted.logits(IMAGES), by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x.pt2+p.json", ("x.pt2", "p.json")),
        ("fast:net@x.safetensors+a/p.json", ("x.safetensors", "a/p.json")),
        ("m:f+p.json", ("", "p.json")),
        ("timm:resnet18+p.json", ("", "p.json")),
        ("s3://b/x.pt2+p.json", ("s3://b/x.pt2", "p.json")),
        ("a+b.pt2", ("a+b.pt2", "")),
        ("a+b.pt2+p.json", ("a+b.pt2", "p.json")),
        ("x.onnx#out+p.json", ("x.onnx", "p.json")),
    ],
)
def test_the_file_in_a_reference(text, found):
    reference = ModelReference.parse(text)
    assert (reference.file, reference.preprocessing) == found
    if reference.file:
        assert reference.at(reference.file).text == text


def test_a_plus_in_the_path_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b").mkdir()
    (tmp_path / "a+b" / "p.json").write_text("{}")
    reference = ModelReference.parse("x.pt2+a+b/p.json")
    assert (reference.file, reference.preprocessing) == ("x.pt2", "a+b/p.json")
