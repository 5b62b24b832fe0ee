"""The layers of an ONNX graph: convolutions and matrix products with stored weights."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from smoothcert.compress.layers import Layer
from smoothcert.errors import ModelError

_OPERATORS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}


def layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers in the order of the graph; nodes without a name get one, in the model."""
    stored = {t.name: t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    found = []
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        if node.op_type in _OPERATORS and len(node.input) > 1 and node.input[1] in stored:
            weight = stored[node.input[1]]
            count = int(np.prod(weight.dims, dtype=np.int64))
            bias = node.input[2] if len(node.input) > 2 and node.input[2] in stored else ""
            found.append(Layer(node.name, weight.name, _axis(node), count, bias))
    if not found:
        raise ModelError(
            "The ONNX graph has no convolution or matrix product with stored float32 weights, so "
            "there is nothing to quantize. If it is a compressed model, use its original."
        )
    return found


def weights_of(model: onnx.ModelProto, chosen: Sequence[Layer]) -> dict[str, NDArray[np.float32]]:
    """The weight of each layer by its name."""
    names = {layer.weight for layer in chosen}
    tensors = [t for t in model.graph.initializer if t.name in names]
    return {t.name: numpy_helper.to_array(t) for t in tensors}


def _axis(node: onnx.NodeProto) -> int:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else _OPERATORS[node.op_type]
