"""Read complete ONNX graphs, convert them to a later operator set, and write them."""

from pathlib import Path

import onnx
from onnx import version_converter

from smoothcert.errors import ModelError

FRONT = "smoothcert/"
"""How the names of the nodes that `adapt` puts in front begin; no compression touches them."""

INITIALIZERS = 4
"""The first version of the format whose initializers need not be inputs."""

_MOST_INLINE = 2**31 - 2**24
"""Bytes of tensors up to which a model is one file; protobuf's limit is 2 GB."""


def read(path: Path) -> onnx.ModelProto:
    """A complete model, with initializers for the nodes in which some converters keep weights."""
    model = onnx.load(path)
    graph = model.graph
    kept = []
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value" and a.HasField("t")]
        if node.op_type != "Constant" or not values:
            kept.append(node)
            continue
        tensor = graph.initializer.add()
        tensor.CopyFrom(values[0])
        tensor.name = node.output[0]
    if len(kept) < len(graph.node):
        model.ir_version = max(model.ir_version, INITIALIZERS)
        nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
        graph.ClearField("node")
        graph.node.extend(nodes)
    return model


def inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The graph's inputs that are not initializers too."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [one for one in model.graph.input if one.name not in stored]


def without_notes(path: Path) -> onnx.ModelProto:
    """A complete model without what exporters note of the source, which computes nothing.

    It can be a quarter of a small file, and names paths of the machine that exported it.
    """
    model = read(path)
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def save(model: onnx.ModelProto, out: Path) -> None:
    """Write a graph: one file, or with large tensors, which are taken out, in `NAME.onnx.data`."""
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size <= _MOST_INLINE:
        onnx.save(model, out)
        return
    beside = f"{out.name}.data"
    onnx.save(model, out, save_as_external_data=True, location=beside, size_threshold=1024)


def with_opset(model: onnx.ModelProto, needed: int) -> onnx.ModelProto:
    """The model with at least this version of the standard operators.

    Raises:
        ModelError: it cannot be converted.
    """
    version = opset_of(model)
    if version >= needed:
        return model
    try:
        return version_converter.convert_version(model, needed)
    except Exception as error:  # the converter has no exception types of its own
        raise ModelError(
            f"The ONNX graph has operator set {version}; this needs {needed}, but it cannot be "
            f"converted: {str(error).strip().splitlines()[0]}. Export it again with "
            f"opset_version={needed}."
        ) from error


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators; 1 if the graph uses none of them."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
