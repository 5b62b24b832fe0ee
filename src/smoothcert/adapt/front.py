"""Preprocessing as nodes in front of an ONNX graph, and its batch axis."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from smoothcert.adapt.shapes import Dims, images_shape
from smoothcert.classifiers.onnx_files import parts_of
from smoothcert.classifiers.preprocessing import Preprocessing, per_channel
from smoothcert.classifiers.ranges import Ranges
from smoothcert.classifiers.resampling import SHARPNESS
from smoothcert.compress.onnx_graph import FRONT, inputs_of, opset_of, with_opset
from smoothcert.errors import ModelError
from smoothcert.vocabulary import RESAMPLINGS

_BROADCASTS, _ROUNDS, _RESIZES, _ANTIALIASES = 7, 11, 13, 18
"""The first operator sets with what the nodes need."""


def dims_of(value: onnx.ValueInfoProto) -> Dims:
    """A tensor's declared sizes; an unknown one is its symbol, or empty text."""
    return [
        dim.dim_value if dim.dim_value > 0 else dim.dim_param
        for dim in value.type.tensor_type.shape.dim
    ]


def with_front(model: onnx.ModelProto, wanted: Preprocessing) -> onnx.ModelProto:
    """A copy that takes float32 images (B, C, H, W) in [0, 1] and does this to them first.

    Raises:
        ModelError: its input does not fit them, or its operator set cannot be converted.
    """
    model = _with_operators(model, wanted)
    graph, given = model.graph, inputs_of(model)[0]
    shape = images_shape(dims_of(given), wanted)
    kind = given.type.tensor_type.elem_type
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    taken = names | {one.name for one in (*graph.initializer, *graph.input, *graph.output)}
    if any(name.startswith(FRONT) for name in taken | {node.name for node in graph.node}):
        raise ModelError("It has operations of `adapt` in front already: adapt the original.")
    chain = Chain("images" if "images" not in taken else f"{FRONT}images")
    if wanted.ranges:
        chain.columns(wanted.ranges)
    if wanted.resize:
        chain.resize(wanted.resize, wanted.resampling)
    if wanted.scale != 1:
        chain.constant("Mul", np.float32(wanted.scale))
    if wanted.channels == "bgr":
        chain.constant("Gather", np.array([2, 1, 0]), axis=1)
    if wanted.mean:
        chain.constant("Sub", per_channel(wanted.mean, len(shape)))
    if wanted.std:
        chain.constant("Div", per_channel(wanted.std, len(shape)))
    if wanted.whole:
        chain.bytes()
    elif kind != TensorProto.FLOAT:
        chain.add("Cast", to=kind)
    if wanted.layout == "nhwc":
        chain.add("Transpose", perm=[0, 2, 3, 1])
    elif wanted.layout == "flat":
        chain.add("Flatten", axis=1)
    if not chain.nodes:
        return model
    chain.nodes[-1].output[0] = given.name
    nodes = [*chain.nodes, *graph.node]
    inputs = [one for one in graph.input if one.name != given.name]
    first = helper.make_tensor_value_info(chain.first, TensorProto.FLOAT, shape)
    graph.ClearField("node")
    graph.node.extend(nodes)
    graph.ClearField("input")
    graph.input.extend([first, *inputs])
    graph.initializer.extend(chain.constants)
    model.ir_version = max(model.ir_version, 4)  # initializers need not be inputs
    return model


def freed(model: onnx.ModelProto, rows: int) -> onnx.ModelProto:
    """A copy whose batch axis is open: the input's, the outputs', and that of constant shapes.

    Whether it computes the same must be tried: a batch size can be anywhere in a graph.
    """
    model = _copy(model)
    graph = model.graph
    shapes = {t.name: t for t in graph.initializer if t.data_type == TensorProto.INT64}
    reached = {inputs_of(model)[0].name}
    for number, node in enumerate(graph.node):
        if reached.isdisjoint(node.input):
            continue
        reached.update(node.output)
        stored = shapes.get(node.input[1]) if node.op_type == "Reshape" else None
        if stored is None or node.input[0] not in reached:
            continue
        sizes = _open_first(numpy_helper.to_array(stored), rows, node)
        if sizes is not None:
            name = f"{FRONT}shape_{number}"
            graph.initializer.append(numpy_helper.from_array(sizes, name))
            node.input[1] = name
    for value in (inputs_of(model)[0], *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value in (rows, 0):
            dims[0].dim_param = "batch"
    graph.ClearField("value_info")
    used = {name for node in parts_of(model, onnx.NodeProto) for name in node.input}
    used |= {value.name for value in (*graph.output, *graph.input)}
    kept = [t for t in graph.initializer if t.name in used or t.name not in shapes]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    graph.ClearField("initializer")
    graph.initializer.extend(kept)
    return model


def with_rows(model: onnx.ModelProto, rows: int) -> onnx.ModelProto:
    """A copy that says that it takes only batches of so many rows."""
    model = _copy(model)
    inputs_of(model)[0].type.tensor_type.shape.dim[0].dim_value = rows
    return model


def _open_first(
    sizes: NDArray[np.int64], rows: int, node: onnx.NodeProto
) -> NDArray[np.int64] | None:
    """A Reshape's sizes with the first as in its input; None if that is not its batch."""
    zero_is_zero = any(a.name == "allowzero" and a.i for a in node.attribute)
    if sizes.ndim != 1 or not sizes.size or sizes[0] != rows or (zero_is_zero and -1 in sizes):
        return None
    return np.array([-1 if zero_is_zero else 0, *sizes[1:]], np.int64)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _with_operators(model: onnx.ModelProto, wanted: Preprocessing) -> onnx.ModelProto:
    """A copy with the operator set that the nodes need."""
    needed = _ROUNDS if wanted.whole or wanted.ranges else _BROADCASTS
    if wanted.resize:
        needed = _ANTIALIASES if RESAMPLINGS[wanted.resampling][1] else _RESIZES
    model = _copy(model)
    if not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", needed))
    try:
        return with_opset(model, needed)
    except ModelError as error:
        plain = f"{wanted.resampling}-plain"
        if needed != _ANTIALIASES or opset_of(model) < _RESIZES:
            raise
        raise ModelError(f"{error} Or give --resampling {plain}, which needs less.") from error


class Chain:
    """Nodes, each of which takes what the last one gives.

    Attributes:
        first, last: names of the tensor before them, and of what they give by now.
        nodes, constants: what goes into the graph.
    """

    def __init__(self, first: str, prefix: str = FRONT) -> None:
        """Begin at a tensor; all names begin with the prefix."""
        self.first: str = first
        self.last: str = first
        self.prefix: str = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *others: str, **attributes: Any) -> None:
        """Append a node of the last tensor, and of others."""
        name = f"{self.prefix}{len(self.nodes)}_{kind}"
        self.nodes.append(
            helper.make_node(kind, [self.last, *others], [name], name=name, **attributes)
        )
        self.last = name

    def store(self, array: ArrayLike) -> str:
        """The name of a constant."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def constant(self, kind: str, array: ArrayLike, **attributes: Any) -> None:
        """Append a node of the last tensor and a constant."""
        self.add(kind, self.store(array), **attributes)

    def columns(self, ranges: Ranges) -> None:
        """From the [0, 1] scale to a table's own values."""
        self.add("Cast", to=TensorProto.DOUBLE)
        self.constant("Mul", ranges.counts)
        if ranges.stepped.any():
            scaled = self.last
            self.add("Round")  # half to even, as numpy.rint
            name, self.last = self.last, self.store(ranges.stepped)
            self.add("Where", name, scaled)
        self.constant("Mul", ranges.units)
        self.constant("Add", ranges.start)
        self.add("Cast", to=TensorProto.FLOAT)

    def bytes(self) -> None:
        """Round to bytes."""
        self.add("Round")  # half to even, as numpy.rint
        self.add("Clip", self.store(np.float32(0)), self.store(np.float32(255)))
        self.add("Cast", to=TensorProto.UINT8)

    def resize(self, size: tuple[int, int], resampling: str) -> None:
        """Resize to (height, width)."""
        kernel, antialias = RESAMPLINGS[resampling]
        images = self.last
        self.add("Shape")
        self.add("Slice", self.store(np.array([0])), self.store(np.array([2])))
        self.add("Concat", self.store(np.array(size)), axis=0)
        sizes, self.last = self.last, images
        more: dict[str, Any] = {"antialias": 1, "exclude_outside": 1} if antialias else {}
        if kernel == "cubic":
            more["cubic_coeff_a"] = SHARPNESS[antialias]
        self.add(
            "Resize",
            *("", "", sizes),
            mode=kernel,
            coordinate_transformation_mode="half_pixel",
            **more,
        )
