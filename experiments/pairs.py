"""Collected votes of an original and a changed network, side by side."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from collected_votes import ORIGINAL, Place, Recorded
from numpy.typing import NDArray
from tables import options


@dataclass(frozen=True, eq=False)
class Pair:
    """Two networks on the images that the original's selection draws get right.

    Attributes:
        architecture, sigma, network: which.
        old, new: labels of the same draws, shape (images, n).
        classes: the class to be certified, shape (images,).
    """

    architecture: str
    sigma: float
    network: str
    old: NDArray[np.int32]
    new: NDArray[np.int32]
    classes: NDArray[np.int64]

    @property
    def facts(self) -> dict:
        """For rows."""
        return {
            "architecture": self.architecture,
            "sigma": self.sigma,
            "network": self.network,
        }

    @property
    def n(self) -> int:
        """Draws per image."""
        return self.old.shape[1]

    @cached_property
    def votes(self) -> NDArray[np.int64]:
        """Of the original for the class, shape (images,)."""
        return (self.old == self.classes[:, None]).sum(axis=1)

    @cached_property
    def changed(self) -> NDArray[np.int64]:
        """Labels that differ among the first 0..n draws, shape (images, n + 1)."""
        return _running(self.old != self.new)

    @cached_property
    def hits(self) -> NDArray[np.int64]:
        """Votes of the new network for the class among its first 0..n draws, (images, n + 1)."""
        return _running(self.new == self.classes[:, None])

    @cached_property
    def lost(self) -> NDArray[np.int64]:
        """Of the original's first 0..n winners, those that the new network loses; (images, n + 1).

        Beyond an image's last winner the count stays.
        """
        won = self.old == self.classes[:, None]
        order = np.argsort(~won, axis=1, kind="stable")
        gone = won & (self.new != self.classes[:, None])
        return _running(np.take_along_axis(gone, order, axis=1))


def _running(found: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.pad(np.cumsum(found, axis=1), ((0, 0), (1, 0)))


def rows_of_all(
    description: str | None, rows_of: Callable[[Pair], Iterable[dict]]
) -> tuple[argparse.Namespace, list[dict]]:
    """The command line of a script on all pairs, and its rows of each, one after the other."""
    given = options(description).parse_args()
    rows = []
    for pair in pairs(Place.found(given.votes)):
        rows += rows_of(pair)
        print(pair.facts, flush=True)
    return given, rows


def pairs(places: Iterable[Place]) -> Iterator[Pair]:
    """Every changed network that was collected, with its original."""
    for place in places:
        if place.network == ORIGINAL:
            continue
        original, changed = Recorded.read(place.original), Recorded.read(place)
        records = original.certification.records, changed.certification.records
        old, new = (np.stack([r.votes.estimation for r in some]) for some in records)
        classes = np.array([r.certificate.candidate for r in records[0]])
        right = classes == original.classes
        facts = (place.architecture, place.sigma, place.network)
        yield Pair(*facts, old[right], new[right], classes[right])
