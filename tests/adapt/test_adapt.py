"""adapt: the file computes what its owner computed by hand, in every runtime and every command."""

import json

import numpy as np
import pytest

import smoothcert
from smoothcert.adapt import adapt
from smoothcert.classifiers.preprocessing_files import given

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")

from support import deployed_models as deployed  # noqa: E402
from support.command_line import run_in  # noqa: E402

pytestmark = pytest.mark.slow

KINDS = deployed.KINDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The three kinds of model, as they are deployed, and data."""
    path = tmp_path_factory.mktemp("deployed")
    for name, kind in KINDS.items():
        deployed.write(kind, path / f"{name}.onnx")
    deployed.write_data(path / "train.npz", "train", 64)
    deployed.write_data(path / "test.npz", "test", 12)
    return path


def wanted(options):
    pairs = zip(options[::2], options[1::2], strict=True)
    asked = {key.removeprefix("--"): value for key, value in pairs}
    if "scale" in asked:
        asked["scale"] = float(asked["scale"])
    return given(None, asked)[0]


def votes(model, folder):
    data = smoothcert.load_inputs(folder / "test.npz")
    found = smoothcert.certify(model, data, sigma=0.25, n0=8, n=40)
    return [(r.votes.selection.tolist(), r.votes.estimation.tolist()) for r in found.records]


@pytest.mark.parametrize("name", KINDS)
def test_votes_are_those_of_the_preprocessing_by_hand(name, folder, tmp_path):
    kind, source = KINDS[name], folder / f"{name}.onnx"
    done = adapt(source, tmp_path / "a.onnx", wanted(kind.options))
    assert (done.rows_before, done.rows, done.difference.by_row) == (kind.rows, None, True)
    assert done.difference.single < 1e-5
    expected = votes(deployed.ByHand(source, kind.by_hand), folder)
    assert len({label for selection, _ in expected for label in selection}) > 3
    assert votes(tmp_path / "a.onnx", folder) == expected


WRONG = {
    "outside": [
        lambda x: x,
        lambda x: x / deployed.STD.reshape(3, 1, 1) - deployed.MEAN.reshape(3, 1, 1),
        lambda x: deployed.KINDS["outside"].by_hand(x[:, ::-1]),
    ],
    "nhwc": [
        lambda x: (x - 0.5 / 0.5).transpose(0, 2, 3, 1),
        lambda x: ((x - 0.5) / 0.5).transpose(0, 3, 2, 1),
    ],
    "fixed": [
        lambda x: (255 * (deployed.resized(x, 48)[:, ::-1] - 0.45)) / 0.225,
        lambda x: deployed.KINDS["fixed"].by_hand(x[:, ::-1]),
        lambda x: deployed.resized(x, 48)[:, ::-1] * 255 / 58,
    ],
}


@pytest.mark.parametrize(
    ("name", "number"), [(n, i) for n, w in WRONG.items() for i in range(len(w))]
)
def test_another_order_of_operations_gives_other_votes(name, number, folder, tmp_path):
    """The control of the test above."""
    source = folder / f"{name}.onnx"
    adapt(source, tmp_path / "a.onnx", wanted(KINDS[name].options))
    wrong = deployed.ByHand(source, WRONG[name][number])
    assert votes(tmp_path / "a.onnx", folder) != votes(wrong, folder)


@pytest.mark.parametrize("name", KINDS)
def test_from_file_to_gated_int8_certificate_in_four_commands(name, folder, tmp_path):
    source, draws = folder / f"{name}.onnx", ("--sigma", 0.25, "--n0", 16, "--n", 200)
    data = ("--data", folder / "test.npz")
    said, _ = run_in("adapt", source, *KINDS[name].options, "--out", "a.onnx", cwd=tmp_path)
    assert "Checked against the original" in said
    run_in("certify", "a.onnx", *data, *draws, "--out", "base", cwd=tmp_path)
    calibration = ("--data", folder / "train.npz", "--sigma", 0.25)
    run_in("compress", "a.onnx", "--to", "int8", *calibration, "--out", "q.onnx", cwd=tmp_path)
    gate = ("--accept", "ca@0.1>=0.5", "--json")
    out, _ = run_in("recertify", "q.onnx", "--base", "base", *gate, "--out", "q", cwd=tmp_path)
    assert json.loads(out)["inputs"] == 12


@pytest.mark.parametrize("name", KINDS)
def test_int8_keeps_the_preprocessing_in_float(name, folder, tmp_path):
    from smoothcert.compress import compress

    data = smoothcert.load_inputs(folder / "train.npz")
    adapt(folder / f"{name}.onnx", tmp_path / "a.onnx", wanted(KINDS[name].options))
    compress(tmp_path / "a.onnx", "int8", tmp_path / "q.onnx", inputs=data, sigma=0.25)
    graph = onnx.load(tmp_path / "q.onnx").graph
    front = [node for node in graph.node if node.name.startswith("smoothcert/")]
    assert front
    quantized = {o for n in graph.node if n.op_type.endswith("quantizeLinear") for o in n.output}
    assert quantized.isdisjoint(name for node in front for name in node.input)
    images, _ = deployed.images("test", 200)
    noise = np.random.default_rng(0).normal(0, 0.25, images.shape)
    noisy = (images / 255 + noise).astype(np.float32)
    one, other = (
        smoothcert.load_classifier(tmp_path / f"{file}.onnx").logits(noisy).argmax(1)
        for file in "aq"
    )
    assert (one == other).mean() > 0.9
