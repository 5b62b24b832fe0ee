"""The layers of an ONNX graph: convolutions and matrix products with stored weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from smoothcert.errors import InvalidInput, ModelError, did_you_mean

_OPERATORS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}


@dataclass(frozen=True)
class Layer:
    """One node and the initializer that is its weight.

    Attributes:
        node: the node's name.
        weight: the initializer's name.
        axis: the weight's axis of output channels.
    """

    node: str
    weight: str
    axis: int

    def matches(self, pattern: str) -> bool:
        """Whether a pattern matches this layer.

        With `*`, `?` or `[` it is a glob for the whole name of the node or the weight;
        otherwise it is part of one of them.
        """
        if set(pattern) & set("*?["):
            return any(fnmatchcase(name, pattern) for name in (self.node, self.weight))
        return pattern in self.node or pattern in self.weight


def layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers in the order of the graph; nodes without a name get one, in the model."""
    stored = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    found = []
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        if node.op_type in _OPERATORS and len(node.input) > 1 and node.input[1] in stored:
            found.append(Layer(node.name, node.input[1], _axis(node)))
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


def assigned(
    text: str, chosen: Sequence[Layer], default: str, allowed: Sequence[str]
) -> Mapping[str, str]:
    """Node name to precision, from exceptions such as `layer3=int4,fc=fp32`.

    If several exceptions match a layer, the last one counts.

    Raises:
        InvalidInput: another form, an unknown precision, or a pattern that matches no layer; that
            error lists the layers.
    """
    found = dict.fromkeys((layer.node for layer in chosen), default)
    for exception in text.split(",") if text else ():
        pattern, equals, precision = exception.rpartition("=")
        if not equals or not pattern or precision not in allowed:
            raise InvalidInput(
                f"Exceptions must be LAYER=PRECISION with commas between them, PRECISION one of "
                f"{', '.join(allowed)}; got {exception!r}{did_you_mean(precision, allowed)}"
            )
        matched = [layer.node for layer in chosen if layer.matches(pattern)]
        if not matched:
            names = ", ".join(f"{layer.node} ({layer.weight})" for layer in chosen)
            raise InvalidInput(f"No layer matches {pattern!r}. The layers (weights) are: {names}")
        found.update(dict.fromkeys(matched, precision))
    return found


def _axis(node: onnx.NodeProto) -> int:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else _OPERATORS[node.op_type]
