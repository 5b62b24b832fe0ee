"""What to spend where a radius is to be reached, in one look or two; expected, not proven.

An evaluation is worth 1/n of a chance to reach it: where a proof would take more than n of them,
certifying the input from scratch is the better way.
"""

from dataclasses import dataclass, fields
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from smoothcert.planning.expected import lower
from smoothcert.planning.menu import Choice, Menu, SecondLooks, Table, quantile

_SHAPE = 1.0  # of the gamma law of an input's flip rate around the one to be expected of it
_FEWEST, _GROWTH = 5, 1.4  # the smallest size, and from one to the next
_RANGES = 24  # of lost votes in which a second look is weighed
_PARTS = (np.arange(16) + 0.5) / 16  # of a law
_MIXED = np.arange(16) * 5 % 16, np.arange(16) * 11 % 16  # their orders for two more laws
_MARGIN = 0.003  # in units of sigma: what is aimed at above a target, as limits are rounded down
_SHARE = 0.5  # of alpha, at which one look proves about as much as the exact test of two


@dataclass(frozen=True, eq=False)
class _Rows:
    """Inputs of one kind each, and what a look may replay.

    Attributes:
        menu: what can be expected.
        p, u, target: the original's vote share, the flip rate to expect, and the radius to reach
            in units of sigma, shape (rows, 1).
        sizes: replays at one look, rising, shape (rows, sizes).
    """

    menu: Menu
    p: NDArray[np.float64]
    u: NDArray[np.float64]
    target: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @cached_property
    def tolerated(self) -> NDArray[np.float64]:
        """The most lost votes with which the target is still proven; -1 for none."""
        alpha = self.menu.alpha * _SHARE
        low, high = np.full(self.sizes.shape, -1.0), self.sizes + 1
        while (wide := high - low > 1).any():
            lost = np.clip(np.floor((low + high) / 2), 0, self.sizes)
            good = self.menu.limit(self.p, self.sizes, lost, alpha) >= self.target
            low, high = np.where(wide & good, lost, low), np.where(wide & ~good, lost, high)
        return low


@dataclass(frozen=True, eq=False)
class _Best:
    """The best of each row, all of shape (rows,).

    Attributes:
        value: the chance to reach the target, less what the evaluations are worth.
        chance: to reach it.
        first, second, fewest, most, later: see `Choice` and `SecondLooks`.
    """

    value: NDArray[np.float64]
    chance: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    fewest: NDArray[np.float64]
    most: NDArray[np.float64]
    later: NDArray[np.float64]

    @staticmethod
    def of(chance: Any, cost: Any, price: float, *looks: Any) -> "_Best":
        """The best column; of two looks, with their `first`, ..., `later`."""
        first, second, fewest, most, later = looks or (cost, 0.0, 0.0, 0.0, 0.0)
        value = chance - cost * price
        row, column = np.arange(len(value)), value.argmax(axis=1)
        parts = (value, chance, first, second, fewest, most, later)
        return _Best(*(np.broadcast_to(part, value.shape)[row, column] for part in parts))

    def or_better(self, other: "_Best") -> "_Best":
        """Row by row."""
        better = other.value > self.value
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return _Best(*(np.where(better, b, a) for a, b in pairs))


def reaching(menu: Menu, targets: NDArray[np.float64], stages: int) -> Choice:
    """For each row of `Menu.binary` what is worth most; nothing where nothing is worth it.

    Args:
        menu: what can be expected.
        targets: the radius to reach in each row, in units of sigma.
        stages: looks, 1 or 2.
    """
    p, price, target = special.ndtr(menu.z)[:, None], menu.price, targets[:, None] + _MARGIN
    u, grid = menu.flips.rates(p)[0], _grid(menu.n)
    rows = _Rows(menu, p, u, target, np.minimum(grid, np.floor(p * menu.n)))
    best = _Best.of(_at_most(rows.tolerated, _SHAPE, rows.sizes * u), rows.sizes, price)
    if stages == 2:
        best = best.or_better(_second_looks(rows))
    drawn = _Best.of((_drawn(menu, p, grid, menu.alpha) >= target).mean(axis=0), grid, price)
    replayed = best.value >= drawn.value
    some = menu.proven & (targets > 0) & (np.maximum(best.value, drawn.value) > 0)
    taken, none = some & replayed, np.zeros(len(p), np.int64)
    first, second, fewest, most = (
        np.where(taken, part, 0).astype(np.int64)
        for part in (best.first, best.second, best.fewest, best.most)
    )
    return Choice(
        first,
        none,
        np.where(some & ~replayed, drawn.first, 0).astype(np.int64),
        np.where(some, targets * np.where(replayed, best.chance, drawn.chance), 0.0),
        SecondLooks(second, fewest, most, np.where(taken, best.later, 0.0)),
    )


def reaching_by_type(
    menu: Menu, table: Table, shares: NDArray[np.float64], targets: NDArray[np.float64]
) -> Choice:
    """The same in the runner-up form, in one look."""
    row, sizes = np.arange(len(shares)), (table.replays, table.fresh)
    m, half, two = table.fresh[:1].astype(float), menu.alpha / 2, 2 * (targets + _MARGIN)
    p, kept = shares[:, :1], 1 - shares[:, 1:]
    both = (
        _replayed(menu, p, np.maximum(m * p, 1), half) + _replayed(menu, kept, m, half),
        _drawn(menu, p, m, half) + _drawn(menu, kept, m, half),
    )
    chances = [(radius >= two[:, None]).mean(axis=0) for radius in both]
    values = [chance - size * menu.price for chance, size in zip(chances, sizes, strict=True)]
    a, b = (value.argmax(axis=1) for value in values)  # no draws where all others are below 0
    better = values[1][row, b] > values[0][row, a]
    return Choice(
        np.where(better, 0, table.replays[row, a]),
        np.where(better, 0, table.others[row, a]),
        np.where(better, table.fresh[row, b], 0),
        targets * np.where(better, chances[1][row, b], chances[0][row, a]),
    )


def _second_looks(rows: _Rows) -> _Best:
    """The best two looks of each row.

    One goes on from the fewest lost votes that do not prove the target at the first look, up to
    the most with which the chance that the second proves it is worth its evaluations.
    """
    price, u, m = rows.menu.price, rows.u, rows.sizes
    tolerated, found = rows.tolerated, []
    for i in range(m.shape[1] - 1):
        first, last = m[:, i : i + 1], tolerated[:, i : i + 1]
        more = np.maximum(m[:, i + 1 :] - first, 0)
        # Ranges of lost votes, each stood for by its middle; shape (rows, second sizes, ranges).
        ends = np.maximum(np.minimum(tolerated[:, i + 1 :], first) - last, 0)[..., None]
        edges = last[..., None] + np.floor(ends * np.arange(_RANGES + 1) / _RANGES)
        middle = np.maximum(np.floor((edges[..., :-1] + edges[..., 1:] + 1) / 2), 0)
        share = np.diff(_at_most(edges, _SHAPE, (first * u)[..., None]), axis=-1)
        shape = _SHAPE + middle
        mean = more[..., None] * shape / (_SHAPE / u + first)[..., None]
        chance = _at_most(tolerated[:, i + 1 :, None] - middle, shape, mean)
        goes = (chance > more[..., None] * price) & (share > 0)
        later = more * (share * goes).sum(axis=-1)
        total = _at_most(last, _SHAPE, first * u) + (share * chance * goes).sum(axis=-1)
        most = np.where(goes, edges[..., 1:], -1.0).max(axis=-1)
        second = np.where(most > last, first + more, 0.0)
        looks = (first, second, last + 1, np.maximum(most, 0), later)
        found.append(_Best.of(total, first + later, price, *looks))
    return reduce(_Best.or_better, found)


def _grid(n: int) -> NDArray[np.float64]:
    """Sizes of a look, rising."""
    count = int(np.log(n / _FEWEST) / np.log(_GROWTH)) + 2 if n > _FEWEST else 1
    return np.unique(np.floor(np.geomspace(min(_FEWEST, n), n, count)))


def _replayed(menu: Menu, p: Any, m: Any, alpha: float) -> NDArray[np.float64]:
    """Phi^-1 of the limit from m replays, for each part of the law of those lost."""
    m = np.maximum(np.minimum(m, p * menu.n), 1)
    mean = m * menu.flips.rates(p)[0]
    lost = (np.ceil(np.log1p(-part) / np.log(mean / (1 + mean))) - 1 for part in _PARTS)
    return np.array([menu.limit(p, m, np.clip(x, 0, m), alpha) for x in lost])


def _drawn(menu: Menu, p: Any, m: Any, alpha: float) -> NDArray[np.float64]:
    """The same from m fresh draws, where both flip rates have such a law too."""
    from scipy import stats  # takes a third of a second, which few commands need

    m, (u, v) = np.maximum(m, 1), menu.flips.rates(p)
    found = []
    for away, back, part in zip(_PARTS, *(_PARTS[order] for order in _MIXED), strict=True):
        lost, won = np.minimum(-np.log1p(-away) * u, 1), np.minimum(-np.log1p(-back) * v, 1)
        hits = stats.binom.ppf(part, m, p * (1 - lost) + (1 - p) * won)
        found.append(quantile(lower(hits, m, alpha)))
    return np.array(found)


def _at_most(x: Any, shape: Any, mean: Any) -> NDArray[np.float64]:
    """P[X <= x] of the negative binomial law: Poisson, with a gamma law of the mean."""
    return special.betainc(shape, np.maximum(x, -1.0) + 1, shape / (shape + mean))
