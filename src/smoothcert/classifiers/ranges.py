"""From [0, 1] back to the numbers of a table's columns, in front of a model that takes these."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.columns import Columns
from smoothcert.errors import ModelError

_SHOWN = 3


@dataclass(frozen=True)
class Ranges:
    """What 0 and 1 are in each column, as a columns file says.

    Attributes:
        low: the value that is 0, a number per column.
        high: the value that is 1, likewise.
        step: the column has only the values low, low + step, ..., and the model gets no others: it
            gets the nearest of them (halves to even). 0 where it has any values.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    step: tuple[float, ...]

    @staticmethod
    def of(columns: Columns) -> "Ranges":
        """Those of the columns that the model gets, in its order."""
        some = columns.features
        return Ranges(
            tuple(float(one.low) for one in some),
            tuple(float(one.high) for one in some),
            tuple(float(one.step or 0) for one in some),
        )

    @property
    def start(self) -> NDArray[np.float64]:
        """The low of each column, shape (D,)."""
        return np.array(self.low)

    @property
    def stepped(self) -> NDArray[np.bool_]:
        """Which columns have steps of their own, shape (D,)."""
        return np.array(self.step) > 0

    @property
    def counts(self) -> NDArray[np.float64]:
        """Steps from low to high, and 1 without steps, shape (D,)."""
        span = np.array(self.high) - self.start
        return np.where(self.stepped, np.rint(span / np.where(self.stepped, self.step, 1)), 1.0)

    @property
    def units(self) -> NDArray[np.float64]:
        """A step in the column's own unit, and the whole range without steps, shape (D,)."""
        return np.where(self.stepped, self.step, np.array(self.high) - self.start)

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The columns' own numbers of values (B, D), computed in float64.

        Raises:
            ModelError: another number of columns.
        """
        if values.ndim != 2 or values.shape[1] != len(self.low):
            raise ModelError(f"{self.mismatch(values.shape)}. Give the table that it is for.")
        scaled = values.astype(np.float64) * self.counts
        whole = np.where(self.stepped, np.rint(scaled), scaled)
        return (whole * self.units + self.start).astype(np.float32)

    def mismatch(self, shape: Sequence[Any]) -> str:
        """What is wrong with inputs of another shape."""
        return (
            f"The columns file is for rows of {len(self.low)} columns, and inputs have shape "
            f"{tuple(shape[1:])}"
        )

    def record(self) -> dict[str, list[float]]:
        """For JSON."""
        return {name: list(values) for name, values in asdict(self).items()}

    def describe(self) -> str:
        """The first columns, in words."""
        some = [
            f"{low:g}..{high:g}" + (f" in steps of {step:g}" if step else "")
            for low, high, step in zip(self.low, self.high, self.step, strict=True)
        ]
        more = f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
        return f"each column from 0..1 to its own range ({', '.join(some[:_SHOWN])}{more})"
