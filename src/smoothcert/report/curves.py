"""Certified accuracy against radius: of each input on its own, and of all of them together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds.together import mean_above, wrong_at_most
from smoothcert.methods.pooled import DatasetCertificate
from smoothcert.names import visible
from smoothcert.runs.store import Run
from smoothcert.summary import correct_radii

_MOST_POINTS = 400
_FARTHEST = 6.0  # sigmas; a radius beyond has a probability within 1e-9 of 1


@dataclass(frozen=True, eq=False)
class Curve:
    """A nonincreasing step curve, cut to the safe side where it has been thinned out.

    Attributes:
        name: of the run or model.
        x: radii, ascending from 0.
        y: share of the inputs with that radius or more, as large as `x`.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Together:
    """What a run's certificates prove of the whole data set, at all radii at once.

    Attributes:
        inputs: certified or not.
        wrong: how many of the certificates may be wrong.
        beta: the probability that more are.
        acr: lower limit of the mean certified radius.
    """

    inputs: int
    wrong: int
    beta: float
    acr: float


def per_input(run: Run) -> Curve:
    """Share of inputs that are certified of their label, each with its own probability."""
    return _steps(run, 0)


def of_all(run: Run) -> tuple[Curve, Together]:
    """The same of all inputs together (docs/theory.md, section 11), at the run's own alpha."""
    alpha = max(c.alpha for c in run.certificates)
    radii = correct_radii(run.certificates, run.labels)
    wrong = wrong_at_most(len(radii), alpha, alpha)
    return _steps(run, wrong), Together(len(radii), wrong, alpha, mean_above(radii, wrong))


def of_screening(certificate: DatasetCertificate) -> Curve:
    """A dataset certificate's curve."""
    radii = np.linspace(0, _FARTHEST * certificate.pool.sigma, _MOST_POINTS)
    share = certificate.certified_accuracy(radii)
    kept = max(1, int((share > 0).sum()))
    return Curve(visible(certificate.name), radii[:kept], share[:kept])


def _steps(run: Run, wrong: int) -> Curve:
    radii = correct_radii(run.certificates, run.labels)
    ordered = np.sort(radii[radii >= 0])[: max(0, (radii >= 0).sum() - wrong)]
    x = np.unique(np.concatenate([[0.0], ordered]))
    if len(x) > _MOST_POINTS:
        x = np.linspace(0, x[-1], _MOST_POINTS)
    reached = len(ordered) - np.searchsorted(ordered, x, side="left")
    return Curve(visible(run.name), x, reached / len(radii))
