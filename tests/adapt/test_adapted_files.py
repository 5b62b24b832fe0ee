"""What adapt sees in a file, proposes, writes and refuses, on graphs with odd ends."""

import json
import pickle
import shlex
import sys

import numpy as np
import pytest

import smoothcert
from smoothcert.adapt import adapt
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.errors import InvalidInput, ModelError, SmoothcertError

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
from onnx import TensorProto  # noqa: E402

import support.onnx_graphs as g  # noqa: E402
from support.command_line import run_in  # noqa: E402

HALF = Preprocessing(mean=(0.5,), std=(0.25,))
IMAGES = np.random.default_rng(1).random((5, 1, 8, 8)).astype(np.float32)


def fixed(rows, body=g.BODY, **more):
    return g.model(
        body=body,
        inputs=[g.value("x", [rows, 1, 8, 8])],
        outputs=[g.value("logits", [rows, 10])],
        **more,
    )


RESHAPED = (g.node("Reshape", "x s", "f"), g.BODY[1])
FOLDED = (g.node("Reshape", "x s", "f0"), g.node("Reshape", "f0 t", "f"), g.BODY[1])
BIASED = (g.node("Reshape", "b s", "c"), g.node("Add", "x c", "y"), g.node("Flatten", "y", "f"))
TOKEN = (g.node("Concat", "x c", "y", axis=3), g.node("Flatten", "y", "f"), g.BODY[1])
WIDE = {"w": np.random.default_rng(2).normal(size=(72, 10)).astype(np.float32)}
ONE = np.array([1, 64])

BATCHES = {
    "any": (g.model(), None, None),
    "one": (fixed(1), 1, None),
    "four": (fixed(4), 4, None),
    "one, in a Reshape": (fixed(1, RESHAPED, constants={"s": ONE}), 1, None),
    "one, with -1": (fixed(1, RESHAPED, constants={"s": np.array([1, -1])}), 1, None),
    "four, in a Reshape": (fixed(4, RESHAPED, constants={"s": np.array([4, 64])}), 4, None),
    "one, hidden": (g.model(body=RESHAPED, constants={"s": ONE}), None, None),
    "one, folded into another axis": (
        fixed(1, FOLDED, constants={"s": np.array([8, 8]), "t": np.array([1, 64])}),
        *(1, 1),
    ),
    "one, hidden in another axis": (
        g.model(body=FOLDED, constants={"s": np.array([8, 8]), "t": np.array([1, 64])}),
        *(None, 1),
    ),
    "one, and a constant that is reshaped": (
        fixed(
            1,
            (*BIASED, g.BODY[1]),
            constants={"b": IMAGES[0, 0], "s": np.array([1, 1, 8, 8])},
        ),
        *(1, None),
    ),
    "one, beside a constant of one row": (
        fixed(1, TOKEN, constants={"c": np.ones((1, 1, 8, 1), np.float32)} | WIDE),
        *(1, 1),
    ),
}


@pytest.mark.parametrize("case", BATCHES)
def test_the_batch_axis_is_opened_where_that_changes_nothing(case, tmp_path):
    made, before, after = BATCHES[case]
    onnx.save(made, tmp_path / "m.onnx")
    done = adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", HALF)
    assert (done.rows_before, done.rows) == (before, after)
    original, adapted = (smoothcert.load_classifier(tmp_path / f"{n}.onnx") for n in "ma")
    rows = [original.logits((IMAGES[i : i + 1] - 0.5) / np.float32(0.25)) for i in range(5)]
    assert np.allclose(adapted.logits(IMAGES), np.concatenate(rows), rtol=1e-5, atol=1e-5)
    dim = onnx.load(tmp_path / "a.onnx").graph.input[0].type.tensor_type.shape.dim[0]
    assert (dim.dim_value or None) == after
    said = done.describe()
    assert ("still takes only batches of 1" in said) == (after == 1)
    assert ("Its batch axis is open now" in said) == (before is not None and after is None)


def test_a_batch_axis_can_be_opened_alone(tmp_path):
    onnx.save(fixed(1, RESHAPED, constants={"s": ONE}), tmp_path / "m.onnx")
    run_in("adapt", "m.onnx", "--out", "a.onnx", cwd=tmp_path)
    assert smoothcert.load_classifier(tmp_path / "a.onnx").rows is None


def test_rows_that_depend_on_their_batch_are_said(tmp_path):
    made = g.model(g.node("Softmax", "logits", "p", axis=0), outputs=[g.value("p", ["batch", 10])])
    onnx.save(made, tmp_path / "m.onnx")
    done = adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", HALF)
    assert "certify it with --batch-size 1" in done.describe()
    assert done.rows is None


def test_any_runtime_computes_the_same(tmp_path):
    """ONNX's own evaluator, which is not ONNX Runtime."""
    from onnx.reference import ReferenceEvaluator

    onnx.save(fixed(1, RESHAPED, constants={"s": ONE}, opset=18), tmp_path / "m.onnx")
    wanted = Preprocessing(resize=(8, 8), scale=255, mean=(100.0,), std=(50.0,))
    adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", wanted)
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)
    evaluator = ReferenceEvaluator(onnx.load(tmp_path / "a.onnx"))
    (theirs,) = evaluator.run(None, {"images": IMAGES})
    ours = smoothcert.load_classifier(tmp_path / "a.onnx").logits(IMAGES)
    assert np.allclose(theirs, ours, rtol=1e-4, atol=1e-3)


ODD = {
    "double": (g.cast(TensorProto.DOUBLE, np.float64), "", HALF),
    "half": (g.cast(TensorProto.FLOAT16, np.float16), "", HALF),
    "scikit-learn": (g.scikit(), "", HALF),
    "scikit-learn, maps": (g.scikit(zipmap=True, only=True), "", HALF),
    "named": (g.model(outputs=[g.FEATURES, g.LOGITS]), "#logits", HALF),
    "no shape": (g.model(inputs=[g.value("x", None)]), "", HALF),
    "old operators": (g.model(opset=9), "", HALF),
    "weights that are inputs too": (g.model(inputs=[g.value("w", [64, 10]), g.IMAGES]), "", HALF),
    "an input called images": (
        g.model(
            body=[g.node("Flatten", "images", "f"), g.BODY[1]],
            inputs=[g.value("images", ["b", 1, 8, 8])],
        ),
        *("", HALF),
    ),
    "a row of values": (
        g.model(body=g.BODY[1:], inputs=[g.value("f", ["batch", 64])]),
        *("", Preprocessing(layout="flat", mean=(0.5,))),
    ),
    "a row of values of three channels of an odd size": (
        g.model(
            body=[g.node("MatMul", "f v", "logits")],
            inputs=[g.value("f", ["batch", 75])],
            constants={"v": np.random.default_rng(3).normal(size=(75, 10)).astype(np.float32)},
        ),
        *("", Preprocessing(layout="flat", mean=(0.1, 0.2, 0.3))),
    ),
    "any size": (
        g.model(
            g.node("Flatten", "p", "f"),
            g.node("MatMul", "f v", "logits"),
            body=[g.node("GlobalAveragePool", "x", "p")],
            inputs=[g.value("x", ["b", "c", "h", "w"])],
            constants={"v": np.ones((3, 10), np.float32) * np.arange(10, dtype=np.float32)},
        ),
        *("", Preprocessing(mean=(0.1, 0.2, 0.3), channels="bgr")),
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_graphs_with_odd_ends(case, tmp_path):
    made, output, wanted = ODD[case]
    onnx.save(made, tmp_path / "m.onnx")
    done = adapt(f"{tmp_path / 'm.onnx'}{output}", tmp_path / "a.onnx", wanted)
    assert done.difference.single < 1e-4
    shape = {"any size": (3, 8, 8), "a row of values of three channels of an odd size": (3, 5, 5)}
    images = np.resize(IMAGES, (5, *shape.get(case, (1, 8, 8))))
    assert smoothcert.load_classifier(tmp_path / "a.onnx").logits(images).shape == (5, 10)


def test_what_was_put_in_front_is_recorded_and_not_put_there_twice(tmp_path):
    onnx.save(g.model(), tmp_path / "m.onnx")
    done = adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", HALF)
    (entry,) = onnx.load(tmp_path / "a.onnx").metadata_props
    said = json.loads(entry.value)
    assert entry.key == "smoothcert.adapt"
    assert said["front"] == {"mean": [0.5], "std": [0.25]}
    assert (said["original"], said["output"]) == (done.original, "logits")
    with pytest.raises(ModelError, match=r"was made by adapt.*Adapt its original"):
        adapt(tmp_path / "a.onnx", tmp_path / "b.onnx", HALF)
    bare = onnx.load(tmp_path / "a.onnx")
    bare.ClearField("metadata_props")
    onnx.save(bare, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="in front already"):
        adapt(tmp_path / "a.onnx", tmp_path / "b.onnx", HALF)
    assert not (tmp_path / "b.onnx").exists()


def test_the_record_survives_int8(tmp_path):
    from smoothcert.compress import compress

    onnx.save(fixed(1), tmp_path / "m.onnx")
    adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", HALF)
    data = smoothcert.load_inputs("digits", "train", limit=16)
    compress(tmp_path / "a.onnx", "int8", tmp_path / "q.onnx", inputs=data, sigma=0.25)
    assert [entry.key for entry in onnx.load(tmp_path / "q.onnx").metadata_props].count(
        "smoothcert.adapt"
    ) == 1


def test_tensors_beside_the_file_are_taken_along(tmp_path):
    onnx.save(
        g.model(), tmp_path / "m.onnx", save_as_external_data=True, location="t", size_threshold=0
    )
    adapt(tmp_path / "m.onnx", tmp_path / "new" / "a.onnx", HALF)
    (tmp_path / "t").unlink()
    assert smoothcert.load_classifier(tmp_path / "new" / "a.onnx").logits(IMAGES).shape == (5, 10)


def test_a_file_is_not_replaced_unless_asked(tmp_path):
    onnx.save(g.model(), tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    args = ("adapt", "m.onnx", "--mean", "0.5", "--out", "m.onnx")
    _, err = run_in(*args, cwd=tmp_path, code=2)
    assert "already exists" in err
    assert (tmp_path / "m.onnx").read_bytes() == before
    run_in(*args, "--overwrite", cwd=tmp_path)
    assert (tmp_path / "m.onnx").read_bytes() != before


REFUSED = {
    "nothing": (g.model(), Preprocessing(), "nothing to put in front of m.onnx"),
    "three numbers for grey": (
        g.model(),
        Preprocessing(mean=(0.1, 0.2, 0.3)),
        "takes 1 channels, but the preprocessing is for 3",
    ),
    "bgr for grey": (g.model(), Preprocessing(channels="bgr"), "takes 1 channels"),
    "channels last for a row": (
        g.model(body=g.BODY[1:], inputs=[g.value("f", ["batch", 64])]),
        Preprocessing(layout="nhwc"),
        r"input is \(batch, 64\), and this preprocessing needs four axes",
    ),
    "flat for images": (g.model(), Preprocessing(layout="flat"), "--layout flat needs two axes"),
    "another size": (g.model(), Preprocessing(resize=(9, 9)), "Give --resize 8x8"),
    "bytes": (
        g.model(
            body=[g.node("Cast", "x", "y", to=1), g.node("Flatten", "y", "f"), g.BODY[1]],
            inputs=[g.value("x", ["batch", 1, 8, 8], TensorProto.UINT8)],
        ),
        HALF,
        "takes bytes.*give --scale 255",
    ),
    "channels first, said to be last": (
        g.model(
            body=[g.node("Reshape", "x s", "f"), g.BODY[1]],
            inputs=[g.value("x", ["batch", 1, 8, 8])],
            constants={"s": np.array([-1, 64])},
        ),
        Preprocessing(layout="nhwc", mean=(0.1, 0.2, 0.3)),
        "takes 8 channels, but the preprocessing is for 3",
    ),
    "two inputs": (
        g.model(
            body=[g.node("Mul", "x t", "y"), g.node("Flatten", "y", "f"), g.BODY[1]],
            inputs=[g.IMAGES, g.value("t", [])],
        ),
        *(HALF, "one tensor of floats"),
    ),
    "an endless image": (
        g.model(
            body=[g.node("GlobalAveragePool", "x", "p"), g.node("Flatten", "p", "logits")],
            inputs=[g.value("x", ["batch", 3, 2**30, 2**30])],
        ),
        *(HALF, "too large to be tried"),
    ),
    "loss": (
        g.model(g.LOSS, outputs=[g.value("loss", [])]),
        HALF,
        r"cannot be adapted.*shape \(\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_words(case, tmp_path):
    made, wanted, message = REFUSED[case]
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises((InvalidInput, ModelError), match=message):
        adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", wanted)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def _outside(path):
    onnx.save(g.model(), path, save_as_external_data=True, location="t", size_threshold=0)
    made = onnx.load(path, load_external_data=False)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../secret"
    path.write_bytes(made.SerializeToString())


HOSTILE = {
    "text": lambda path: path.write_text("<html>404"),
    "empty": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(sys.version)),
    "tensors elsewhere": _outside,
    "half": lambda path: path.write_bytes(g.model().SerializeToString()[:900]),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_files_of_strangers(case, tmp_path):
    HOSTILE[case](tmp_path / "m.onnx")
    with pytest.raises(SmoothcertError):
        adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", HALF)
    run_in("adapt", "m.onnx", cwd=tmp_path, code=2)
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("none.onnx", "no model file"),
        ("timm:resnet18", "takes an ONNX file or a .pt2"),
        ("m:factory", "takes an ONNX file or a .pt2"),
        ("net.safetensors", "no model file"),
        ("x@none.onnx", "takes an ONNX file|no model file"),
    ],
)
def test_other_models_are_refused(model, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        adapt(model, tmp_path / "a.onnx", HALF)
    onnx.save(g.model(), tmp_path / "m.onnx")
    with pytest.raises(InvalidInput, match="writes a .onnx file"):
        adapt(tmp_path / "m.onnx", tmp_path / "a.pt2", HALF)


LAST = g.model(inputs=[g.value("x", ["batch", 8, 8, 1])])
BYTES = REFUSED["bytes"][0]
VECTOR = REFUSED["channels last for a row"][0]
NORMALIZED = g.model(
    body=[
        g.node("Sub", "x m", "y"),
        g.node("Div", "y m", "z"),
        g.node("Flatten", "z", "f"),
        g.BODY[1],
    ],
    constants={"m": np.float32(0.5)},
)


@pytest.mark.parametrize(
    ("made", "said", "options"),
    [
        (LAST, "channels last", "--layout nhwc"),
        (BYTES, "bytes", "--scale 255"),
        (VECTOR, "a row of values", "--layout flat"),
        (fixed(1), "only batches of 1", ""),
    ],
)
def test_what_is_seen_is_proposed_and_the_proposed_command_works(made, said, options, tmp_path):
    onnx.save(made, tmp_path / "m.onnx")
    out, _ = run_in("adapt", "m.onnx", cwd=tmp_path)
    assert said in out
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
    command = out.strip().splitlines()[-1].strip()
    assert options in command
    run_in(*shlex.split(command)[1:], cwd=tmp_path)
    assert smoothcert.load_classifier(tmp_path / "m-adapted.onnx").logits(IMAGES).shape == (5, 10)
    found = json.loads(run_in("adapt", "m.onnx", "--json", cwd=tmp_path)[0])
    assert found["proposed"] == command


@pytest.mark.parametrize("made", [LAST, BYTES, VECTOR, BATCHES["one, hidden"][0]])
def test_the_command_that_certify_names_works(made, tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    onnx.save(made, folder / "m.onnx")
    draws = ("--data", "digits", "--limit", 2, "--sigma", 0.25, "--n0", 8, "--n", 16)
    _, err = run_in("certify", folder / "m.onnx", *draws, "--out", "r", cwd=tmp_path, code=2)
    command = err.split("`")[1]
    assert command.startswith("smoothcert adapt")
    run_in(*shlex.split(command)[1:], cwd=tmp_path)
    run_in("certify", folder / "m-adapted.onnx", *draws, "--out", "r", cwd=tmp_path)


def test_a_model_that_may_normalize_itself_is_named(tmp_path):
    onnx.save(NORMALIZED, tmp_path / "m.onnx")
    out, _ = run_in("adapt", "m.onnx", cwd=tmp_path)
    assert "begins with Sub, Div by constants" in out
    _, err = run_in("adapt", "m.onnx", "--mean", "0.5", "--out", "a.onnx", cwd=tmp_path)
    assert "check that it does not normalize by itself too" in err
    onnx.save(g.model(), tmp_path / "m.onnx")
    out, err = run_in("adapt", "m.onnx", "--mean", "0.5", cwd=tmp_path)
    assert "does not begin with a normalization" in out
    assert "In front would be: minus 0.5. Add --out FILE" in out
    assert err == ""


def test_a_processor_file_beside_the_model_is_proposed(tmp_path):
    onnx.save(g.model(), tmp_path / "m.onnx")
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"do_rescale": True, "image_mean": [0.5], "image_std": [0.25]})
    )
    out, _ = run_in("adapt", "m.onnx", cwd=tmp_path)
    command = out.strip().splitlines()[-1].strip()
    assert "--preprocess preprocessor_config.json" in command
    out, _ = run_in(*shlex.split(command)[1:], "--json", cwd=tmp_path)
    assert json.loads(out)["front"] == {"mean": [0.5], "std": [0.25]}


def test_files_beside_the_model_that_cannot_be_used_are_named(tmp_path):
    onnx.save(g.model(), tmp_path / "m.onnx")
    (tmp_path / "config.json").write_text('{"hidden_size": 3}')  # of any purpose
    padded = {"do_rescale": True, "do_pad": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(padded))
    out, _ = run_in("adapt", "m.onnx", cwd=tmp_path)
    assert "Not used: preprocessor_config.json has do_pad" in out
    assert "Proposed" not in out
    assert "hidden_size" not in out


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    onnx.save(g.model(), tmp_path / "m.onnx")
    monkeypatch.delitem(sys.modules, "smoothcert.adapt.graph", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SmoothcertError, match=r"pip install 'smoothcert\[onnx\]'"):
        adapt(tmp_path / "m.onnx", tmp_path / "a.onnx", HALF)
