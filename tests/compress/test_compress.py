"""Every approximation: what it says it changed is what changed."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import smoothcert
from smoothcert.compress import compress
from smoothcert.compress.prune import without_smallest
from smoothcert.errors import InvalidInput, ModelError


@pytest.fixture(scope="module")
def train():
    return smoothcert.load_inputs("digits", "train", limit=64)


def logits(reference, seed=0):
    images = np.random.default_rng(seed).random((200, 1, 8, 8), dtype=np.float32)
    return smoothcert.load_classifier(reference).logits(images)


def test_int8_runs_integer_convolutions(models, train, tmp_path):
    change = compress(models / "net.onnx", "int8", tmp_path / "q.onnx", inputs=train, sigma=0.25)
    assert (change.tensors_changed, change.tensors) == (4, 4)
    assert change.bytes_after < change.bytes_before
    kinds = {
        t.data_type
        for t in onnx.load(tmp_path / "q.onnx").graph.initializer
        if t.name.endswith("_quantized") and len(t.dims) > 1
    }
    assert kinds == {onnx.TensorProto.INT8}
    assert {"QLinearConv"} <= executed(tmp_path / "q.onnx", tmp_path)
    close = np.abs(logits(tmp_path / "q.onnx") - logits(models / "net.onnx"))
    assert 0 < close.mean() < 0.5


def executed(model, folder):
    """The operators that ONNX Runtime really runs, after its own graph optimization."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node}


def test_int8_scales_are_per_channel(models):
    scales = [
        numpy_helper.to_array(t)
        for t in onnx.load(models / "int8.onnx").graph.initializer
        if t.name.endswith("weight_scale") or (t.name.endswith("_scale") and t.dims)
    ]
    assert any(scale.size == 16 for scale in scales)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_reduced_precision_is_in_the_arithmetic(kind, models, train, tmp_path):
    reference = f"small_cnn@{models / 'net.safetensors'}"
    change = compress(reference, kind, tmp_path / "r.pt2", inputs=train)
    assert change.tensors_changed > 0
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[kind]
    program = torch.export.load(tmp_path / "r.pt2")
    convolutions = [n for n in program.graph.nodes if "conv2d" in str(n.target)]
    assert convolutions
    assert all(n.meta["val"].dtype == dtype for n in convolutions)
    difference = np.abs(logits(tmp_path / "r.pt2") - logits(reference)).max()
    assert 0 < difference < 0.5
    assert logits(tmp_path / "r.pt2").dtype == np.float32


@pytest.mark.parametrize("file", ["net.safetensors", "net.onnx"])
def test_pruning_zeroes_the_smallest(file, models, tmp_path):
    reference = str(models / file)
    out = tmp_path / f"p{(models / file).suffix}"
    change = compress(reference, "prune:0.3", out)
    assert change.fraction_changed == pytest.approx(0.3, abs=0.001)
    assert "30 % of the weights set to zero" in change.describe()
    assert not np.allclose(logits(out), logits(reference))


def test_the_two_formats_prune_alike(models, tmp_path):
    """The exporter folds batch normalization into the weights, so only roughly."""
    for file in ("net.safetensors", "net.onnx"):
        compress(models / file, "prune:0.2", tmp_path / f"p{(models / file).suffix}")
    a, b = logits(tmp_path / "p.safetensors"), logits(tmp_path / "p.onnx")
    assert (a.argmax(1) == b.argmax(1)).mean() > 0.5


def test_pruning_by_hand():
    weights = {"a": np.array([[1.0, -5.0]]), "b": np.array([[-0.5, 3.0]])}
    pruned = without_smallest(weights, 0.5)
    assert pruned["a"].tolist() == [[0.0, -5.0]]
    assert pruned["b"].tolist() == [[0.0, 3.0]]
    assert without_smallest(weights, 0.1)["a"].tolist() == [[1.0, -5.0]]
    with pytest.raises(ModelError, match="no weight tensors"):
        without_smallest({}, 0.5)


def test_nothing_changed_is_said_loudly(models, tmp_path):
    once = compress(models / "net.safetensors", "prune:0.2", tmp_path / "a.safetensors")
    again = compress(tmp_path / "a.safetensors", "prune:0.1", tmp_path / "b.safetensors")
    assert not once.nothing_changed
    assert again.nothing_changed
    assert again.describe().startswith("NOTHING WAS CHANGED")


@pytest.mark.slow
def test_export_is_not_called_an_approximation(models, train, tmp_path):
    change = compress(models / "net.safetensors", "onnx", tmp_path / "n.onnx", inputs=train)
    assert "the same weights in another format" in change.describe()


@pytest.mark.parametrize(
    ("model", "target", "out", "message"),
    [
        ("net.onnx", "int4", "q.onnx", "There is no target 'int4'. Targets: int8"),
        ("net.onnx", "prune:2", "q.onnx", "prune needs a fraction between 0 and 1"),
        ("net.onnx", "prune:", "q.onnx", "prune needs a fraction between 0 and 1"),
        ("net.onnx", "bf16:3", "q.pt2", "bf16 takes no argument; got 'bf16:3'"),
        ("net.onnx", "prune:0.2", "q.pt2", "prune:0.2 writes a .onnx file; got 'q.pt2'"),
        ("net.safetensors", "bf16", "q.pt2", "bf16 needs example data: give --data"),
        ("net.onnx", "int8", "q.onnx", "int8 is fitted to noisy inputs: give --sigma"),
    ],
)
def test_bad_requests(model, target, out, message, models, tmp_path):
    with pytest.raises(InvalidInput, match=message):
        compress(models / model, target, tmp_path / out)


def test_sources_that_cannot_be_approximated(models, train, tmp_path):
    with pytest.raises(ModelError, match="net.onnx is not a torch model. This target needs one"):
        compress(models / "net.onnx", "bf16", tmp_path / "q.pt2", inputs=train)
    with pytest.raises(InvalidInput, match="prune:0.2 needs example data"):
        compress(models / "bf16.pt2", "prune:0.2", tmp_path / "q.pt2")
    with pytest.raises(ModelError, match="is an exported graph, whose types are fixed"):
        compress(models / "bf16.pt2", "fp16", tmp_path / "q.pt2", inputs=train)
    with pytest.raises(ModelError, match="There is no model file"):
        compress(tmp_path / "gone.onnx", "int8", tmp_path / "q.onnx", inputs=train, sigma=0.25)
