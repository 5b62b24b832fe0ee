"""Would a second look at the estimation draws make originals by plan cheaper? SIMULATED.

python experiments/two_looks.py LOGS

LOGS is as for sizes_simulated.py, which draws the votes. An image gets
n1 draws, and n2 in all if at most so many of them miss its class; n1, n2 and that number follow
from its selection votes at one price of a draw. Each look has all of alpha (docs/theory.md, section
2, "Two looks"), or half of it. How the log's own probabilities are distributed is known, so plans
gain here the most that they can. As bounds: one look, sized by each image's own probability; and
a planner who knows that too and may stop at any size of a plan, each at all of alpha, which is not
sound. A plan may mix two prices. Rows, averages over SEEDS, go to
experiments/results/statistics/two-looks.csv.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.stats import binom
from simulated import read_logs
from sizes import write
from sizes_simulated import DRAWS, SEEDS, SHARES, Drawn, title

from smoothcert import Settings
from smoothcert.bounds import binomial
from smoothcert.planning import Sizes
from smoothcert.planning.expected import lower
from smoothcert.planning.menu import quantile
from smoothcert.simulation.logs import Log

ALPHA = 0.001
PRICES = np.geomspace(8, 0.004, 84)  # of n draws, in units of sigma
_FARTHEST = 8  # sizes from the first look to the second
_STEPS = 20  # of probabilities, for one of their quantile
_UNPAID = 10_000  # the largest n for which unpaid looks are found, which takes time
_PARTS = (np.arange(32) + 0.5) / 32
_Points = list[tuple[float, float]]  # (ACR, evaluations an image), by price


@dataclass(frozen=True)
class Row:
    """One log at one n.

    Attributes:
        share: of the ACR of n draws for every image that is kept.
        one: evaluations an image by plan in one look.
        halves: in two looks at half of alpha each.
        two: in two looks at all of alpha.
        known: by a plan that knows each image's probability.
        unpaid: with as many looks as there are sizes besides, each at all of alpha; 0: not found.
    """

    network: str
    share: float
    one: float
    halves: float
    two: float
    known: float
    unpaid: float


@dataclass(frozen=True, eq=False)
class Looks:
    """What two looks are expected to prove, in units of sigma.

    Attributes:
        sizes: numbers of draws, rising, the first 0.
        p: probabilities that a class may have, rising.
        alpha: error probability of each look.
    """

    sizes: NDArray[np.int64]
    p: NDArray[np.float64]
    alpha: float

    def radius(self, k: NDArray[np.float64], m: NDArray[np.float64]) -> NDArray[np.float64]:
        """About what k of m votes prove."""
        return np.maximum(quantile(lower(k, m, self.alpha)), 0)

    @cached_property
    def once(self) -> NDArray[np.float64]:
        """The mean radius of each size, shape (p, sizes)."""
        m = self.sizes[1:].astype(float)[:, None]
        missed = binom.ppf(_PARTS, m, (1 - self.p)[:, None, None])
        return np.pad(self.radius(m - missed, m).mean(axis=2), ((0, 0), (1, 0)))

    @cached_property
    def whole(self) -> NDArray[np.float64]:
        """The same for an image that has one look, at all of alpha."""
        return self.once if self.alpha == ALPHA else replace(self, alpha=ALPHA).once

    @cached_property
    def gains(self) -> dict[tuple[int, int], tuple[NDArray, NDArray, NDArray]]:
        """Of a second look, by places of both sizes.

        The most draws that miss the class in each cell; the chance of a cell, and this times what
        going on gains there, shape (p, cells).
        """
        found = {}
        for a, first in enumerate(self.sizes.tolist()[1:], 1):
            most = [-1]
            while most[-1] < 0.2 * first:
                most.append(most[-1] + max(1, int(0.4 * np.sqrt(max(most[-1], 0)))))
            below = binom.cdf(most, first, (1 - self.p)[:, None])
            chance, middle = np.diff(below, axis=1), (np.add(most[:-1], most[1:]) + 1) / 2
            stopped = self.radius(first - middle, np.float64(first))
            for b in range(a + 1, min(len(self.sizes), a + 1 + _FARTHEST)):
                n = float(self.sizes[b])
                k = first - middle + (n - first) * self.p[:, None]
                # What the mean is below the radius of the mean votes, as far as draws are left.
                less = self.once[:, b] - self.radius(n * self.p, np.float64(n))
                on = np.maximum(self.radius(k, np.float64(n)) + less[:, None] * (n - first) / n, 0)
                found[a, b] = np.array(most[1:]), chance, chance * (on - stopped)
        return found

    def plan(
        self, weights: NDArray[np.float64], looks: int
    ) -> Callable[[float], tuple[NDArray[np.int64], ...]]:
        """By price: both sizes and the most missed draws with which one goes on.

        Args:
            weights: how likely each p is, shape (types, p).
            looks: 1 or 2.
        """
        once, whole = weights @ self.once, weights @ self.whole
        each = np.arange(len(weights))
        gains = [
            (a, b, most, weights @ chance, weights @ gain)
            for (a, b), (most, chance, gain) in (self.gains.items() if looks > 1 else ())
        ]

        def priced(price: float) -> tuple[NDArray[np.int64], ...]:
            one, value = (radius - price * self.sizes for radius in (whole, once))
            first = second = one.argmax(axis=1)
            best, most = one.max(axis=1), np.full(len(each), -1)
            for a, b, mosts, chance, gain in gains:
                step = price * (self.sizes[b] - self.sizes[a])
                total = np.cumsum(gain - step * chance, axis=1)
                last = total.argmax(axis=1)
                found = value[:, a] + total[each, last]
                better = (total[each, last] > 0) & (found > best)
                best, first = np.where(better, found, best), np.where(better, a, first)
                second, most = np.where(better, b, second), np.where(better, mosts[last], most)
            return self.sizes[first], self.sizes[second], most

        return priced


def points(log: Log, n: int, worlds: list[Drawn], looks: Looks, number: int) -> _Points:
    """What plans of a number of looks reach and take on simulated votes."""
    plans = []
    for drawn in worlds:
        won = np.maximum(drawn.selection, drawn.settings.n0 - drawn.selection)
        likely = binom.pmf(won[:, None], drawn.settings.n0, looks.p) * _law(log, looks.p)
        plans.append(looks.plan(likely / likely.sum(axis=1, keepdims=True), number))
    found = []
    for price in (PRICES / n).tolist():
        reached = []
        for drawn, plan in zip(worlds, plans, strict=True):
            first, second, most = plan(price)
            rng = np.random.default_rng((drawn.seed, 2))
            k = rng.hypergeometric(drawn.votes, n - drawn.votes, first)
            on = (second > first) & (first - k <= most)
            more = np.where(on, second - first, 0)
            k = k + rng.hypergeometric(drawn.votes - k, n - first - (drawn.votes - k), more)
            alpha = np.where(second > first, looks.alpha, ALPHA)
            m = np.maximum(first + more, 1)
            q = np.where(first > 0, binomial.lower(np.minimum(k, m), m, alpha), 0.0)
            acr = drawn.acr(np.maximum(drawn.settings.radius(q), 0))
            reached.append((acr, drawn.settings.n0 + float((first + more).mean())))
        found.append(tuple(np.mean(reached, axis=0).tolist()))
    return found


def knowing(log: Log, looks: Looks, unpaid: bool) -> _Points:
    """The same by the binomial law, if each image's probability is known."""
    place = _place(log, looks.p)
    radius, taken = np.empty((2, len(PRICES), len(looks.p)))
    for row, price in enumerate((PRICES / looks.sizes[-1]).tolist()):
        if unpaid:
            both = [_stopping(looks, p, price) for p in looks.p.tolist()]
            radius[row], taken[row] = np.array(both).T
        else:
            column = (looks.once - price * looks.sizes).argmax(axis=1)
            radius[row] = looks.once[np.arange(len(column)), column]
            taken[row] = looks.sizes[column]
    acr, n0 = (radius[:, place] * log.correct * log.sigma).mean(axis=1), Settings(log.sigma).n0
    return list(zip(acr.tolist(), (n0 + taken[:, place].mean(axis=1)).tolist(), strict=True))


def _stopping(looks: Looks, p: float, price: float) -> tuple[float, float]:
    """Radius and draws to expect of the best stopping at any size, at no price for looking."""
    sizes = looks.sizes.tolist()
    top = [min(m // 2, int(binom.ppf(1 - 1e-7, m, 1 - p)) + 1) for m in sizes]
    counts = zip(sizes, top, strict=True)
    radii = [looks.radius(m - np.arange(t + 1.0), np.float64(max(m, 1))) for m, t in counts]
    radius, taken = radii[-1], np.full(top[-1] + 1, float(sizes[-1]))
    for j in range(len(sizes) - 2, -1, -1):
        law = binom.pmf(np.arange(top[j + 1] + 1), sizes[j + 1] - sizes[j], 1 - p)
        on = [np.correlate(np.pad(x, (0, top[j] + 1)), law, "valid") for x in (radius, taken)]
        here = radii[j] if sizes[j] else np.zeros(1)
        on = [x[: top[j] + 1] for x in on]
        goes = on[0] - price * on[1] > here - price * sizes[j]
        radius, taken = np.where(goes, on[0], here), np.where(goes, on[1], float(sizes[j]))
    return float(radius[0]), float(taken[0])


def _law(log: Log, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of a log's images have about each probability."""
    return np.bincount(_place(log, p), minlength=len(p)).astype(float)


def _place(log: Log, p: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of each image's probability among those of a table."""
    return np.abs(quantile(log.p)[:, None] - quantile(p)).argmin(axis=1)


def taking(found: _Points, acr: float) -> float:
    """The fewest evaluations an image for an ACR, where a plan may mix two prices."""
    hull: _Points = []
    for new in sorted(found, key=lambda one: (one[1], one[0])):
        if hull and new[0] <= hull[-1][0]:
            continue
        while len(hull) > 1 and _rise(hull[-2], hull[-1]) <= _rise(hull[-2], new):
            hull.pop()
        hull.append(new)
    if not hull[0][0] <= acr <= hull[-1][0]:
        raise SystemExit(f"The prices reach an ACR of {hull[0][0]} to {hull[-1][0]}, not {acr}")
    return float(np.interp(acr, *zip(*hull, strict=True)))


def _rise(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[0] - one[0]) / (other[1] - one[1])


def rows(log: Log, n: int) -> list[Row]:
    """One log at one n, for each share of the ACR."""
    worlds = [Drawn(log, n, seed) for seed in SEEDS]
    best = float(np.mean([one.acr(one.radii(np.full(log.images, n))) for one in worlds]))
    settings = worlds[0].settings
    sizes = Sizes(settings, np.array([[settings.n0, 0]]), 2).sizes
    p = special.ndtr(np.unique(np.round(quantile(log.p) * _STEPS)) / _STEPS)
    looks, halves = Looks(sizes, p, ALPHA), Looks(sizes, p, ALPHA / 2)
    drawn = [points(log, n, worlds, *way) for way in ((looks, 1), (halves, 2), (looks, 2))]
    law = float((looks.once[_place(log, p), -1] * log.correct * log.sigma).mean())
    known = [knowing(log, looks, unpaid) for unpaid in (False, *[True] * (n <= _UNPAID))]
    found = []
    for share in SHARES:
        spent = [taking(way, share * best) for way in drawn]
        spent += [taking(way, share * law) for way in known] + [0.0] * (len(known) < 2)
        found.append(Row(title(log, n), share, *spent))
    return found


def main() -> None:
    """Write rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, help="folder of published logs")
    logs = read_logs(parser.parse_args().logs)
    found = [row for log in logs for n in DRAWS for row in rows(log, n)]
    write("two-looks.csv", found)


if __name__ == "__main__":
    main()
