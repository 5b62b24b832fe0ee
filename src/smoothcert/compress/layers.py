"""The layers whose weights a compression can change, and exceptions for some of them by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from smoothcert.errors import InvalidInput, did_you_mean


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product and the tensor that is its weight.

    Attributes:
        node: the node of an ONNX graph, or the module of a torch network.
        weight: the weight's name: of the initializer, or in the network's state.
        axis: the weight's axis of output channels.
        parameters: the entries of the weight.
        bias: the bias' name; empty if there is none.
        shared: the name by which another layer has the same weight; empty if none has.
    """

    node: str
    weight: str
    axis: int
    parameters: int = 0
    bias: str = ""
    shared: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What names this layer alone: node, weight, and the weight without `.weight`."""
        return self.node, self.weight, self.weight.removesuffix(".weight")

    def matches(self, pattern: str) -> bool:
        """Whether a pattern matches this layer.

        With `*`, `?` or `[` it is a glob for the whole name of the node or the weight;
        otherwise it is part of one of them.
        """
        if set(pattern) & set("*?["):
            return any(fnmatchcase(name, pattern) for name in (self.node, self.weight))
        return pattern in self.node or pattern in self.weight


def assigned(
    text: str, chosen: Sequence[Layer], default: str, allowed: Sequence[str]
) -> Mapping[str, str]:
    """Node name to precision, from exceptions such as `layer3=int4,fc=fp32`.

    A pattern that is a layer's name means that layer; any other, all that it matches. If several
    exceptions match a layer, the last one counts.

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
        named = [layer for layer in chosen if pattern in layer.names]
        matched = named or [layer for layer in chosen if layer.matches(pattern)]
        if not matched:
            raise InvalidInput(f"No layer matches {pattern!r}. {listed(chosen)}")
        found.update(dict.fromkeys((layer.node for layer in matched), precision))
    return found


def listed(chosen: Sequence[Layer]) -> str:
    """A sentence with the layers' names and sizes."""
    if not chosen:
        return "It has no layers that exceptions can name."
    names = ", ".join(f"{one.node} ({one.weight}, {one.parameters:,})" for one in chosen)
    return f"The layers (weights, and how many) are: {names}"
