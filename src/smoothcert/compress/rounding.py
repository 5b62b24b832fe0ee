"""What the targets of rounded weights ask for, by their names and exceptions of layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.compress.layers import Layer, assigned
from smoothcert.compress.request import Request
from smoothcert.compress.symmetric import BITS, FP8, GRIDS, levels, on_grid
from smoothcert.errors import InvalidInput
from smoothcert.text import many

PACKED = tuple(name for name, bits in BITS.items() if bits <= 4)
"""What fits into ONNX's 4-bit integers; more bits take 8."""

HALVES = {"bf16": "bfloat16", "fp16": "float16"}
"""The 16-bit types, and torch's names for them."""

_WHOLE = "fp32"
_PRECISIONS = (*BITS, FP8, *HALVES, _WHOLE)
_MOST_IN_GROUP = 2**16


@dataclass(frozen=True)
class Rounding:
    """What weights are rounded to.

    Attributes:
        precision: one of `symmetric.GRIDS` or `HALVES`.
        group: on a grid, the weights of a channel that share a scale; 0 for all of it.
    """

    precision: str
    group: int = 0

    @property
    def has_grid(self) -> bool:
        """Whether there are scales; else it is a type of 16 bits."""
        return self.precision in GRIDS

    @property
    def opset(self) -> int:
        """The first operator set that restores it."""
        if self.group or self.precision in PACKED:
            return 21
        return 19 if self.precision == FP8 else 13

    def on_grid(self, weights: NDArray[Any], axis: int) -> NDArray[np.float32]:
        """A layer's weights on the grid, in float32."""
        return on_grid(weights, axis, self.precision, self.group)

    def describe(self) -> str:
        """In words that follow `rounded to`."""
        if not self.has_grid:
            return HALVES[self.precision]
        per = f"{self.group} weights of an output channel" if self.group else "output channel"
        if self.precision == FP8:
            return f"float8 (e4m3fn) times a scale per {per}"
        grid = f"a symmetric {BITS[self.precision]}-bit grid per {per}"
        return f"{grid} ({2 * levels(self.precision) + 1} levels)"


@dataclass(frozen=True)
class WeightFormats:
    """What a target rounds each tensor of a model to.

    Attributes:
        default: the target's own rounding.
        of: the rounding of each tensor that is rounded, by its name.
        kept: tensors that the target would round and an exception keeps in float32.
        exceptions: how many layers have another precision, by that.
    """

    default: Rounding
    of: Mapping[str, Rounding]
    kept: frozenset[str]
    exceptions: Mapping[str, int]

    @property
    def names(self) -> frozenset[str]:
        """All tensors that the report counts."""
        return self.kept | self.of.keys()

    @property
    def grids(self) -> bool:
        """Whether a tensor is on a grid, hence has scales."""
        return any(rounding.has_grid for rounding in self.of.values())

    @property
    def halves(self) -> bool:
        """Whether a tensor has a 16-bit type."""
        return not all(rounding.has_grid for rounding in self.of.values())

    def describe(self) -> str:
        """In words."""
        parts = [f"weights rounded to {self.default.describe()}"]
        for precision, count in self.exceptions.items():
            to = "left in float32"
            if precision != _WHOLE:
                to = f"rounded to {Rounding(precision).describe()}"
            parts.append(f"{many(count, 'layer')} {to}")
        return ", ".join(parts)


def weight_formats(
    request: Request, layers: Sequence[Layer], tensors: Iterable[str]
) -> WeightFormats:
    """What a target such as `int4-weights:32`, or `int8-weights:conv1=int4,fc=fp32`, asks for.

    An exception does to a layer what the target of that name does: 16 bits are for its weight and
    its bias, a grid is for its weight alone, and `fp32` leaves both. What belongs to no layer, such
    as normalization, is as without exceptions: rounded by the 16-bit targets only.

    Args:
        request: the request.
        layers: the model's layers.
        tensors: the float32 tensors that a 16-bit type would round, these layers' included.

    Raises:
        InvalidInput: no number of weights that can share a scale, or a type without scales; an
            exception that `assigned` refuses; nothing left to round; or layers that share a weight
            and should have different ones.
    """
    default, text = _parsed(request)
    precisions = assigned(text, layers, default.precision, _PRECISIONS)
    wanted = _by_weight(layers, precisions)
    rounded = {
        k: default if p == default.precision else Rounding(p)
        for k, p in wanted.items()
        if p != _WHOLE
    }
    if text and not rounded:
        raise InvalidInput(f"{request.target} leaves no layer to round. Give fewer exceptions.")
    every = [] if default.has_grid else [name for name in tensors if name not in wanted]
    others = dict.fromkeys(every, default) | _biases(layers, precisions, tensors)
    of = rounded | {name: one for name, one in others.items() if one is not None}
    kept = frozenset(wanted) - rounded.keys() | frozenset(every) - of.keys()
    changed = [p for p in precisions.values() if p != default.precision]
    counts = {p: changed.count(p) for p in _PRECISIONS if p in changed}
    return WeightFormats(default, of, kept, counts)


def _by_weight(layers: Sequence[Layer], precisions: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    nodes: dict[str, str] = {}
    for layer in layers:
        shared = layer.shared or layer.weight
        precision, first = precisions[layer.node], nodes.setdefault(shared, layer.node)
        if precisions[first] != precision:
            raise InvalidInput(
                f"The layers {first} and {layer.node} share one weight, which can have one "
                f"precision only; got {precisions[first]} and {precision}. Give both the same."
            )
        found[layer.weight] = precision
    return found


def _biases(
    layers: Sequence[Layer], precisions: Mapping[str, str], tensors: Iterable[str]
) -> dict[str, Rounding | None]:
    """What each bias is rounded to; None for float32, also if the layers that share it differ."""
    known, found = set(tensors), dict[str, Rounding | None]()
    for layer in layers:
        precision = precisions[layer.node]
        if layer.bias in known:
            rounding = Rounding(precision) if precision in HALVES else None
            same = found.get(layer.bias, rounding) == rounding
            found[layer.bias] = rounding if same else None
    return found


def _parsed(request: Request) -> tuple[Rounding, str]:
    """The rounding of layers without exceptions, and the text of the exceptions."""
    precision, argument = request.target.partition("-")[0], request.argument
    head, comma, exceptions = argument.partition(",")
    if not head or "=" in head:
        return Rounding(precision), argument
    known = head.isascii() and head.isdecimal() and len(head) < 8
    if precision not in GRIDS:
        raise InvalidInput(
            f"{request.kind} takes no argument but exceptions for layers, as in "
            f"{request.kind}:fc=fp32; got {request.target!r:.60}"
        )
    if not known or not 2 <= int(head) <= _MOST_IN_GROUP or (comma and not exceptions):
        raise InvalidInput(
            f"{request.kind} takes how many weights share a scale, 2 to {_MOST_IN_GROUP}, as "
            f"in {request.kind}:32, or nothing for one scale per channel, and exceptions for "
            f"layers, as in {request.kind}:fc=fp32 or {request.kind}:32,fc=fp32; got "
            f"{argument!r:.60}"
        )
    return Rounding(precision, int(head)), exceptions
