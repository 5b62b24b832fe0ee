"""Which output of an ONNX graph holds the class scores, where that is certain."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from smoothcert.errors import ModelError, did_you_mean

_FLOATS = {"tensor(float)", "tensor(float16)", "tensor(double)"}
_NUMBERS = re.compile(r"tensor\((u?int\d+|bool)\)")
_MAPS = re.compile(r"seq\(map\((int64|string),\s*tensor\(float\)\)\)")
_NO_SCORES = {
    "ArgMax": "numbers of classes",
    "ArgMin": "numbers of classes",
    "TopK": "the best few classes, in their order",
}
_PASSES = {
    *("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Neg", "Dropout"),
    *("Softmax", "LogSoftmax", "Sigmoid"),
}
"""Operators after which the node before still determines what an output means."""

_CLASSES = ("classlabels_ints", "classlabels_int64s")
_NAMES = "classlabels_strings"
_SCORES = "A certificate needs a score for each class, of which the largest counts"


@dataclass(frozen=True)
class Output:
    """An output of a session.

    Attributes:
        name: its name in the graph.
        first: whether it is the file's first output, which a fingerprint does not mention.
        alone: whether it is the file's only output.
        keys: where its rows are maps from classes to scores, the classes in their order.
        classes: the names of the classes in their order, if the file has them.
    """

    name: str
    first: bool
    alone: bool
    keys: tuple[int | str, ...] = ()
    classes: tuple[str, ...] = ()


def chosen_output(file: str, model: onnx.ModelProto, there: Sequence[Any], asked: str) -> Output:
    """The requested output, or the only one that can be scores of shape (batch, classes).

    Raises:
        ModelError: no such output, several candidates, or one that does not hold scores.
    """
    if not there:
        raise ModelError(f"{file} has no output; a classifier has one with a score per class.")
    known = {o.name: i for i, o in enumerate(there)}
    if asked and asked not in known:
        near = did_you_mean(asked, known)
        raise ModelError(f"{file} has no output {asked!r}. It has: {_listed(there)}{near}")
    found = there[known[asked]] if asked else _only(file, model, there)
    _check(file, model, found, asked)
    keys = _keys(file, model.graph, found) if _MAPS.fullmatch(found.type) else ()
    names = _of_classes(model.graph.node, (_NAMES,))
    classes = tuple(map(str, names or ()))
    return Output(found.name, found is there[0], len(there) == 1, keys, classes)


def _only(file: str, model: onnx.ModelProto, there: Sequence[Any]) -> Any:
    if len(there) == 1:
        return there[0]
    declared = {o.name: o.type.tensor_type.HasField("shape") for o in model.graph.output}
    scores = [o for o in there if o.type in _FLOATS and _may_be_scores(o.shape, declared[o.name])]
    scores = scores or [o for o in there if _MAPS.fullmatch(o.type)]
    if len(scores) == 1:
        return scores[0]
    if not scores:
        raise ModelError(
            f"{file} has no output of shape (batch, classes) in floats. It has: {_listed(there)}. "
            f"{_SCORES}."
        )
    names = " or ".join(f"{file}#{o.name}" for o in scores)
    raise ModelError(
        f"{file} has {len(scores)} outputs that can be the class scores: "
        f"{_listed(scores)}. Name the right one: {names}"
    )


def _may_be_scores(shape: Sequence[Any], declared: bool) -> bool:
    """Whether a shape can be (batch, classes), ignoring axes of one; an undeclared one can."""
    if not shape:
        return not declared
    return len(shape) > 1 and sum(size != 1 for size in shape[1:]) == 1


def _check(file: str, model: onnx.ModelProto, found: Any, asked: str) -> None:
    maker = _maker(model.graph, found.name)
    if maker is not None and maker.op_type in _NO_SCORES:
        raise ModelError(
            f"{file} gives {_NO_SCORES[maker.op_type]} in its output {found.name!r} "
            f"({maker.op_type}). {_SCORES}: export the network without that operator."
        )
    numbers = found.type in _FLOATS or _NUMBERS.fullmatch(found.type)
    if not numbers and not _MAPS.fullmatch(found.type):
        raise ModelError(
            f"{file} gives a {found.type} in its output {found.name!r}, not one tensor of numbers. "
            f"{_SCORES}. A scikit-learn model is converted with options={{'zipmap': False}}."
        )
    if found.type not in _FLOATS and numbers and len(found.shape) == 1:
        raise ModelError(
            f"{file} gives one whole number per row in its output {found.name!r}. {_SCORES}: "
            "export the scores too."
        )
    classes = _of_classes(model.graph.node, _CLASSES)
    if classes in (None, [*range(len(classes or ()))]) or asked:
        return
    names = ", ".join(o.name for o in model.graph.output)
    raise ModelError(
        f"{file} was trained on the classes {', '.join(map(str, classes[:4]))}, ... Here the "
        "classes are 0, 1, 2, ...: number the data's classes like that, in the same order (of a "
        'table, by "classes" in its columns file), and name the output of the scores: '
        f"{file}#NAME ({names})"
    )


def _of_classes(
    nodes: Iterable[onnx.NodeProto], attributes: Sequence[str]
) -> list[int | str] | None:
    """The classes in a graph from scikit-learn or its like, in their order, if any."""
    for node in nodes:
        for one in node.attribute:
            if one.name in attributes and (one.ints or one.strings):
                return [*one.ints, *(text.decode("utf-8", "replace") for text in one.strings)]
    return None


def _keys(file: str, graph: onnx.GraphProto, found: Any) -> tuple[int | str, ...]:
    """The keys of an output's maps, in the order of the classes."""
    makers = (node for node in graph.node if found.name in node.output)
    keys = _of_classes(makers, (*_CLASSES, _NAMES))
    if keys is None:
        raise ModelError(
            f"{file} gives maps in its output {found.name!r}, and does not say which classes they "
            "are of. Convert it with options={'zipmap': False}."
        )
    return tuple(keys)


def _maker(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    """The node that determines what an output means."""
    makers = {output: node for node in graph.node for output in node.output}
    node = makers.get(name)
    while node is not None and node.op_type in _PASSES and node.input:
        node = makers.pop(node.input[0], None)
    return node


def _listed(outputs: Sequence[Any]) -> str:
    return ", ".join(f"{o.name} {o.type} {_shape(o.shape)}" for o in outputs)


def _shape(shape: Sequence[Any]) -> str:
    return f"({', '.join(str(size or '?') for size in shape)})"
