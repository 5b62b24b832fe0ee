"""What the targets of rounded weights ask for, by their names."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.compress.request import Request
from smoothcert.compress.symmetric import BITS, FP8, GRIDS, levels, on_grid
from smoothcert.errors import InvalidInput

PACKED = tuple(name for name, bits in BITS.items() if bits <= 4)
"""What fits into ONNX's 4-bit integers; more bits take 8."""

_MOST_IN_GROUP = 2**16


@dataclass(frozen=True)
class Rounding:
    """What weights are rounded to.

    Attributes:
        precision: one of `symmetric.GRIDS`, `bf16` or `fp16`.
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
        """In words."""
        if not self.has_grid:
            return f"weights rounded to {'bfloat16' if self.precision == 'bf16' else 'float16'}"
        per = f"{self.group} weights of an output channel" if self.group else "output channel"
        if self.precision == FP8:
            return f"weights rounded to float8 (e4m3fn) times a scale per {per}"
        grid = f"a symmetric {BITS[self.precision]}-bit grid per {per}"
        return f"weights rounded to {grid} ({2 * levels(self.precision) + 1} levels)"


def rounding(request: Request) -> Rounding:
    """What a target such as `int4-weights:32` asks for.

    Raises:
        InvalidInput: no number of weights that can share a scale, or a type without scales.
    """
    precision, argument = request.target.partition("-")[0], request.argument
    if not argument or precision not in GRIDS:
        request.no_argument()
        return Rounding(precision)
    known = argument.isascii() and argument.isdecimal() and len(argument) < 8
    if not known or not 2 <= int(argument) <= _MOST_IN_GROUP:
        raise InvalidInput(
            f"{request.kind} takes how many weights share a scale, 2 to {_MOST_IN_GROUP}, as "
            f"in {request.kind}:32, or nothing for one scale per channel; got {argument!r:.30}"
        )
    return Rounding(precision, int(argument))
