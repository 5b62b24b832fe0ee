"""Static int8: integer arithmetic throughout, and exactly the named layers as exceptions."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from smoothcert.compress import compress, int8
from smoothcert.compress.layers import Layer, assigned
from smoothcert.compress.onnx_layers import layers
from smoothcert.errors import InvalidInput, ModelError

CONVOLUTIONS, ADDITIONS = 9, 3  # of a cifar_resnet8


def quantized(residual, train_inputs, target, out):
    change = compress(residual / "net.onnx", target, out, inputs=train_inputs, sigma=0.25)
    return change, {t.name: numpy_helper.to_array(t) for t in onnx.load(out).graph.initializer}


def test_additions_and_shortcuts_are_integer_too(
    residual, train_inputs, executed, logits, tmp_path
):
    change, _ = quantized(residual, train_inputs, "int8", tmp_path / "q.onnx")
    operators = executed(tmp_path / "q.onnx")
    assert operators["QLinearConv"] == CONVOLUTIONS
    assert operators["QLinearAdd"] == ADDITIONS
    assert operators["QGemm"] == 1
    assert not {"Conv", "FusedConv", "Gemm", "MatMul", "Add"} & set(operators)
    assert (change.tensors_changed, change.tensors) == (10, 10)
    assert change.fraction_changed > 0.9
    difference = np.abs(logits(tmp_path / "q.onnx") - logits(residual / "net.onnx"))
    assert 0 < difference.mean() < 0.1 * np.abs(logits(residual / "net.onnx")).max()


def test_an_assignment_changes_exactly_the_named_layers(residual, train_inputs, tmp_path, executed):
    target = "int8:5.0=int4,*shortcut*=int8,6.0.first=fp32,linear=fp32"
    change, found = quantized(residual, train_inputs, target, tmp_path / "m.onnx")
    for layer in layers(onnx.load(residual / "net.onnx")):
        steps = found.get(f"{layer.weight}_quantized")
        if layer.weight in ("6.0.first.0.weight", "9.weight"):
            assert steps is None
            assert (found[layer.weight] == original(residual, layer.weight)).all()
            continue
        assert steps.dtype == np.int8
        channels = [np.unique(channel) for channel in steps]
        if layer.weight in ("5.0.first.0.weight", "5.0.second.0.weight"):
            assert np.abs(steps).max() == 7
            assert all(len(values) <= 15 for values in channels)
        else:
            assert 64 <= np.abs(steps).max() < 127
    assert change.tensors_changed == 8
    assert "2 layers with 4-bit weights kept and computed with in int8" in change.method
    assert "2 layers left in float32" in change.method
    operators = executed(tmp_path / "m.onnx")
    assert (operators["QLinearConv"], operators["Conv"]) == (CONVOLUTIONS - 1, 1)
    assert (operators["QGemm"], operators["Gemm"]) == (0, 1)


def original(residual, name):
    initializers = onnx.load(residual / "net.onnx").graph.initializer
    return next(numpy_helper.to_array(t) for t in initializers if t.name == name)


@pytest.mark.parametrize("name", ["4.0.first", "5.0.second", "6.0.shortcut"])
def test_a_float_layer_between_integers_runs_in_float(
    name, residual, train_inputs, executed, tmp_path
):
    quantized(residual, train_inputs, f"int8:{name}=fp32", tmp_path / "m.onnx")
    operators = executed(tmp_path / "m.onnx")
    assert operators["QLinearConv"] == CONVOLUTIONS - 1
    assert operators["Conv"] + operators["FusedConv"] == 1


def test_without_care_the_runtime_would_quantize_it(
    residual, train_inputs, executed, tmp_path, monkeypatch
):
    """The control: leaving a layer out of quantization is not enough in ONNX Runtime."""
    monkeypatch.setattr(int8, "_keep_float", lambda *_: None)
    quantized(residual, train_inputs, "int8:5.0.second=fp32", tmp_path / "m.onnx")
    assert executed(tmp_path / "m.onnx")["QLinearConv"] == CONVOLUTIONS


def test_fewer_bits_disturb_more(residual, train_inputs, logits, tmp_path):
    reference, found = logits(residual / "net.onnx"), []
    for target in ("int8", "int8:6.0=int4", "int8:*=int4"):
        out = tmp_path / f"q{len(found)}.onnx"
        quantized(residual, train_inputs, target, out)
        found.append(np.abs(logits(out) - reference).mean())
    assert found == sorted(found)
    assert found[2] > 2 * found[0]


@pytest.mark.parametrize("target", ["int8", "int8:5.=int4,*shortcut*=fp32"])
def test_it_certifies(target, residual, train_inputs, certified_right, tmp_path):
    quantized(residual, train_inputs, target, tmp_path / "q.onnx")
    assert certified_right(tmp_path / "q.onnx") >= 0.5


LAYERS = [
    Layer("conv1", "1.w", 0, 1200),
    Layer("conv2", "layer3.w", 0),
    Layer("fc", "11.w", 0),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("int8", "int8", "int8")),
        ("fc=fp32", ("int8", "int8", "fp32")),
        ("layer3=int4,fc=fp32", ("int8", "int4", "fp32")),
        ("1.=int4", ("int4", "int8", "int4")),  # a part of a name
        ("1.w=int4", ("int4", "int8", "int8")),  # a whole name means that layer alone
        ("11=int4", ("int8", "int8", "int4")),
        ("[1].w=int4", ("int4", "int8", "int8")),  # a glob is for the whole name
        ("*=int4,conv*=fp32,conv2=int8", ("fp32", "int8", "int4")),  # the last one counts
    ],
)
def test_patterns(text, expected):
    assert tuple(assigned(text, LAYERS, "int8", ("int8", "int4", "fp32")).values()) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "conv3=int4",
            r"No layer matches 'conv3'. The layers .* conv1 \(1.w, 1,200\), conv2 \(layer3.w, 0\)",
        ),
        ("fc=int3", "PRECISION one of int8, int4, fp32; got 'fc=int3'"),
        ("fc", "LAYER=PRECISION with commas between them"),
        ("=int4", "LAYER=PRECISION with commas between them"),
        ("fc=int4,", "got ''"),
    ],
)
def test_bad_assignments(text, message):
    with pytest.raises(InvalidInput, match=message):
        assigned(text, LAYERS, "int8", ("int8", "int4", "fp32"))


def test_something_must_be_quantized(residual, train_inputs, tmp_path):
    with pytest.raises(InvalidInput, match="int8:\\*=fp32 leaves no layer to quantize"):
        quantized(residual, train_inputs, "int8:*=fp32", tmp_path / "q.onnx")


def test_a_compressed_graph_is_not_quantized_again(residual, train_inputs, tmp_path):
    compress(residual / "net.onnx", "int8-weights", tmp_path / "w.onnx")
    with pytest.raises(ModelError, match="nothing to quantize. If it is a compressed model"):
        compress(tmp_path / "w.onnx", "int8", tmp_path / "q.onnx", inputs=train_inputs, sigma=0.25)
