"""Average certified radius against evaluations, and the area ratio that compares two curves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Curve:
    """What a method proves as a function of evaluations.

    Attributes:
        method: its name.
        evaluations: of the new model over the whole data set, increasing, shape (points,).
        acr: average certified radius, shape (points,).
    """

    method: str
    evaluations: NDArray[np.float64]
    acr: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check the shapes and the order."""
        if self.evaluations.shape != self.acr.shape or self.evaluations.ndim != 1:
            raise InvalidInput("A curve needs as many radii as evaluations, in one dimension")
        if not len(self.acr) or np.any(np.diff(self.evaluations) <= 0):
            raise InvalidInput("A curve needs points in order of increasing evaluations")

    @property
    def rising(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(acr, evaluations) at the points with a larger radius than all earlier ones."""
        best = np.maximum.accumulate(self.acr)
        first = np.append(True, np.diff(best) > 0)
        return best[first], self.evaluations[first]

    def evaluations_for(self, acr: float) -> float | None:
        """Evaluations at which the curve reaches this ACR, interpolated; None if it does not."""
        radii, evaluations = self.rising
        if not radii[0] <= acr <= radii[-1]:
            return None
        return float(np.interp(acr, radii, evaluations))


def area_ratio(base: Curve, method: Curve) -> float | None:
    """How many times the evaluations of `method` the other needs, on average over the radii.

    The ratio of the areas under evaluations against ACR, linear between points, over the ACR
    range that both curves reach; None if there is no such range.

    Source: Ugare et al. (ICLR 2024), with evaluations in place of time.
    """
    (base_acr, base_cost), (acr, cost) = base.rising, method.rising
    low, high = max(base_acr[0], acr[0]), min(base_acr[-1], acr[-1])
    if low >= high:
        return None
    knots = np.unique(np.concatenate([base_acr, acr, [low, high]]))
    knots = knots[(knots >= low) & (knots <= high)]
    over, under = (
        float(np.trapezoid(np.interp(knots, radii, costs), knots))
        for radii, costs in ((base_acr, base_cost), (acr, cost))
    )
    return over / under
