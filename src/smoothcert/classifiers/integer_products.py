"""Products of 8-bit integers in ONNX models, which some processors compute inexactly.

ONNX Runtime multiplies uint8 activations by int8 weights. x86 processors without VNNI have only an
instruction (vpmaddubsw) that adds two adjacent products in 16 bits and saturates beyond them:
255 * 127 + 255 * 127 becomes 32767. With VNNI or AMX, and on ARM, sums are exact, as they are
everywhere with uint8 weights. So one file can give different labels on two processors.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from smoothcert.classifiers.onnx_files import constants, parts_of

_LARGEST_SUM = 32767 // 255
"""Two weights of one sign whose sum is no larger: their products with bytes fit into 16 bits."""

_FLOAT_PRODUCTS = {"Conv", "Gemm", "MatMul"}
"""Operators that are computed in integers if both of their first inputs are dequantized."""

_INTEGER_PRODUCTS = {
    "QLinearConv": (3,),
    "QLinearMatMul": (3,),
    "ConvInteger": (1,),
    "MatMulInteger": (1,),
    "QGemm": (3,),
    "MatMulIntegerToFloat": (1,),
    "DynamicQuantizeMatMul": (1,),
    "QAttention": (1,),
    "DynamicQuantizeLSTM": (1, 2),
}
"""Operators on integers, and which of their inputs are weights."""

_MOVES = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "MaxPool"}
"""Operators that ONNX Runtime applies to the integers themselves."""


@cache
def saturates() -> bool:
    """Whether ONNX Runtime's sums of uint8 by int8 products are inexact on this processor.

    Measured: small graphs whose pairs of products exceed 16 bits are run with default options, for
    each of the kernels behind convolutions and matrix products.
    """
    return any(found != exact for found, exact in map(_run, _probes()))


def has_integer_products(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime multiplies integers in this graph, with or without external tensors.

    Weights alone that are stored as integers are not: they are dequantized first.
    """
    return any(_products(model))


def can_saturate(path: Path) -> bool:
    """Whether the sum of two products in this ONNX file can exceed 16 bits, so that some
    processors clip it.

    By the weights alone: for any activations, and whichever two products of a sum a kernel adds
    first. So False is certain; True means that no input rules it out, not that one was found.

    Raises:
        OSError, google.protobuf.message.DecodeError: not a readable file, or not ONNX.
    """
    model = onnx.load(path)
    stored = constants(model)
    makers = _makers(model)
    return any(_exceeds(one, stored, makers) for one in _products(model))


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


@dataclass(frozen=True)
class _Product:
    """A node that multiplies integers, and the name of the integers that are its weights."""

    node: onnx.NodeProto
    weight: str

    def of_outputs(self, weights: NDArray[Any]) -> NDArray[Any]:
        """The weights with those of one sum, and no others, along the last axis."""
        if "Conv" in self.node.op_type:
            return weights.reshape(len(weights), -1)
        if weights.ndim < 2 or any(a.name == "transB" and a.i for a in self.node.attribute):
            return weights
        return np.swapaxes(weights, -1, -2)


def _makers(model: onnx.ModelProto) -> Mapping[str, onnx.NodeProto]:
    """The node that makes each value. Names are looked up in the whole model, as if it were a
    single graph."""
    return {name: node for node in parts_of(model, onnx.NodeProto) for name in node.output}


def _products(model: onnx.ModelProto) -> Iterator[_Product]:
    makers = _makers(model)
    for node in parts_of(model, onnx.NodeProto):
        for place in _INTEGER_PRODUCTS.get(node.op_type, ()):
            yield _Product(node, node.input[place])
        if node.op_type in _FLOAT_PRODUCTS:
            first, second = (_quantized(name, makers) for name in node.input[:2])
            if first and second:
                yield _Product(node, second)


def _quantized(name: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The integers that these floats were dequantized from; empty if they were not."""
    node = makers.get(name)
    while node is not None and node.op_type in _MOVES:
        node = makers.get(node.input[0])
    return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else ""


def _exceeds(
    product: _Product, stored: Mapping[str, TensorProto], makers: Mapping[str, onnx.NodeProto]
) -> bool:
    tensor = stored.get(product.weight)
    if tensor is None:
        return _may_be_signed(makers.get(product.weight), stored)
    if tensor.data_type != TensorProto.INT8:
        return False
    sums = product.of_outputs(numpy_helper.to_array(tensor).astype(np.int16))
    if sums.shape[-1] < 2:
        return False
    signed = np.stack([sums, -sums]).clip(0)
    return bool((np.partition(signed, -2)[..., -2:].sum(axis=-1) > _LARGEST_SUM).any())


def _may_be_signed(maker: onnx.NodeProto | None, stored: Mapping[str, TensorProto]) -> bool:
    """Whether integers that are computed may be int8; they are bytes if nothing is said."""
    if maker is None or maker.op_type not in ("QuantizeLinear", "DynamicQuantizeLinear"):
        return True
    kinds = [a.i for a in maker.attribute if a.name == "output_dtype" and a.i]
    for name in maker.input[2:3]:
        kinds.append(stored[name].data_type if name in stored else TensorProto.INT8)
    return TensorProto.INT8 in kinds
