"""Policies: how many evaluations to spend where."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput, did_you_mean
from smoothcert.planning.expected import ExpectedRadii

_RANGES = {
    "uniform": (1, 1e9),
    "budget": (0, 1e15),
    "retain": (0, 1),
    "loss": (0, 1e6),
    "radius": (0, 1e6),
    "minutes": (0.001, 1e6),
}
_FORMS = {
    "uniform": "uniform:M",
    "budget": "budget:B (a count, or a fraction of a run from scratch)",
    "minutes": "minutes:M",
    "retain": "retain:R",
    "loss": "loss:L",
    "radius": "radius:R",
}
_OF_REUSE = ("uniform", "budget", "minutes", "retain", "radius")
_FROM_SCRATCH = ("budget", "minutes", "retain", "loss", "radius")


@dataclass(frozen=True)
class Policy:
    """A spending policy: `uniform`, `budget`, `retain`, `loss`, `radius` or `minutes`, and its
    number. A plan is made by minutes once they are a `budget`, see `planning.timed`."""

    kind: str
    value: float

    @staticmethod
    def parse(text: str, scratch: bool = False) -> "Policy":
        """Read `kind:number`.

        Args:
            text: what was given.
            scratch: whether it is for a certification from scratch, where no radii are cached.

        Raises:
            InvalidInput: an unknown kind, or a number out of range.
        """
        kinds = _FROM_SCRATCH if scratch else _OF_REUSE
        said = ", ".join(_FORMS[name] for name in kinds)
        if not isinstance(text, str):
            raise InvalidInput(f"A policy must be {said}; got {text!r:.60}")
        kind, _, number = text.partition(":")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        low, high = _RANGES[kind] if kind in kinds else (1, 0)
        if not low <= value <= high or (kind == "uniform" and value != int(value)):
            near = "" if kind in kinds else did_you_mean(kind, kinds)
            raise InvalidInput(f"A policy must be {said}; got {text!r}{near}")
        return Policy(kind, value)

    def in_sigmas(self, settings: Settings) -> "Policy":
        """With a `radius` around the grid point, in units of sigma; the others as they are."""
        self.require_counted()
        if self.kind != "radius":
            return self
        return Policy(self.kind, settings.from_grid_point(self.value) / settings.sigma)

    def require_counted(self) -> None:
        """Raise InvalidInput for minutes, into which nobody has measured what fits."""
        if self.kind == "minutes":
            raise InvalidInput(
                f"How many evaluations fit into minutes:{self.value:g} is measured by certify and "
                "recertify. Elsewhere give budget:B, a count of evaluations."
            )

    def total(self, inputs: int, n: float) -> float:
        """The total evaluations it allows; a tenth of all cached draws where it sets no limit."""
        self.require_counted()
        if self.kind == "uniform":
            return self.value * inputs
        if self.kind == "budget":
            return self.value if self.value > 1 else self.value * inputs * n
        return inputs * n / 10

    def allocate(
        self, t: ExpectedRadii, row: NDArray[Any], proven: NDArray[np.bool_], n: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The column of the expected radii that each input gets, and its evaluations.

        Args:
            t: the radii to expect from evaluations.
            row: the inputs' rows in it.
            proven: inputs that the original certifies; only they get and cost anything.
            n: cached draws of each input.
        """
        radius = t.radius[row]
        if self.kind == "uniform":  # exactly as asked, not the table's next smaller size
            column = int(np.searchsorted(t.evaluations, self.value, side="right")) - 1
            return np.where(proven, max(column, 1), 0), np.where(proven, int(self.value), 0)
        if self.kind == "retain":
            column = first_reaching(radius, self.value * t.cached(row, np.maximum(n, 1)))
        elif self.kind == "radius":
            column = first_reaching(radius, np.full(len(row), self.value))
        else:
            column = _water_filling(
                radius, t.spent[row], proven, self.total(len(row), float(n.mean()))
            )
        column[~proven] = 0
        return column, t.spent[row, column]


def first_reaching(radius: NDArray[Any], target: NDArray[Any]) -> NDArray[np.int64]:
    """The cheapest column that reaches the target; none (0) where no column does."""
    reached = radius >= target[:, None]
    return np.where(reached.any(axis=1), reached.argmax(axis=1), 0)


def _water_filling(
    radius: NDArray[Any], cost: NDArray[Any], proven: NDArray[np.bool_], total: float
) -> NDArray[np.int64]:
    """Maximize the summed radius within a total cost: bisect the price of an evaluation."""
    low, high = 0.0, 1.0
    column = np.zeros(len(radius), dtype=np.int64)
    for _ in range(60):
        price = (low + high) / 2
        tried = (radius - price * cost).argmax(axis=1)
        spent = cost[np.arange(len(cost)), tried][proven].sum()
        if spent <= total:
            high, column = price, tried
        else:
            low = price
    return column
