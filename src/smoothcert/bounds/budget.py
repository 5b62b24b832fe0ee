"""The conditional error budget: how much error the replay may make, given the cache's evidence.

Let s be superuniform (a p-value of the cache at the true parameter) and let a second test err
with probability at most g(s) given the cache. The pair errs with probability at most the
integral of g over [0, 1] when g is nonincreasing (docs/theory.md, section 7).
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput

_SHRINK = 1e-12  # so that the integral of the floats, summed exactly, stays below alpha
_LEAST = float(np.finfo(float).tiny)  # below, floats lose their digits


@dataclass(frozen=True)
class Budget:
    """A nonincreasing step function g on [0, 1]: 1, then falling as 1/s, then a floor.

    Args:
        alpha: the maximum of the integral.
        floor: the smallest value, available whatever the cache says; alpha/2 by default (0).
        cells: number of steps of the falling part; more steps are tighter and slower.

    Raises:
        InvalidInput: alpha, floor or cells out of range, or so small that a step of the budget is
            not a normal float (about 1e-305).
    """

    alpha: float
    floor: float = 0.0
    cells: int = 64

    def __post_init__(self) -> None:
        """Check the numbers, and that the integral of what was built is at most alpha."""
        inside = 0 < self.alpha < 1 and 0 <= self.floor < self.alpha
        if not (inside and isinstance(self.cells, int) and self.cells >= 8):
            raise InvalidInput(
                "A budget needs 0 <= floor < alpha < 1 and at least eight cells; got "
                f"alpha={self.alpha}, floor={self.floor}, cells={self.cells}"
            )
        if min(self.lowest, (self.alpha - self.lowest) / self.cells) < _LEAST:
            raise InvalidInput(
                "A budget's floor and steps must be normal floats: use an alpha and a floor of "
                f"1e-300 or more; got alpha={self.alpha}, floor={self.floor}, cells={self.cells}"
            )
        if self.integral > Fraction(self.alpha):
            raise InvalidInput(f"The budget's integral exceeds alpha = {self.alpha}")

    @property
    def lowest(self) -> float:
        """The floor in use."""
        return self.floor or self.alpha / 2

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """Left ends of the steps after the first, shape (cells + 1,); the first runs from 0.

        Where s is below edges[0], g is 1: the cache alone rules out such a parameter.
        """
        # With a large alpha the falling part would continue beyond 1, where no s can be.
        return np.minimum(self._uncut, 1.0)

    @cached_property
    def _uncut(self) -> NDArray[np.float64]:
        ratio = (1 / self.lowest) ** (1 / self.cells)
        start = (self.alpha - self.lowest) / (self.cells * (1 - 1 / ratio)) * (1 - _SHRINK)
        return start * ratio ** np.arange(self.cells + 1)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """g on (edges[i], edges[i + 1]], and last on (edges[-1], 1]: shape (cells + 1,)."""
        falling = np.maximum(self._uncut[0] / self._uncut[1:], self.lowest)
        return np.append(falling, self.lowest)

    @property
    def integral(self) -> Fraction:
        """The integral of g over [0, 1], exactly."""
        edges = [Fraction(e) for e in self.edges.tolist()] + [Fraction(1)]
        steps = zip(edges, edges[1:], self.values.tolist(), strict=False)
        return edges[0] + sum((b - a) * Fraction(g) for a, b, g in steps)
