"""What an input can be given for the exact test, and the radius to expect; expected, not proven.

Everything here follows from selection draws: an input's *type* is its selection votes for the class
and for the best other one, and what is expected of it is averaged over the probabilities that these
leave open.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.bounds import binomial
from smoothcert.planning.expected import lower, upper
from smoothcert.planning.flips import FlipRates

_ROWS, _COLUMNS, _FEWEST = 160, 40, 10
_PARTS = (np.arange(8) + 0.5) / 8  # of the law of the replays lost, for means


@dataclass(frozen=True, eq=False)
class SecondLooks:
    """For each row, a second look at the replays; see `methods.steps.Step`.

    Attributes:
        second: votes to replay in all; 0 for a single look.
        fewest, most: votes lost at the first look with which there is a second.
        later: replays of the second look to be expected.
    """

    second: NDArray[np.int64]
    fewest: NDArray[np.int64]
    most: NDArray[np.int64]
    later: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Choice:
    """For each row of a table, a size or none.

    Attributes:
        replays, fresh: evaluations of the first look, one of the two 0; int64 of any one shape.
        others: of the replays, those for each other class; see `methods.steps.Step`.
        radius: to be expected, in units of sigma.
        looks: the second looks, if there are any.
    """

    replays: NDArray[np.int64]
    others: NDArray[np.int64]
    fresh: NDArray[np.int64]
    radius: NDArray[np.float64]
    looks: SecondLooks | None = None

    @property
    def cost(self) -> NDArray[np.float64]:
        """Evaluations to be expected."""
        first = (self.replays + self.fresh).astype(float)
        return first if self.looks is None else first + self.looks.later


@dataclass(frozen=True, eq=False)
class Table:
    """Radii by row and size, from replays and from fresh draws; 0 draws first.

    Attributes:
        replays, others, fresh: as of `Choice`, each of shape (rows, columns).
        replayed, drawn: the radii to expect from them, in units of sigma, of the same shape.
    """

    replays: NDArray[np.int64]
    others: NDArray[np.int64]
    fresh: NDArray[np.int64]
    replayed: NDArray[np.float64]
    drawn: NDArray[np.float64]

    def best(self, price: float) -> Choice:
        """In each row what is best if an evaluation costs so much radius."""
        return self._chosen(
            (self.replayed - price * self.replays).argmax(axis=1),
            (self.drawn - price * self.fresh).argmax(axis=1),
            price,
        )

    def sized(self, size: int) -> Choice:
        """Exactly so many in every row, as replays or as fresh draws."""
        column = np.searchsorted(self.fresh[0], size, side="right") - 1
        place = np.full(len(self.fresh), max(int(column), 1))
        found = self._chosen(place, place, 0.0)
        part = size / np.maximum(found.replays, 1)
        replays, fresh = (np.where(x > 0, size, 0) for x in (found.replays, found.fresh))
        return Choice(replays, (found.others * part).astype(np.int64), fresh, found.radius)

    def radius(self, chosen: Choice) -> NDArray[np.float64]:
        """What a choice's evaluations prove by row, whatever they aim at; of both looks as one."""
        sizes = (self.replays, chosen.cost), (self.fresh, chosen.fresh)
        one, two = (
            np.array([np.interp(m, *row) for m, *row in zip(asked, known, found, strict=True)])
            for (known, asked), found in zip(sizes, (self.replayed, self.drawn), strict=True)
        )
        return np.where(chosen.fresh > 0, two, one)

    def _chosen(self, a: NDArray[Any], b: NDArray[Any], price: float) -> Choice:
        """The better of replays in columns `a` and fresh draws in columns `b`."""
        row = np.arange(len(self.replays))
        replayed, drawn = self.replayed[row, a], self.drawn[row, b]
        few, many = self.replays[row, a], self.fresh[row, b]
        better = drawn - price * many > replayed - price * few
        return Choice(
            np.where(better, 0, few),
            np.where(better, 0, self.others[row, a]),
            np.where(better, many, 0),
            np.where(better, drawn, replayed),
        )


@dataclass(frozen=True, eq=False)
class Menu:
    """What the exact test can be expected to prove, for caches of n draws.

    Attributes:
        n: cached draws per input.
        n0: selection draws per input.
        flips: the flip rates to expect.
        alpha: total error probability of an input.
        scratch: estimation draws of a certification from scratch, n by default: an aim is worth
            at most so many evaluations.
    """

    n: int
    n0: int
    flips: FlipRates
    alpha: float
    scratch: int = 0

    @property
    def price(self) -> float:
        """What an evaluation costs, in chances to reach an aim."""
        return 1 / (self.scratch or self.n)

    @cached_property
    def z(self) -> NDArray[np.float64]:
        """Phi^-1 of the vote shares of the rows of `binary`, increasing."""
        return np.linspace(0.005, special.ndtri(1 - 0.3 / self.n), _ROWS)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Replays or fresh draws, increasing."""
        return np.unique(np.geomspace(_FEWEST, self.n, _COLUMNS).astype(int))

    @cached_property
    def proven(self) -> NDArray[np.bool_]:
        """The rows in which the cached votes prove the class."""
        votes = np.floor(special.ndtr(self.z) * self.n).astype(np.int64)
        return binomial.lower(votes, self.n, self.alpha) > 0.5

    @cached_property
    def cached(self) -> NDArray[np.float64]:
        """The radius that the cached votes of each row prove of the original."""
        p = special.ndtr(self.z)
        return np.maximum(special.ndtri(lower(p * self.n, self.n, self.alpha)), 0)

    @cached_property
    def binary(self) -> Table:
        """Rows by the class's cached vote share; nothing where that proves nothing."""
        p, m = special.ndtr(self.z)[:, None], self.sizes[None].astype(float)
        there = self.proven[:, None]
        replayed = np.where(there, np.maximum(self._replayed(p, m, self.alpha), 0), 0)
        drawn = np.where(there, np.maximum(self._drawn(p, m, self.alpha), 0), 0)
        used = np.minimum(m, np.floor(p * self.n))
        return _table(used, np.zeros_like(used), m, replayed, drawn)

    def runner_up(self, shares: NDArray[np.float64]) -> Table:
        """One row each, with the shares of the class and of the best other one; shape (rows, 2)."""
        m, half = self.sizes[None].astype(float), self.alpha / 2
        p, kept = shares[:, :1], 1 - shares[:, 1:]
        replayed = self._replayed(p, np.maximum(m * p, 1), half) + self._replayed(kept, m, half)
        drawn = self._drawn(p, m, half) + self._drawn(kept, m, half)
        # The first m draws, and past them so many for each vote of the best other class among
        # those that the second best asks for; of the rest of the votes it may have half.
        second = np.maximum(kept - p, 0) / 2
        used = np.minimum(np.floor(m * (1 + (1 - kept) / (1 - second))), self.n)
        half_radii = (np.maximum(both / 2, 0) for both in (replayed, drawn))
        return _table(used, m, m, *half_radii)

    def original(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """The radius that n draws prove of the original in the runner-up form; shape (rows,)."""
        one, two = (
            quantile(lower(p * self.n, self.n, self.alpha / 2))
            for p in (shares[:, 0], 1 - shares[:, 1])
        )
        return np.maximum((one + two) / 2, 0)

    def weights(self, votes: NDArray[np.int64]) -> NDArray[np.float64]:
        """How likely each row is after so many selection votes; shape (types, rows)."""
        k = votes[:, None]
        below = special.betainc(k + 0.5, self.n0 - k + 0.5, special.ndtr(self.z)[None])
        below[:, -1] = 1
        return np.diff(below, axis=1, prepend=0.0)

    @cached_property
    def least_votes(self) -> list[int]:
        """The smallest number of cached votes in each row: a rising list, the first 0."""
        inner = np.floor(self.n * special.ndtr(self.z[:-1])).astype(np.int64) + 1
        return [0, *inner.tolist()]

    def row(self, k: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of so many cached votes."""
        z = special.ndtri(np.clip(k / self.n, 0.5, 1 - 0.3 / self.n))
        return np.minimum(np.searchsorted(self.z, z), len(self.z) - 1)

    def limit(self, p: Any, m: Any, lost: Any, alpha: float) -> NDArray[np.float64]:
        """Phi^-1 of the limit from m replays of which so many are lost.

        Deviations of cache and replay are added in quadrature, which approximates the exact test.
        """
        share = lost / m
        deviation = p - lower(p * self.n, self.n, alpha)
        rest = (1 - share) * deviation, p * (upper(lost, m, alpha) - share)
        return quantile(p * (1 - share) - np.hypot(*rest))

    def _replayed(self, p: Any, m: Any, alpha: float) -> NDArray[np.float64]:
        """The same, averaged over how many of the replays are lost."""
        u, _ = self.flips.rates(p)
        m = np.minimum(m, p * self.n)
        lost = (np.minimum(_lost(part, m * u), m) for part in _PARTS)
        return np.mean([self.limit(p, m, x, alpha) for x in lost], axis=0)

    def _drawn(self, p: Any, m: Any, alpha: float) -> NDArray[np.float64]:
        """Phi^-1 of the limit from m fresh draws, at the expected votes."""
        u, v = self.flips.rates(p)
        return quantile(lower(m * (p * (1 - u) + (1 - p) * v), m, alpha))


def _table(replays: Any, others: Any, fresh: Any, replayed: Any, drawn: Any) -> Table:
    """With no draws in front of the other columns."""
    parts = (np.broadcast_to(part, replays.shape) for part in (replays, others, fresh))
    a, b, c = (np.pad(part, ((0, 0), (1, 0))).astype(np.int64) for part in parts)
    return Table(a, b, c, *(np.pad(part, ((0, 0), (1, 0))) for part in (replayed, drawn)))


def _lost(part: float, mean: NDArray[Any]) -> NDArray[np.float64]:
    """Of the Poisson law."""
    return np.ceil(np.maximum(special.pdtrik(part, mean), 0))


def quantile(p: NDArray[Any]) -> NDArray[np.float64]:
    """Phi^-1, finite."""
    return special.ndtri(np.clip(p, 1e-12, 1 - 1e-12))
