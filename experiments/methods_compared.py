"""Every method at every size on one pair of networks: radii and evaluations, image by image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from collected_votes import LookUp, Planner, Recorded, cut, first_classes, incremental
from numpy.typing import NDArray

from smoothcert import Certification, Votes
from smoothcert.certificate import Record
from smoothcert.methods import dataset as pooled
from smoothcert.methods import scratch
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.irs import Irs
from smoothcert.methods.screening import Pool, Screening
from smoothcert.simulation.curves import Curve, area_ratio

ACCOUNTINGS = ("all", "draws", "authors")
"""What is counted, see docs/results-irs.md."""
METHODS = {
    "irs-published": "IRS as published",
    "irs": "IRS",
    "joint-uniform": "joint, uniform",
    "joint-planned": "joint, planned",
    "exact-planned": "exact, planned",
}
"""What reuses votes, and its title; NAME-planned is `recertify` with that method and a budget."""
PLANNED = "-planned"


@dataclass(frozen=True)
class Plan:
    """tables.toml: sizes are shares of the cached draws."""

    caches: list[int]
    alpha: float
    gamma: float
    percents: list[float]
    headline: list[float]
    totals: list[float]
    gammas: list[float]
    screen: list[int]
    zeta_draws: int
    zeta_alpha: float
    radii: list[float]
    dense: int
    resamples: int

    def sizes(self, n: int) -> list[int]:
        """Evaluations per image of the methods that do not plan."""
        shares = {*self.percents, *self.headline}
        return sorted({max(1, round(share * n)) for share in shares})

    def dense_sizes(self, n: int) -> list[int]:
        """From scratch, also in between: for how much it needs to reach what others prove."""
        grid = np.geomspace(20, n, self.dense).astype(int).tolist()
        tenths = np.linspace(0, n, 11).round().astype(int).tolist()[1:]
        return sorted({*grid, *tenths, *self.sizes(n)})


@dataclass(frozen=True, eq=False)
class Points:
    """One method on one data set at several sizes.

    Attributes:
        sizes: evaluations per image that it is given, or was given on average, shape (sizes,).
        radius: certified radius of the right class, else 0; shape (sizes, images).
        draws: evaluations spent on each image; shape (sizes, images).
        extra: evaluations besides: selection draws, or the pilot; shape (sizes,).
    """

    sizes: NDArray[np.float64]
    radius: NDArray[np.float64]
    draws: NDArray[np.int64]
    extra: NDArray[np.int64]

    @property
    def evaluations(self) -> NDArray[np.int64]:
        """In all, shape (sizes,)."""
        return self.draws.sum(axis=1) + self.extra

    def within(self, low: float, high: float) -> "Points":
        """The sizes of a range, ends included."""
        keep = (self.sizes >= low - 0.5) & (self.sizes <= high + 0.5)
        return Points(*(getattr(self, f.name)[keep] for f in fields(self)))

    def at(self, sizes: Sequence[int]) -> "Points":
        """These sizes."""
        keep = np.isin(self.sizes, sizes)
        return Points(*(getattr(self, f.name)[keep] for f in fields(self)))

    def of(self, images: NDArray[np.int64]) -> "Points":
        """These images, some of them perhaps several times: for resampling."""
        share = len(images) / self.radius.shape[1]
        extra = (self.extra * share).astype(np.int64)
        return replace(
            self, radius=self.radius[:, images], draws=self.draws[:, images], extra=extra
        )

    def free_of_extra(self) -> "Points":
        """Without selection draws."""
        return replace(self, extra=np.zeros_like(self.extra))

    def skipping(self, wrong: NDArray[np.bool_]) -> "Points":
        """As the authors count: images on which the original is wrong cost and prove nothing."""
        return replace(
            self, radius=np.where(wrong, 0, self.radius), draws=np.where(wrong, 0, self.draws)
        )


def curve(points: Points, radius: float | None = None) -> Curve:
    """ACR against evaluations, or certified accuracy at a radius against them."""
    found = points.radius if radius is None else points.radius >= radius
    value, cost = found.mean(axis=1), points.evaluations
    order = np.lexsort((-value, cost))
    cost, value = cost[order], value[order]
    first = np.append(True, np.diff(cost) > 0)  # of equal cost, the best
    return Curve("", cost[first].astype(float), value[first])


def ratio(base: Points, method: Points, radius: float | None = None) -> float | None:
    """Area under evaluations from scratch over that of the method, over the common range."""
    return area_ratio(curve(base, radius), curve(method, radius))


def interval(base: Points, method: Points, resamples: int) -> tuple[float | None, float | None]:
    """5 and 95 % quantiles of the ratio when the images are drawn again from themselves."""
    rng, images = np.random.default_rng(0), base.radius.shape[1]
    found = []
    for _ in range(resamples):
        some = rng.integers(images, size=images)
        again = ratio(base.of(some), method.of(some))
        if again is not None:
            found.append(again)
    return tuple(np.quantile(found, [0.05, 0.95]).tolist()) if found else (None, None)


@dataclass(frozen=True, eq=False)
class Comparison:
    """An original cut to n cached draws, and a network changed from it."""

    base: Certification
    new: Recorded
    lookup: LookUp
    plan: Plan

    @staticmethod
    def of(original: Recorded, new: Recorded, n: int, plan: Plan) -> "Comparison":
        """Of two collections."""
        return Comparison(cut(original.certification, n), new, new.lookup(), plan)

    @property
    def n(self) -> int:
        """Cached draws per image."""
        return self.base.settings.n

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Images on which the original is certified to be wrong."""
        predicted = np.array([c.predicted for c in self.base.certificates])
        return (predicted >= 0) & (predicted != self.new.classes)

    def all(self) -> dict[str, Points]:
        """Every method by name."""
        plan, found = self.plan, dict(self._reusing())
        found["from-scratch"] = self.from_scratch(plan.dense_sizes(self.n))
        found["from-scratch-authors"] = self.from_scratch(plan.sizes(self.n), authors=True)
        found["from-scratch-auto"] = self.from_scratch(plan.dense_sizes(self.n), form="auto")
        return found

    def _reusing(self) -> Iterator[tuple[str, Points]]:
        plan, sizes = self.plan, self.plan.sizes(self.n)
        yield "irs-published", self.irs(sizes, plan.gamma, "published")
        yield "irs", self.irs(sizes, plan.gamma, "budget-exact")
        few = [max(1, round(share * self.n)) for share in plan.percents]
        for gamma in plan.gammas:
            yield f"gamma-{gamma:g}", self.irs(few, gamma, "published")
        planner = Planner(self.base, self.lookup, plan.alpha)
        # Beyond, it would take fresh draws nearly everywhere, which cost what they cost.
        less = [m for m in sizes if m <= max(plan.headline) * self.n]
        yield "joint-uniform", self._planned(planner, less, lambda m: f"uniform:{m}")
        images = len(self.base.records)
        totals = [max(1, round(share * self.n)) for share in plan.totals]
        for name in METHODS:
            if name.endswith(PLANNED):
                method = name.removesuffix(PLANNED)
                points = self._planned(planner, totals, lambda m: f"budget:{m * images}", method)
                yield name, points
        planner = Planner(self.base, self.lookup, plan.alpha, "auto")
        yield (
            "exact-auto",
            self._planned(planner, totals, lambda m: f"budget:{m * images}", "exact"),
        )

    def from_scratch(
        self, sizes: Sequence[int], authors: bool = False, form: str = "binary"
    ) -> Points:
        """The new network alone, its class chosen by all selection draws or by one in a hundred."""
        whole = self.new.certification
        settings = replace(whole.settings, alpha=self.plan.alpha, form=form)
        facts = (settings, whole.shape, whole.num_classes)
        rows, extra, kept = [], [], ~self.wrong
        for m in sizes:
            n0 = max(1, m // 100) if authors else settings.n0
            radii = []
            for record in whole.records:
                old, votes = record.certificate, record.votes
                some = Votes(selection=votes.selection[:n0], estimation=votes.estimation[:m])
                radii.append(scratch.certificate(old.index, old.content, some, *facts).radius)
            right = first_classes(whole.records, n0) == self.new.classes
            rows.append(np.where(right, radii, 0))
            extra.append(n0 * (kept.sum() if authors else len(kept)))
        draws = np.repeat(np.array(sizes)[:, None], len(kept), axis=1)
        return Points(np.array(sizes, float), np.array(rows), draws, np.array(extra))

    def irs(self, sizes: Sequence[int], gamma: float, variant: str) -> Points:
        """The published method, or its exact budget."""
        settings = [Irs(m, self.plan.alpha, gamma, variant) for m in sizes]
        runs = [(incremental(self.base, self.lookup, irs), 0) for irs in settings]
        return self._points(sizes, runs)

    def screened(self, per_input: int) -> DatasetCertificate:
        """`screen` with one candidate: what it proves of the whole data set."""
        screening = Screening(per_input, self.plan.alpha)
        pool = Pool.of(self.base, self.new.classes.tolist(), screening.alpha_cache)
        records = {r.certificate.index: r for r in self.base.records}
        flips = []
        for index in pool.indices:
            candidate = records[index].certificate.candidate
            won = np.flatnonzero(records[index].votes.estimation == candidate)[:per_input]
            flips.append(int((self.lookup.votes[index].estimation[won] != candidate).sum()))
        whole = self.new.certification
        return pooled.certificate(whole.model, whole.fingerprint, screening, pool, [flips])

    def _planned(
        self,
        planner: Planner,
        sizes: Sequence[int],
        policy: Callable[[int], str],
        method: str = "joint",
    ) -> Points:
        runs = [planner.recertify(policy(m), method) for m in sizes]
        return self._points(sizes, runs)

    def _points(
        self, sizes: Sequence[int], runs: Sequence[tuple[tuple[Record, ...], int]]
    ) -> Points:
        table = [[record.certificate for record in records] for records, _ in runs]
        right = np.array([[c.predicted for c in row] for row in table]) == self.new.classes
        radius = np.where(right, np.array([[c.radius for c in row] for row in table]), 0)
        draws = np.array([[c.evaluations for c in row] for row in table])
        extra = np.array([pilot for _, pilot in runs])
        return Points(np.array(sizes, float), radius, draws, extra)


def save(file: Path, found: dict[str, Points], key: str) -> None:
    """Keep the points of a comparison, all or nothing."""
    arrays = {
        f"{name}/{f.name}": getattr(points, f.name)
        for name, points in found.items()
        for f in fields(Points)
    }
    aside = file.with_suffix(".new.npz")
    np.savez_compressed(aside, key=np.array(key), **arrays)
    aside.replace(file)


def load(file: Path, key: str) -> dict[str, Points] | None:
    """Read them back, if they were made with the same sizes and votes."""
    if not file.exists():
        return None
    with np.load(file) as stored:
        if str(stored["key"]) != key:
            return None
        names = dict.fromkeys(k.partition("/")[0] for k in stored.files if "/" in k)
        parts = [f.name for f in fields(Points)]
        return {name: Points(*(stored[f"{name}/{p}"] for p in parts)) for name in names}
