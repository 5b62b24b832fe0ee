"""Products of 8-bit integers in ONNX models, which some processors compute inexactly.

ONNX Runtime multiplies uint8 activations by int8 weights. x86 processors without VNNI have only an
instruction (vpmaddubsw) that adds two adjacent products in 16 bits and saturates beyond them:
255 * 127 + 255 * 127 becomes 32767. With VNNI or AMX, and on ARM, sums are exact, as they are
everywhere with uint8 weights. So one file can give different labels on two processors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from smoothcert.classifiers.onnx_files import parts_of

LARGEST_SUM = 32767 // 255
"""The largest sum of two weights of one sign whose products with activations fit into 16 bits."""

_FLOAT_PRODUCTS = {"Conv": 1, "Gemm": 1, "MatMul": 1}
"""Operators that are computed in integers if both factors are dequantized, and the weight's place
among their inputs."""

_INTEGER_PRODUCTS = {
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "QGemm": 3,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QAttention": 1,
    "DynamicQuantizeLSTM": 1,
}
_MOVES = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "MaxPool"}
"""Operators that ONNX Runtime applies to the integers themselves."""


@cache
def saturates() -> bool:
    """Whether ONNX Runtime's sums of uint8 by int8 products are inexact on this processor.

    Measured: small graphs whose pairs of products exceed 16 bits are run with default options, for
    each of the kernels behind convolutions and matrix products.
    """
    return any(found != exact for found, exact in map(_run, _probes()))


def has_integer_products(path: Path) -> bool:
    """Whether ONNX Runtime multiplies integers in this ONNX file.

    Weights alone that are stored as integers are not: they are dequantized first.

    Raises:
        OSError, google.protobuf.message.DecodeError: not a readable file, or not ONNX.
    """
    return any(True for _ in _products(onnx.load(path, load_external_data=False)))


@dataclass(frozen=True)
class _Probe:
    """A graph that computes `exact` in every element from inputs of 255 and weights of 127."""

    operator: str
    image: tuple[int, ...]
    weight: tuple[int, ...]

    @property
    def terms(self) -> int:
        """How many products are added."""
        return int(np.prod(self.weight[1:] if len(self.weight) > 2 else self.weight[:1]))


def _probes() -> Iterator[_Probe]:
    """The kernels that differ: a convolution of many channels, one via a matrix product, and
    matrix products with one row and with several."""
    yield _Probe("QLinearConv", (1, 16, 5, 5), (16, 16, 3, 3))
    yield _Probe("QLinearConv", (1, 3, 5, 5), (16, 3, 3, 3))
    yield _Probe("MatMulInteger", (1, 32), (32, 16))
    yield _Probe("MatMulInteger", (7, 32), (32, 16))
    yield _Probe("QLinearMatMul", (7, 32), (32, 16))


def _run(probe: _Probe) -> tuple[set[int], set[int]]:
    """The values found, and the exact one."""
    exact, quantized = 255 * 127 * probe.terms, probe.operator.startswith("QLinear")
    constants = {
        "w": np.full(probe.weight, 127, np.int8),
        "one": np.float32(1),
        "u": np.uint8(0),
        "s": np.int8(0),
        "scale": np.float32(exact / 200),
    }
    inputs = ["x", "one", "u", "w", "one", "s", "scale", "u"] if quantized else ["x", "w"]
    graph = helper.make_graph(
        [helper.make_node(probe.operator, inputs, ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, probe.image)],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.UINT8 if quantized else TensorProto.INT32, None
            )
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if k in inputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: Any = session.run(None, {"x": np.full(probe.image, 255, np.uint8)})[0]
    return set(np.unique(found).tolist()), {200 if quantized else exact}


def _products(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, str]]:
    """The nodes that multiply integers, and the name of the integers that are their weights.

    Names are looked up in the whole model, as if it were a single graph.
    """
    nodes = list(parts_of(model, onnx.NodeProto))
    makers = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.op_type in _INTEGER_PRODUCTS:
            yield node, node.input[_INTEGER_PRODUCTS[node.op_type]]
        elif node.op_type in _FLOAT_PRODUCTS:
            factors = [_quantized(name, makers) for name in node.input[:2]]
            if all(factors):
                yield node, factors[1]


def _quantized(name: str, makers: dict[str, onnx.NodeProto]) -> str:
    """The integers that these floats were dequantized from; empty if they were not."""
    node = makers.get(name)
    while node is not None and node.op_type in _MOVES:
        node = makers.get(node.input[0])
    return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else ""
