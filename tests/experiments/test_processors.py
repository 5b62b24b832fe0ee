"""The emulated processors: one is this one, where it has VNNI; the other saturates by the rule."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from processors import CLIPPED, EXACT, Emulated, _sums

from smoothcert.classifiers.integer_products import saturates
from smoothcert.classifiers.onnx import OnnxClassifier

exact_here = pytest.mark.skipif(saturates(), reason="this processor saturates")


def convolution(path, channels, *, groups=1, kernel=(3, 3), last=None, **attributes):
    """A quantized convolution of random bytes by random int8 weights, then a matrix product."""
    rng = np.random.default_rng(0)
    out = 8 if groups == 1 else groups * 2
    shapes = {"w": (out, channels // groups, *kernel), "v": (out * 36, 4)}
    constants = {name: rng.integers(-127, 128, shape, np.int8) for name, shape in shapes.items()}
    constants |= {
        "s": np.float32(0.02),
        "b": np.float32(200),
        "u": np.uint8(113),
        "ws": rng.random(out).astype(np.float32) + np.float32(0.1),
        "wz": np.zeros(out, np.int8),
        "vz": np.int8(3),
        "shape": np.array([0, -1]),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "u"], ["q"]),
        helper.make_node(
            *("QLinearConv", ["q", "s", "u", "w", "ws", "wz", "b", "u"], ["y"]),
            group=groups,
            **attributes,
        ),
        helper.make_node("Reshape", ["y", "shape"], ["f"]),
        helper.make_node("QLinearMatMul", ["f", "b", "u", "v", "s", "vz", "b", "u"], ["z"]),
        helper.make_node("DequantizeLinear", ["z", "b", "u"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    sets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), path)
    return path


@exact_here
@pytest.mark.parametrize("channels", [1, 3, 4, 16])
@pytest.mark.parametrize("groups", [1, "all"])
def test_without_saturation_it_is_this_processor(channels, groups, tmp_path):
    groups = channels if groups == "all" else groups
    path = convolution(tmp_path / "c.onnx", channels, groups=groups, pads=[1, 1, 1, 1])
    images = np.random.default_rng(1).normal(0, 1.3, (5, channels, 6, 6)).astype(np.float32)
    found = Emulated(path, saturating=False).logits(images)
    assert len(np.unique(found)) > 10
    assert (found == OnnxClassifier.load(path).logits(images)).all()
    assert (found != Emulated(path, saturating=True).logits(images)).any()


def test_pairs_are_clipped_by_the_rule():
    rng = np.random.default_rng(0)
    rows, weights = rng.integers(0, 256, (4, 7), np.uint8), rng.integers(-127, 128, (7, 3), np.int8)

    def by_hand(row, column, low, high):
        products = [int(a) * int(w) for a, w in zip(row, column, strict=True)] + [0]
        pairs = list(pairwise(products))[::2]
        return sum(min(max(a + b, low), high) for a, b in pairs)

    for limits in (CLIPPED, EXACT):
        expected = [[by_hand(row, column, *limits) for column in weights.T] for row in rows]
        assert (_sums(rows, weights, 0, 0, limits) == expected).all()
    assert (_sums(rows, weights.view(np.uint8), 0, 0, CLIPPED) >= 0).all()
