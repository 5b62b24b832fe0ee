"""Which original is best if K recertifications are to come, on collected votes.

python experiments/series.py --out FOLDER

What an original and K recertifications cost together, for a share of the average certified radius
(ACR) that the changed network gets from scratch with n draws: on originals with one number of draws
for all, by plan (`retain:R`), and sized for the series. Sizing needs to know the changes that are
to come; it is given those of the votes themselves, so it gains here the most that it can. Finished
rows are kept in FOLDER and gathered in experiments/results/statistics/series.csv; tables go into
docs/results-planned.md.
"""

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from cached_rows import cached
from collected_votes import Place, Planner, Recorded
from markdown import put, table
from numpy.typing import NDArray

from smoothcert import Certification, Settings, Votes
from smoothcert.certificate import Record
from smoothcert.methods import Sized, scratch
from smoothcert.planning import FlipRates, Policy, Sizes
from smoothcert.planning.menu import Menu
from smoothcert.planning.selection import votes_for

HERE = Path(__file__).parent
ALPHA = 0.002
SMALL, LARGE = ("bf16",), ("int8", "prune20")
SERIES, AIMS = (1, 3, 10), (0.9, 0.95, 0.98)
RETAINED = (0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)
CONSTANT = (1000, 2000, 4444, 10_000)
BUDGETS = (150, 400, 1000, 2500, 6000)  # evaluations of a recertification, per image
SPENT = 0.8  # of a budget; where less is spent, a larger one is no different
SHARES = np.arange(0.8, 0.985, 0.01)  # of the ACR, for a comparison of all of them
PRICES = np.geomspace(1e-2, 1e-8, 300)


@dataclass(frozen=True)
class Row:
    """One recertification on one original.

    Attributes:
        original: evaluations per image of the original.
        evaluations: per image of the recertification, its pilot included.
        share: of the ACR that the network gets from scratch with n draws, at the same alpha.
    """

    sigma: float
    network: str
    base: str
    original: float
    evaluations: float
    share: float


@dataclass(frozen=True, eq=False)
class Series:
    """Originals sized for the recertifications to come.

    Attributes:
        settings: of the original.
        selected: its selection votes for the class and the best other one, shape (inputs, 2).
        flips: of every network to come.
    """

    settings: Settings
    selected: NDArray[np.int64]
    flips: FlipRates

    def plan(self, count: int, share: float) -> NDArray[np.int64]:
        """The numbers of draws with which the whole series should cost least.

        At a price, each input's number n and its recertification's m are those of which radius
        - price * (n / count + m) is largest; the price is the largest that gives the share.
        """
        radius, costs = self._expected
        worth = radius - PRICES[:, None, None] * (self._sizes / count + costs)
        columns = worth.argmax(axis=2)[:, self._types]
        places = np.arange(len(PRICES))[:, None], self._types, columns
        reached = radius[places].sum(axis=1) >= share * radius[-1, self._types, -1].sum()
        return self._sizes[columns[reached.argmax() if reached.any() else -1]]

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return Sizes(self.settings, self.selected, 10).sizes

    @cached_property
    def _pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pairs, place = np.unique(self.selected, axis=0, return_inverse=True)
        return pairs, place.reshape(-1)

    @property
    def _types(self) -> NDArray[np.int64]:
        return self._pairs[1]

    @cached_property
    def _expected(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Radii and evaluations of recertifications, of shape (prices, types, sizes)."""
        pairs, of_settings = self._pairs[0], (self.settings.n0, self.flips, ALPHA, self.settings.n)
        radius = np.zeros((len(PRICES), len(pairs), len(self._sizes)))
        costs = np.zeros_like(radius)
        for column, n in enumerate(self._sizes.tolist()[1:], 1):
            menu = Menu(n, *of_settings)
            weights, best = menu.weights(pairs[:, 0]), menu.binary.best
            for row, price in enumerate(PRICES.tolist()):
                radius[row, :, column] = weights @ best(price).radius
                costs[row, :, column] = weights @ best(price).cost
        return radius, costs


def flips_of(whole: Certification, new: Certification) -> FlipRates:
    """Of a changed network on the original's draws."""
    found = []
    for old, record in zip(whole.records, new.records, strict=True):
        c = old.certificate
        had, has = (r.votes.estimation == c.candidate for r in (old, record))
        share = (had.sum() + 0.5) / (len(had) + 1)
        if share > 0.5:
            found.append((share, had.sum(), (had & ~has).sum(), (~had).sum(), (~had & has).sum()))
    return FlipRates.fit(*map(np.array, zip(*found, strict=True)))


def sized(whole: Certification, draws: NDArray[np.int64]) -> Certification:
    """The original with so many of its estimation draws by image."""
    records = []
    for old, count in zip(whole.records, draws.tolist(), strict=True):
        votes = Votes(selection=old.votes.selection, estimation=old.votes.estimation[:count])
        records.append(_certified(whole, old, votes, whole.settings))
    return replace(whole, method=Sized("retain:1"), records=tuple(records))


def _certified(whole: Certification, old: Record, votes: Votes, settings: Settings) -> Record:
    facts = (settings, whole.shape, whole.num_classes)
    c = old.certificate
    return Record(scratch.certificate(c.index, c.content, votes, *facts), votes)


def acr(records: tuple[Record, ...], classes: NDArray[np.int64]) -> float:
    """The average radius, 0 where the class is not the label."""
    found = [record.certificate for record in records]
    return float(
        np.mean([c.radius * (c.candidate == y) for c, y in zip(found, classes, strict=True)])
    )


def bases(whole: Certification, new: Certification) -> dict[str, NDArray[np.int64]]:
    """Draws by image of every original, by name."""
    labels = [record.votes.selection for record in whole.records]
    selected = np.array([votes_for(drawn, scratch.candidate(drawn)) for drawn in labels])
    sizes = Sizes(whole.settings, selected, whole.num_classes)
    series = Series(whole.settings, selected, flips_of(whole, new))
    found = {f"n={n}": np.full(len(labels), n) for n in CONSTANT}
    found |= {f"retain:{r}": sizes.plan(Policy("retain", r)) for r in RETAINED}
    return found | {f"series:{k}:{r}": series.plan(k, r) for k, r in product(SERIES, AIMS)}


def rows(place: Place) -> list[Row]:
    """Every original and budget for one network."""
    old, new = Recorded.read(place.original), Recorded.read(place)
    whole, lookup, count = old.certification, new.with_stand_ins().lookup(), len(old.classes)
    loose = replace(whole.settings, alpha=ALPHA)
    again = (_certified(whole, r, r.votes, loose) for r in new.certification.records)
    best, found = acr(tuple(again), old.classes), []
    for name, draws in bases(whole, new.certification).items():
        base = sized(whole, draws)
        planner = Planner(base, lookup, ALPHA)
        for budget in BUDGETS:
            records, pilot = planner.recertify(f"budget:{budget * count}", "exact")
            spent = sum(record.certificate.evaluations for record in records) + pilot
            facts = (place.sigma, place.network, name, base.evaluations / count, spent / count)
            found.append(Row(*facts, acr(records, old.classes) / best))
            if spent < SPENT * budget * count:
                break
    return found


def finished(place: Place, folder: Path) -> list[Row]:
    """The same, read back if it was made before."""
    file = folder / f"{place.title}.json"
    settings = {"bases": [*CONSTANT, *RETAINED], "budgets": BUDGETS, "aims": AIMS}
    settings = {name: list(values) for name, values in settings.items()}
    row = cached(file, settings, place.title, lambda: {"rows": [astuple(r) for r in rows(place)]})
    return [Row(*one) for one in row["rows"]]


def needed(found: list[Row], share: float) -> float:
    """Evaluations of a recertification that reaches the share on one original, between budgets."""
    spent = np.array([row.evaluations for row in found])
    reached = np.maximum.accumulate([row.share for row in found])
    if reached[-1] < share:
        return np.inf
    return float(np.exp(np.interp(share, reached, np.log(spent))))


def totals(found: list[Row], networks: tuple[str, ...], count: int, share: float) -> dict:
    """By base: evaluations per image of a series, mean over sigmas and networks."""
    chosen = [row for row in found if row.network in networks]
    costs: dict[str, list[float]] = {}
    for sigma, network in sorted({(row.sigma, row.network) for row in chosen}):
        here = [row for row in chosen if (row.sigma, row.network) == (sigma, network)]
        for base in dict.fromkeys(row.base for row in here):
            own = [row for row in here if row.base == base]
            costs.setdefault(base, []).append(own[0].original + count * needed(own, share))
    return {base: float(np.mean(values)) for base, values in costs.items()}


def line(found: list[Row], networks: tuple[str, ...], count: int, share: float) -> list[str]:
    """A row of the table: the best of each kind."""
    mean = totals(found, networks, count, share)
    kinds = {k: {b: v for b, v in mean.items() if b.startswith(k)} for k in ("n=", "retain:")}
    best = {kind: min(values, key=lambda b: values[b]) for kind, values in kinds.items()}
    plain = mean[best["retain:"]]
    others = [mean[b] / plain for b in (f"n={CONSTANT[-1]}", best["n="])]
    shown = [str(count), f"{100 * share:g} %", f"`{best['retain:']}`"]
    shown += [f"{plain:,.0f}", f"{others[0]:.2f}"]
    return [*shown, f"{others[1]:.2f} ({best['n='].removeprefix('n=')})"]


HEAD = ["K", "share of the ACR", "best", "evaluations an image", "n = 10,000 for all"]
HEAD += ["best n for all"]


def cheapest(found: list[Row], count: int, bases: tuple[str, ...]) -> NDArray[np.float64]:
    """Evaluations per image of a series, for each of SHARES; nan where none of these reaches it.

    Between the cheapest originals and budgets on a logarithmic scale, so that no share decides that
    a base only just misses.
    """
    chosen = [row for row in found if row.base in bases]
    points = sorted((row.original + count * row.evaluations, row.share) for row in chosen)
    costs, reached = np.array(points).T
    best = np.maximum.accumulate(reached)
    new = np.diff(best, prepend=0.0) > 0
    return np.exp(np.interp(SHARES, best[new], np.log(costs[new]), np.nan, np.nan))


def compared(found: list[Row], count: int) -> list[str]:
    """What originals sized for a series take, and n for all, over `retain` with as many shares."""
    families = {
        "n": (f"n={CONSTANT[-1]}",),
        "any n": tuple(f"n={n}" for n in CONSTANT),
        "sized": tuple(f"series:{count}:{share}" for share in AIMS),
    }
    ratios: dict[str, list[float]] = {name: [] for name in families}
    for sigma, network in sorted({(row.sigma, row.network) for row in found}):
        here = [row for row in found if (row.sigma, row.network) == (sigma, network)]
        plain = cheapest(here, count, tuple(f"retain:{share}" for share in AIMS))
        for name, bases in families.items():
            times = np.log(cheapest(here, count, bases) / plain)
            ratios[name].append(float(np.exp(np.nanmean(times))))
    mean = [f"{np.exp(np.mean(np.log(values))):.2f}" for values in ratios.values()]
    sized = ratios["sized"]
    return [str(count), *mean, f"{min(sized):.2f} to {max(sized):.2f}"]


OF_COMPARED = ["K", "n = 10,000 for all", "four n for all", "sized for the series", "from, to"]


def main() -> None:
    """Write rows and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of finished rows")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    places = [
        place
        for place in Place.found(HERE / "results" / "votes")
        if place.architecture == "cifar_resnet20" and place.network in SMALL + LARGE
    ]
    with ProcessPoolExecutor(given.workers) as pool:
        found = [r for part in pool.map(finished, places, [given.out] * len(places)) for r in part]
    with (HERE / "results" / "statistics" / "series.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(
            [round(v, 4) if isinstance(v, float) else v for v in astuple(r)] for r in found
        )
    lines = [line(found, LARGE, *one) for one in product(SERIES, AIMS)]
    docs = HERE.parent / "docs"
    put(docs / "results-planned.md", "series-shares", table(HEAD, lines))
    put(
        docs / "results-planned.md",
        "series",
        table(OF_COMPARED, [compared(found, k) for k in SERIES]),
    )


if __name__ == "__main__":
    main()
