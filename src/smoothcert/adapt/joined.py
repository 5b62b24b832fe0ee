"""Two ONNX graphs, one after the other, as one."""

from collections.abc import Callable, Iterator

import onnx

from smoothcert.compress.onnx_graph import inputs_of, opset_of, with_opset
from smoothcert.errors import ModelError

_STANDARD = ("", "ai.onnx")


def joined(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the second graph that gets its only input from the first.

    Args:
        first: a graph of one input and one output, without functions of its own.
        second: a graph of one input.

    Raises:
        ModelError: they need different versions of the same operators, or one cannot be converted.
    """
    newest = max(opset_of(first), opset_of(second))
    front, made = onnx.ModelProto(), onnx.ModelProto()
    front.CopyFrom(with_opset(first, newest))
    made.CopyFrom(with_opset(second, newest))
    _add_operators(made, front)
    graph, given = made.graph, inputs_of(made)[0].name
    taken = set(_names(graph)) - {given}
    prefix = "denoiser/"
    while any(name.startswith(prefix) for name in taken):
        prefix = f"first_{prefix}"
    clean = f"{prefix}clean"
    ends = {inputs_of(front)[0].name: "images" if "images" not in taken else f"{prefix}images"}
    ends[front.graph.output[0].name] = clean
    _rename(front.graph, lambda name: ends.get(name) or f"{prefix}of/{name}")
    _rename(graph, lambda name: clean if name == given else name)
    others = [one for one in graph.input if one.name != clean]
    nodes, inputs = [*front.graph.node, *graph.node], [*front.graph.input, *others]
    for field, values in (("node", nodes), ("input", inputs)):
        kept = [type(one).FromString(one.SerializeToString()) for one in values]
        graph.ClearField(field)
        getattr(graph, field).extend(kept)
    graph.initializer.extend(front.graph.initializer)
    graph.sparse_initializer.extend(front.graph.sparse_initializer)
    made.ir_version = max(made.ir_version, front.ir_version)
    return made


def _add_operators(made: onnx.ModelProto, front: onnx.ModelProto) -> None:
    """Let a model use the operators of another too."""
    versions = {one.domain: one.version for one in made.opset_import}
    for one in front.opset_import:
        if one.domain in _STANDARD:
            continue
        if one.domain not in versions:
            made.opset_import.append(one)
        elif versions[one.domain] != one.version:
            raise ModelError(
                f"The denoiser has version {one.version} of the operators {one.domain}, and the "
                f"classifier {versions[one.domain]}. Export both with the same version."
            )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and those inside of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + [*attribute.graphs]:
                yield from _graphs(inner)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of all nodes and tensors."""
    for part in _graphs(graph):
        for node in part.node:
            yield from (node.name, *node.input, *node.output)
        for values in (part.input, part.output, part.initializer):
            yield from (value.name for value in values)


def _rename(graph: onnx.GraphProto, renamed: Callable[[str], str]) -> None:
    """Rename all nodes and tensors; an empty name, of what is left out, stays."""
    for part in _graphs(graph):
        for node in part.node:
            node.name = renamed(node.name) if node.name else ""
            for names in (node.input, node.output):
                names[:] = [renamed(name) if name else "" for name in names]
        for values in (part.input, part.output, part.initializer, part.value_info):
            for value in values:
                value.name = renamed(value.name)
        for sparse in part.sparse_initializer:
            sparse.values.name = renamed(sparse.values.name)
