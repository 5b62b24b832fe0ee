"""A proxy for the energy of a classification: multiply-adds by width, and bits of weights moved.

    energy = 20.3 pJ * bits of weights + 4.6 pJ * multiply-adds in 32-bit floating point
             + 1.5 pJ * those in 16 bits + 0.3 pJ * those of 8-bit integers

The costs are those of a 45 nm chip at 0.9 V (M. Horowitz, "Computing's energy problem (and what we
can do about it)", ISSCC 2014): a multiplication and an addition in float32 take 3.7 + 0.9 pJ, in
float16 1.1 + 0.4, of 8-bit integers added up in 32 bits 0.2 + 0.1; 64 bits from DRAM take 1.3 to
2.6 nJ, of which the lower is taken. bfloat16 counts as float16.

It is a proxy and no measurement: each weight, as it is stored, is fetched from memory once per row,
as in batches of one without a cache that holds them; activations move at no cost; what is no
convolution or matrix product is left out; zeros are multiplied like other numbers. It compares
candidates of one network, and says little about a certain machine.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.data.inputs import Inputs
from smoothcert.errors import ModelError

if TYPE_CHECKING:
    import onnx

PICOJOULES = {32: 4.6, 16: 1.5, 8: 0.3}
"""Of a multiply-add, by the width of its factors; see the module."""

PICOJOULES_PER_BIT = 1300 / 64
"""Of a bit from memory."""

_INTEGER = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
_QLINEAR = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul"}


@dataclass(frozen=True)
class EnergyProxy:
    """What a classification of one row moves and computes.

    Attributes:
        weight_bits: bits of all weights and other constants, as they are stored in the file; of a
            network in code, as it holds them.
        multiply_adds: of convolutions and matrix products, by the width of the factors in bits.
    """

    weight_bits: int
    multiply_adds: Mapping[int, int]

    @property
    def picojoules(self) -> float:
        """The proxy; see the module for the formula and its source."""
        computed = sum(PICOJOULES[width] * n for width, n in self.multiply_adds.items())
        return PICOJOULES_PER_BIT * self.weight_bits + computed


def energy_proxy(model: str | Path, inputs: Inputs) -> EnergyProxy:
    """Count what a model moves and computes for one row.

    Args:
        model: a reference, as `load_classifier` takes. An ONNX graph is counted as it stands: a
            product of two numbers restored from 8-bit integers is one of integers, which
            ONNX Runtime makes of it. A torch network is run once; simulated int8 counts as the
            float32 that it computes in.
        inputs: example inputs, for their shape.

    Raises:
        ModelError: there is no such model, its shapes do not follow from its input's, or it is
            neither ONNX nor torch.
    """
    path = ModelReference.parse(str(model)).path
    classifier = load_classifier(model)
    if path is not None and path.suffix == ".onnx":
        return _of_graph(path, inputs.shape, classifier.name)
    return _of_network(classifier, path, inputs.shape)


def _of_graph(path: Path, shape: tuple[int, ...], name: str) -> EnergyProxy:
    from onnx import TensorProto

    from smoothcert.compress.onnx_graph import inputs_of, read

    model = read(path)
    bits = sum(_width(t.data_type) * prod(t.dims) for t in model.graph.initializer)
    images = inputs_of(model)[0]
    rows = images.type.tensor_type.shape.dim[0].dim_value or 1
    inferred, tensors = _with_shapes(model, images, (rows, *shape))
    restored = {n.output[0] for n in inferred.node if n.op_type == "DequantizeLinear"}
    counts = Counter[int]()
    for node in inferred.node:
        integer = node.op_type in (*_INTEGER, *_QLINEAR)
        kind = (_INTEGER | _QLINEAR).get(node.op_type, node.op_type)
        if kind not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        second = 3 if node.op_type in _QLINEAR else 1
        names = (node.input[0], node.input[second], node.output[0])
        if any(one not in tensors for one in names):
            raise ModelError(
                f"The shapes at {node.name or node.op_type} of {name} do not follow from the "
                f"shape {shape} of an input, so what it computes cannot be counted."
            )
        data, weight, out = (tensors[one].shape for one in names)
        integer = integer or restored.issuperset(names[:2])
        small = tensors[names[0]].kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16)
        counts[8 if integer else 16 if small else 32] += _products(kind, data, weight, out, node)
    return EnergyProxy(bits, {width: count // rows for width, count in counts.items()})


def _with_shapes(
    model: "onnx.ModelProto", images: "onnx.ValueInfoProto", shape: tuple[int, ...]
) -> "tuple[onnx.GraphProto, dict[str, _Tensor]]":
    """The graph for inputs of a shape, and its tensors as far as their shapes are known."""
    import onnx

    for dim, size in zip(images.type.tensor_type.shape.dim, shape, strict=False):
        dim.dim_value = size
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = {t.name: _Tensor(tuple(t.dims), t.data_type) for t in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        kind = value.type.tensor_type
        if value.name not in tensors and all(d.HasField("dim_value") for d in kind.shape.dim):
            sizes = tuple(d.dim_value for d in kind.shape.dim)
            tensors[value.name] = _Tensor(sizes, kind.elem_type)
    return inferred, tensors


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    kind: int


def _products(
    kind: str,
    data: tuple[int, ...],
    weight: tuple[int, ...],
    out: tuple[int, ...],
    node: "onnx.NodeProto",
) -> int:
    """Multiply-adds of a layer from the shapes of its factors and its result."""
    if kind == "Conv":
        return prod(out) * prod(weight[1:])
    if kind == "ConvTranspose":
        return prod(data) * prod(weight[1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return prod(out) * data[0 if transposed else -1]


def _width(kind: int) -> int:
    """Bits of a number of an ONNX type."""
    from onnx import TensorProto, helper

    if kind in (TensorProto.INT4, TensorProto.UINT4):
        return 4
    return 8 * helper.tensor_dtype_to_np_dtype(kind).itemsize


def _of_network(classifier: Any, path: Path | None, shape: tuple[int, ...]) -> EnergyProxy:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    from smoothcert.classifiers.pytorch import TorchClassifier

    if not isinstance(classifier, TorchClassifier):
        raise ModelError(
            f"{classifier.name} is neither an ONNX file nor a torch network, so what it computes "
            "cannot be counted. Export it to ONNX."
        )
    counts = Counter[int]()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            count = flop_registry.get(func._overloadpacket)
            if count is not None:
                first = out if isinstance(out, torch.Tensor) else out[0]
                operations = count(*args, **(kwargs or {}), out_val=out)
                counts[8 * first.element_size()] += operations // 2
            return out

    least = classifier.batches.start if classifier.batches else 2  # one might be a special case
    rows = classifier.fixed_batch or least
    with torch.no_grad(), Counting():
        classifier.module(torch.full((rows, *shape), 0.5, device=classifier.device))
    return EnergyProxy(_stored_bits(classifier, path), {w: n // rows for w, n in counts.items()})


def _stored_bits(classifier: Any, path: Path | None) -> int:
    """Bits of the tensors in a file of weights, or in a network."""
    if path is None or path.suffix != ".safetensors":
        state = classifier.module.state_dict().values()
        return sum(8 * t.element_size() * t.numel() for t in state)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118
    return sum(8 * t.element_size() * t.numel() for t in tensors)
