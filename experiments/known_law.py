"""Classifiers whose every probability under noise is known: the noise of one pixel, cut to measure.

An input is one pixel; under noise it lands on a grid point, and a table says what a classifier
answers there. The grid points' labels are chosen so that pairs of classifiers have any joint law of
labels, to about 1e-12; the truth is then summed over the table. So the real engine, with its real
noise, draws labels of any law, and a different law for each input if needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.data.inputs import Inputs

LEVELS = 2**18
STEPS = 200
"""Grid steps in one sigma."""

SIGMA = STEPS / LEVELS

_REACH = 10 * STEPS  # beyond the largest noise that 64 bits can ask for
_WIDTH = 2 * _REACH + 1

PROBABILITY = np.diff(special.ndtr((np.arange(-_REACH, _REACH + 2) - 0.5) / STEPS))
"""Of every grid point within reach of an input."""

PLACES = LEVELS // _WIDTH
"""How many inputs fit beside each other without sharing a grid point."""


@dataclass(frozen=True)
class Law:
    """Joint probabilities of an original's label and a new classifier's: rows are the original's.

    Attributes:
        joint: (classes, classes), summing to 1.
        near: the original's margins are small where the new classifier differs.
    """

    joint: tuple[tuple[float, ...], ...]
    near: bool = False

    @staticmethod
    def of_class(p: float, u: float = 0.0, v: float = 0.0, near: bool = False) -> "Law":
        """Two classes: class 1 has probability p, is lost with u where it was, gained with v."""
        kept, gained = p * (1 - u), (1 - p) * v
        return Law(((1 - p - gained, gained), (p - kept, kept)), near)

    @staticmethod
    def alone(*probabilities: float) -> "Law":
        """Of one classifier; the new one is the same."""
        return Law(tuple(map(tuple, np.diag(probabilities).tolist())))


@dataclass(frozen=True, eq=False)
class Patchwork:
    """A classifier by its table: logits at every grid point, shape (grid points, classes)."""

    table: NDArray[np.float32]
    name: str = "patchwork"
    device: str = "cpu"
    fixed_batch: int | None = None

    @cached_property
    def fingerprint(self) -> str:
        return sha256(self.table.tobytes()).hexdigest()[:32]

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of (B, 1, 1, 1) images; beyond the table its last row."""
        points = np.rint(images.reshape(-1) * LEVELS).astype(np.int64)
        return self.table[np.minimum(points, len(self.table) - 1)]


def split(masses: NDArray, wanted: Sequence[float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal things out to parts so that the parts' masses are those wanted, as near as can be.

    The larger things go first, in an order that is random among things of about a size, so that two
    splits have little to do with each other.
    """
    order = np.argsort(-masses * rng.uniform(0.5, 1, len(masses)), kind="stable")
    parts = np.flatnonzero(np.asarray(wanted) > 0)
    missing = [float(wanted[part]) for part in parts]
    found = np.empty(len(masses), dtype=np.int64)
    for place in order.tolist():
        part = missing.index(max(missing))
        found[place] = parts[part]
        missing[part] -= float(masses[place])
    return found


@dataclass(frozen=True, eq=False)
class World:
    """Two classifiers, and inputs on which their labels have stated laws.

    Attributes:
        original, changed: the classifiers.
        original_truth, changed_truth: probability of each class at each place.
    """

    original: Patchwork
    changed: Patchwork
    original_truth: NDArray[np.float64]
    changed_truth: NDArray[np.float64]

    @staticmethod
    def of(laws: Sequence[Law], seed: int = 0) -> "World":
        """One place on the grid for each law.

        Raises:
            ValueError: more laws than PLACES.
        """
        if len(laws) > PLACES:
            raise ValueError(f"{PLACES} laws fit on the grid, not {len(laws)}")
        rng, classes = np.random.default_rng(seed), len(laws[0].joint)
        labels = np.zeros((2, LEVELS + _REACH), dtype=np.int64)
        gaps = np.ones(LEVELS + _REACH)
        for place, law in enumerate(laws):
            both = split(PROBABILITY, np.ravel(law.joint).tolist(), rng)
            here = slice(place * _WIDTH, (place + 1) * _WIDTH)
            labels[:, here] = np.divmod(both, classes)
            differ = labels[0, here] != labels[1, here]
            gaps[here] = rng.uniform(1, 2, _WIDTH) * np.where(differ & law.near, 0.4, 1.0)
        truths = truth(labels, len(laws), classes)
        return World(*(patchwork(row, gaps, classes) for row in labels), *truths)

    def inputs(self, count: int) -> Inputs:
        """So many inputs, the laws in turn; labelled 1."""
        place = np.arange(count) % len(self.original_truth)
        steps = place * _WIDTH + _REACH
        return Inputs.from_arrays(
            (steps / LEVELS).reshape(-1, 1, 1, 1), np.ones(count, int), grid=1 / LEVELS
        )


def patchwork(labels: NDArray, gaps: NDArray, classes: int) -> Patchwork:
    """The classifier with these labels, each ahead of the others by its gap."""
    table = np.zeros((len(labels), classes), dtype=np.float32)
    table[np.arange(len(labels)), labels] = gaps
    if classes > 2:  # no ties for the second place
        table -= np.arange(classes) * np.float32(0.01)
    return Patchwork(table)


def truth(labels: NDArray, places: int, classes: int) -> NDArray[np.float64]:
    """The probability of each class at each place: (..., places, classes)."""
    cut = labels[..., : places * _WIDTH].reshape(*labels.shape[:-1], places, _WIDTH)
    return np.stack([(cut == c) @ PROBABILITY for c in range(classes)], axis=-1)
