"""Certified accuracy against radius: for each input on its own, and over all inputs together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds.together import mean_above, wrong_at_most
from smoothcert.certificate import Certificate
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.runs.store import Run
from smoothcert.summary import correct_radii
from smoothcert.text import visible

_MOST_POINTS = 400
_MOST_IN_ALL = 16_000  # points of a chart, so that many runs fit into a page
_FARTHEST = 6.0  # sigmas; a radius beyond has a probability within 1e-9 of 1

PUBLISHED = (
    "Curves named published are figures of others as they are: nothing is claimed of them here."
)
"""What is said wherever a `Published` log is drawn."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A nonincreasing step curve, rounded to the safe side where it has been thinned out.

    Attributes:
        name: name of the run or model.
        x: radii, ascending from 0.
        y: share of the inputs with that radius or more, one for each of `x`.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def at(self, x: ArrayLike) -> NDArray[np.float64]:
        """Its values at some places, each of the next point there or beyond; 0 beyond its last."""
        return np.append(self.y, 0.0)[np.searchsorted(self.x, x, side="left")]


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


@dataclass(frozen=True, eq=False)
class Published:
    """A published log, to be drawn beside runs; nothing is claimed of it.

    Attributes:
        name: the file's.
        sigma: noise standard deviation.
        radii: as published, -1 for images that are not certified with the right class.
    """

    name: str
    sigma: float
    radii: NDArray[np.float64]


def points(curves: int) -> int:
    """How many points each of `curves` curves may have."""
    return max(20, min(_MOST_POINTS, _MOST_IN_ALL // curves))


def per_input(run: Run, most: int = _MOST_POINTS) -> Curve:
    """Share of inputs certified with their label, each with its own probability."""
    return of_certificates(run.name, run.certificates, run.labels, most)


def of_certificates(
    name: str,
    certificates: Sequence[Certificate],
    labels: Sequence[int | None] | None,
    most: int = _MOST_POINTS,
) -> Curve:
    """The same of certificates in memory."""
    return steps(name, correct_radii(certificates, labels), 0, most)


def axis_name(labels: Sequence[int | None] | None) -> str:
    """What the curve shows: nothing is called accuracy where no label is known."""
    return "share certified" if labels is None else "certified accuracy"


def of_all(run: Run, most: int = _MOST_POINTS) -> tuple[Curve, Together]:
    """The same over all inputs together (docs/theory.md, section 11), at the run's own alpha."""
    alpha = run.identity.alpha
    radii = correct_radii(run.certificates, run.labels)
    wrong = wrong_at_most(len(radii), alpha, alpha)
    together = Together(len(radii), wrong, alpha, mean_above(radii, wrong))
    return steps(run.name, radii, wrong, most), together


def of_screening(certificate: DatasetCertificate, most: int = _MOST_POINTS) -> Curve:
    """A dataset certificate's curve."""
    radii = np.linspace(0, _FARTHEST * certificate.pool.sigma, most)
    share = certificate.certified_accuracy(radii)
    kept = max(1, int((share > 0).sum()))
    return Curve(visible(certificate.name), radii[:kept], share[:kept])


def of_published(log: Published, most: int = _MOST_POINTS) -> Curve:
    """A published log's curve: its figures as they are."""
    return steps(f"{log.name} (σ = {log.sigma:g}, published)", log.radii, 0, most)


def thinned(curve: Curve, most: int) -> Curve:
    """A curve of at most so many points, nowhere above the whole one."""
    kept = np.unique(np.linspace(0, len(curve.x) - 1, min(most, len(curve.x))).round().astype(int))
    return Curve(curve.name, curve.x[kept], curve.y[kept])


def steps(name: str, values: NDArray[np.float64], wrong: int, most: int) -> Curve:
    """The share of values of at least x, of which the `wrong` largest do not count.

    Args:
        name: name of the run or model.
        values: one for each input, shape (count,); a negative one counts nowhere.
        wrong: how many may be too high.
        most: the most points; more are thinned out.
    """
    ordered = np.sort(values[values >= 0])[: max(0, (values >= 0).sum() - wrong)]
    x = np.unique(np.concatenate([[0.0], ordered]))
    if len(x) > most:
        x = np.linspace(0, x[-1], most)
    reached = len(ordered) - np.searchsorted(ordered, x, side="left")
    return Curve(visible(name), x, reached / len(values))
