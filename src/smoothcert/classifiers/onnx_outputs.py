"""Which output of an ONNX graph holds the class scores, where that is certain."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from smoothcert.errors import ModelError, did_you_mean

_FLOATS = {"tensor(float)", "tensor(float16)", "tensor(double)"}
_NUMBERS = re.compile(r"tensor\((u?int\d+|bool)\)")
_MAPS = re.compile(r"seq\(map\(int64,\s*tensor\(float\)\)\)")
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
_SCORES = "A certificate needs a score for each class, of which the largest counts"


@dataclass(frozen=True)
class Output:
    """An output of a session.

    Attributes:
        name: its name in the graph.
        first: whether it is the file's first output, which a fingerprint does not mention.
        alone: whether it is the file's only output.
        mapped: whether its rows are maps from classes 0 .. K - 1 to scores.
    """

    name: str
    first: bool
    alone: bool
    mapped: bool = False


def chosen_output(file: str, model: onnx.ModelProto, there: Sequence[Any], asked: str) -> Output:
    """The requested output, or the only one that can be scores of shape (batch, classes).

    Args:
        file: the file's name, for messages.
        model: the graph.
        there: the session's outputs, with `name`, `type` and `shape`.
        asked: a name, or empty.

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
    mapped = bool(_MAPS.fullmatch(found.type))
    return Output(found.name, found is there[0], len(there) == 1, mapped)


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
    classes = _class_numbers(model.graph)
    if classes in (None, list(range(len(classes or ())))):
        return
    if not asked or _MAPS.fullmatch(found.type):
        raise ModelError(
            f"{file} was trained on the classes {', '.join(map(str, classes[:4]))}, ... Here the "
            "classes are 0, 1, 2, ...: number the data's classes like that, in the same order, "
            f"and name the output with one score per column: {file}#NAME ({_listed_names(model)})"
        )


def _class_numbers(graph: onnx.GraphProto) -> list[int] | None:
    """The numbers of the classes in a graph from scikit-learn, if any."""
    found = (a for node in graph.node for a in node.attribute if a.name in _CLASSES and a.ints)
    attribute = next(found, None)
    return None if attribute is None else list(attribute.ints)


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


def _listed_names(model: onnx.ModelProto) -> str:
    return ", ".join(o.name for o in model.graph.output)
