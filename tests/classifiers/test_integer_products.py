"""Which files multiply integers, and what this processor makes of it."""

from itertools import combinations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import smoothcert
from smoothcert.classifiers import integer_products
from smoothcert.classifiers.integer_products import can_saturate, has_integer_products, saturates
from smoothcert.compress import compress


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    from support import onnx_graphs

    path = tmp_path_factory.mktemp("products") / "net.onnx"
    onnx.save(onnx_graphs.model(), path)
    return path


def test_this_processor_is_measured_once():
    assert saturates() is saturates()
    assert saturates.cache_info().hits


def test_a_wrong_sum_is_noticed(monkeypatch):
    """The control: 255 * 127 * 2 that became 32767 is no exact sum."""
    monkeypatch.setattr(integer_products, "_run", lambda probe: ({32767 * probe.terms // 2}, {1}))
    assert saturates.__wrapped__()


@pytest.mark.parametrize(
    ("target", "expected"),
    [("int8", True), ("int8-dynamic", True), ("int8-weights", False), ("bf16-weights", False)],
)
def test_which_files_multiply_integers(target, expected, original, tmp_path):
    train = smoothcert.load_inputs("digits", "train", limit=32)
    out = tmp_path / "out.onnx"
    compress(original, target, out, inputs=train, sigma=0.25)
    assert not has_integer_products(onnx.load(original))
    assert has_integer_products(onnx.load(out)) == expected
    assert not can_saturate(out)


INT8, UINT8 = onnx.TensorProto.INT8, onnx.TensorProto.UINT8


def written(path, operator, weights, **attributes):
    """A product of dequantized bytes with these dequantized weights, or with computed ones."""
    nodes = [helper.make_node("DequantizeLinear", ["x", "s"], ["a"])]
    tensors = {"s": np.float32(1), "u": np.uint8(3), "i": np.int8(0)}
    if isinstance(weights, np.ndarray):
        tensors["w"] = weights
    else:
        nodes.append(helper.make_node("QuantizeLinear", ["f", "s", *weights], ["w"]))
    nodes += [
        helper.make_node("DequantizeLinear", ["w", "s"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"]) if not attributes else None,
        helper.make_node(operator, ["a", "b" if attributes else "c"], ["y"], **attributes),
    ]
    graph = helper.make_graph(
        [node for node in nodes if node],
        "g",
        [helper.make_tensor_value_info("x", UINT8, None)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph), path)
    return path


def by_hand(sums) -> bool:
    """Whether any bytes make any two products of a sum leave 16 bits."""
    return any(
        not -(2**15) <= x * int(v) + y * int(w) < 2**15
        for one in sums
        for v, w in combinations(one, 2)
        for x in (0, 255)
        for y in (0, 255)
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [("Conv", {"group": 1}), ("Gemm", {"transB": 1}), ("Gemm", {"transB": 0})],
)
def test_a_file_can_saturate_if_two_products_can(seed, operator, attributes, tmp_path):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-75, 75, (3, 2, 1, 2) if operator == "Conv" else (3, 4), np.int8)
    sums = weights.reshape(3, 4) if attributes != {"transB": 0} else weights.T
    path = written(tmp_path / "p.onnx", operator, weights, **attributes)
    assert can_saturate(path) == by_hand(sums)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([64, 64], False),
        ([64, 65], True),
        ([-64, -65], True),
        ([127, -127], False),  # products of opposite signs
        ([127], False),
    ],
)
def test_where_the_limit_is(weights, expected, tmp_path):
    column = np.array([weights], np.int8)
    path = written(tmp_path / "p.onnx", "Gemm", column, transB=1)
    assert can_saturate(path) == by_hand(column) == expected
    as_bytes = written(tmp_path / "u.onnx", "Gemm", column.view(np.uint8), transB=1)
    assert has_integer_products(onnx.load(as_bytes))
    assert not can_saturate(as_bytes)


@pytest.mark.parametrize(("zero", "expected"), [(["u"], False), ([], False), (["i"], True)])
def test_products_of_two_computed_factors(zero, expected, tmp_path):
    """As in attention."""
    path = written(tmp_path / "p.onnx", "MatMul", zero)
    assert has_integer_products(onnx.load(path))
    assert can_saturate(path) == expected
