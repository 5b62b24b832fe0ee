"""--engine onnx: the twin is compared, certified, kept with the run and found again."""

import json
import shutil
import sys

import pytest

import smoothcert
from smoothcert.compress.twin import onnx_twin
from smoothcert.data.inputs import to_float
from smoothcert.errors import MissingExtra, ModelError
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.runs.store import Run
from support.command_line import run

pytestmark = pytest.mark.slow

COMMON = ("--data", "digits", "--limit", 6, "--sigma", 0.25, "--n", 300)
OFFER = "An ONNX twin is often 1.5 times as fast or more: --engine onnx"


@pytest.fixture
def certify(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def command(*options, model="net.safetensors", code=0):
        return run("certify", models / model, *COMMON, *options, code=code)

    return command


def test_the_twin_is_certified_and_kept_with_the_run(certify, models, tmp_path):
    """What the run holds is what certifying the kept file alone gives, from anywhere."""
    result = certify("--out", "base", "--engine", "onnx")
    assert "The ONNX twin gives the same label on 384 of 384 noisy inputs, " in result.stderr
    base = Run.open("base")
    digits = smoothcert.load_inputs("digits", limit=6)
    single = smoothcert.certify("base/twin.onnx", digits, sigma=0.25, n=300)
    assert base.certificates == single.certificates
    assert base.identity.model == smoothcert.load_classifier("base/twin.onnx").fingerprint
    assert base.manifest.origin["model"] == "base/twin.onnx"
    torch = smoothcert.load_classifier(models / "net.safetensors")
    assert base.manifest.origin["twin_of"] == {
        "model": str(models / "net.safetensors"),
        "fingerprint": torch.fingerprint,
        "same_labels": 384,
        "draws": 384,
    }
    run("recertify", models / "int8.onnx", "--base", "base", "--policy", "uniform:50", "--out", "i")
    (tmp_path / "elsewhere").mkdir()
    shutil.move("base", "elsewhere/moved")
    assert "all as stored" in run("verify", "elsewhere/moved", "--replay", "20%").stdout


def test_a_resumed_run_goes_on_with_its_own_twin(certify, models):
    certify("--out", "base", "--engine", "onnx", "--block-inputs", 2)
    before = {path: path.read_bytes() for path in sorted(Run.open("base").path.rglob("*.*"))}
    again = ("--out", "base", "--engine", "onnx", "--block-inputs", 2, "--resume")
    for name in ("votes", "certificates"):
        (Run.open("base").path / name / "00001.parquet").unlink()
    result = certify(*again)
    assert "same label" not in result.stderr  # neither made nor compared again
    kept = [path for path in before if path.parent.name != "events"]  # timings
    assert [path.read_bytes() for path in kept] == [before[path] for path in kept]
    result = certify(*again, model="prune.safetensors", code=2)
    assert "the ONNX twin of another model" in result.output
    certify("--out", "plain")
    result = certify("--out", "plain", "--engine", "onnx", "--resume", code=2)
    assert "was made without --engine onnx" in result.output


def test_a_taken_directory_is_left_alone(certify, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    result = certify("--out", "taken", "--engine", "onnx", code=2)
    assert "already exists and is not empty" in result.output
    assert "same label" not in result.output
    assert {path.name for path in tmp_path.rglob("*")} == {"taken", "mine.txt"}


def test_an_onnx_model_is_its_own_twin(certify):
    result = certify("--out", "a", "--engine", "onnx", model="net.onnx")
    assert "twin" not in result.stderr
    certify("--out", "b", model="net.onnx")
    for name in ("run.json", "votes/00000.parquet", "certificates/00000.parquet"):
        assert (Run.open("a").path / name).read_bytes() == (Run.open("b").path / name).read_bytes()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("net.safetensors", ("--engine", "tvm"), "--engine must be torch or onnx; got 'tvm'"),
        (
            "net.safetensors",
            ("--engine", "onnx", "--device", "cuda"),
            "smoothcert compress MODEL --to onnx",
        ),
        ("net.onnx", ("--engine", "torch"), "net.onnx is not a torch model"),
        ("bf16.pt2", ("--engine", "onnx"), "ONNX Runtime cannot run the twin of bf16.pt2"),
    ],
)
def test_refusals_leave_nothing(model, options, message, certify, tmp_path):
    assert message in certify("--out", "x", *options, model=model, code=2).output
    assert not list(tmp_path.iterdir())


def test_large_torch_runs_are_offered_the_twin(certify, monkeypatch):
    from smoothcert.cli import onnx_engine

    assert OFFER not in certify("--out", "small").output
    monkeypatch.setattr(onnx_engine, "_LARGE", 6 * 400 - 1)
    assert OFFER in certify("--out", "a").stderr
    quiet = {
        "b": ("net.onnx", ()),
        "c": ("net.safetensors", ("--engine", "torch")),
        "d": ("net.safetensors", ("--json",)),
        "e": ("bf16.pt2", ()),
    }
    for out, (model, options) in quiet.items():
        assert OFFER not in certify("--out", out, *options, model=model).output, model
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert OFFER not in certify("--out", "f").output


def test_json_is_one_document(certify):
    found = json.loads(certify("--out", "j", "--engine", "onnx", "--json").stdout)
    assert found["inputs"] == 6


def test_agreement_is_counted_as_by_hand(models, network):
    """In Python, on at most 16 inputs spread over all; a module works like a reference."""
    digits = smoothcert.load_inputs("digits", limit=40)
    twin = onnx_twin(network, digits, 0.25, seed=3, batch_size=50, threads=1)
    pair = smoothcert.load_classifier(network), twin.classifier
    law, same = RoundedGaussian(0.25, 1 / digits.levels), 0
    for position in range(0, 640, 40):
        item = digits.item(position // 16)
        noise = law.draws(3, item.index, Stream.PROBE, range(64), digits.shape)
        one, two = (c.logits(to_float(item.pixels + noise, digits.levels)).argmax(1) for c in pair)
        same += int((one == two).sum())
    assert (twin.same, twin.draws) == (same, 1024)
    assert f"{same:,} of 1,024 noisy inputs" in twin.describe()
    assert 0 < twin.speedup < 1000


def test_a_file_written_from_the_twin_is_the_twin(network, digits, tmp_path):
    twin = onnx_twin(network, digits, 0.25)
    (tmp_path / "kept.onnx").write_bytes(twin.data)
    kept = smoothcert.load_classifier(tmp_path / "kept.onnx")
    assert kept.fingerprint == twin.classifier.fingerprint


def test_another_classifier_is_no_twin(digits):
    """A network whose export computes something else: it answers by batch parity in torch only."""
    import torch

    class Sly(torch.nn.Module):
        def forward(self, images):
            means = images.flatten(1).mean(1)
            if not torch.compiler.is_exporting():
                means = means + 10 * (torch.arange(len(means)) % 2)
            return torch.stack([0 * means + 0.5, means], 1)

    with pytest.raises(
        ModelError, match=r"Sly is a different classifier: its label differs on \d+ of"
    ):
        onnx_twin(Sly(), digits, 0.25)


def test_a_twin_needs_a_torch_model_and_the_packages(models, network, digits, monkeypatch):
    with pytest.raises(ModelError, match=r"needs a torch model on the CPU; got net\.onnx"):
        onnx_twin(models / "net.onnx", digits, 0.25)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"smoothcert\[onnx\]"):
        onnx_twin(network, digits, 0.25)
