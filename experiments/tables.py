"""Tables 2 to 10 of the IRS paper on collected votes, next to its own figures: docs/results.md.

python experiments/tables.py --size cpu --out FOLDER

FOLDER was filled by collect.py and collect_fresh.py; missing pairs are left out and named. No
network is run. Every finished comparison is stored with its votes, so a rerun computes only what is
new. Rows go to experiments/results/SIZE/*.csv, figures and text to docs/.
"""

import csv
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import figures
import numpy as np
import results_page
from collect import HERE, ORIGINAL, Place, Sizes, finished, options, places
from collected_votes import Recorded
from markdown import put
from methods_compared import (
    ACCOUNTINGS,
    Comparison,
    Plan,
    Points,
    curve,
    interval,
    load,
    ratio,
    save,
)
from published import published

from smoothcert.bounds import binomial

DOCS = HERE.parent / "docs"
MANY = ("speedups", "headline", "at_radius", "screened", "gammas", "curves")
METHODS = ("irs-published", "irs", "joint-uniform", "joint-planned", "auto-planned")
NAMED = ("int8", "fp16", "bf16", "prune5", "prune10", "prune20")


@dataclass(frozen=True, eq=False)
class Pair:
    """A changed network, its original, and every method on the two at each size of cache.

    Attributes:
        place: of the changed network.
        original: its votes.
        new: those of the changed network.
        plan: the settings.
        comparisons: by the size of cache.
        speed: evaluations per second of the changed network.
    """

    place: Place
    original: Recorded
    new: Recorded
    plan: Plan
    comparisons: dict[int, tuple[Comparison, dict[str, Points]]]
    speed: float

    @staticmethod
    def read(place: Place, plan: Plan, speed: float) -> "Pair":
        """Run the methods on the votes, or read back what they gave."""
        original, new = recorded(original_of(place)), recorded(place)
        comparisons = {}
        for n in (n for n in plan.caches if n <= original.certification.settings.n):
            file = place.folder / f"contest-{n}.npz"
            key = f"{asdict(plan)} {original.identity} {new.identity}"
            comparison, start = Comparison.of(original, new, n, plan), time.perf_counter()
            points = load(file, key)
            if points is None:
                points = comparison.all()
                save(file, points, key)
                print(f"{place.title}, n = {n}: {time.perf_counter() - start:.0f} s", flush=True)
            comparisons[n] = comparison, points
        return Pair(place, original, new, plan, comparisons, speed)

    @property
    def facts(self) -> dict:
        """Which network this is."""
        return {
            "architecture": self.place.architecture,
            "sigma": self.place.sigma,
            "network": self.place.network,
        }

    def contenders(
        self, n: int, shares: list[float], accounting: str
    ) -> tuple[Points, dict[str, Points]]:
        """From scratch and the methods, with what each may spend and as it is counted."""
        comparison, points = self.comparisons[n]
        sizes = [max(1, round(share * n)) for share in shares]
        theirs = accounting == "authors"
        base = points["from-scratch-authors" if theirs else "from-scratch"].at(sizes)
        methods = {name: points[name] for name in METHODS}
        for name in METHODS:
            planned = name.endswith("-planned")
            methods[name] = (
                methods[name].within(0, max(sizes)) if planned else methods[name].at(sizes)
            )
        if accounting == "draws":
            base = base.free_of_extra()
        if theirs:
            wrong = comparison.wrong
            base = base.skipping(wrong)
            methods = {name: some.skipping(wrong) for name, some in methods.items()}
        return base, methods

    def speedups(self) -> Iterator[dict]:
        """Tables 3, 5 and 6: a row per size of cache and accounting."""
        for n in self.comparisons:
            paper = published("speedup", self.facts, n=n)
            for accounting in ACCOUNTINGS:
                base, methods = self.contenders(n, self.plan.percents, accounting)
                row = self.facts | {"n": n, "accounting": accounting, "published": paper}
                for name, some in methods.items():
                    row[name] = ratio(base, some)
                for name in ("irs-published", "joint-planned"):
                    low, high = interval(base, methods[name], self.plan.resamples)
                    row |= {f"{name} 5%": low, f"{name} 95%": high}
                yield row

    def headline(self) -> Iterator[dict]:
        """Table 2: larger shares, and the time to an ACR that all of the methods reach."""
        for n in self.comparisons:
            base, methods = self.contenders(n, self.plan.headline, "all")
            curves = {"from-scratch": curve(base)}
            curves |= {name: curve(some) for name, some in methods.items()}
            target = min(float(found.acr.max()) for found in curves.values())
            row = self.facts | {"n": n, "acr": target, "evaluations_per_second": self.speed}
            for name, found in curves.items():
                if name != "from-scratch":
                    row[name] = ratio(base, methods[name])
                needed = found.evaluations_for(target)
                row[f"{name} evaluations"] = needed
                row[f"{name} seconds"] = None if needed is None else needed / self.speed
            yield row

    def at_radius(self) -> Iterator[dict]:
        """Table 4: as the speedups, with certified accuracy at a radius in the place of ACR."""
        for n in self.comparisons:
            base, methods = self.contenders(n, self.plan.percents, "all")
            for in_sigmas in self.plan.radii:
                radius = in_sigmas * self.place.sigma
                row = self.facts | {"n": n, "radius": radius}
                row["highest"] = float((base.radius >= radius).mean(axis=1).max())
                yield row | {n: ratio(base, some, radius) for n, some in methods.items()}

    def screened(self) -> Iterator[dict]:
        """Dataset certificates, and what from scratch needs to reach the same ACR."""
        for n, (comparison, points) in self.comparisons.items():
            scratch = curve(points["from-scratch"])
            for per_input in self.plan.screen:
                found = comparison.screened(per_input)
                needed = scratch.evaluations_for(found.acr)
                times = None if needed is None else needed / found.evaluations
                row = {"n": n, "images": found.pool.inputs, "per_input": per_input}
                row |= {"acr": found.acr, "evaluations": found.evaluations}
                yield self.facts | row | {"from-scratch evaluations": needed, "times": times}

    def gammas(self) -> Iterator[dict]:
        """Table 7: ACR of IRS by gamma, the mean over n_p from 1 to 10 % of n."""
        for n, (_, points) in self.comparisons.items():
            for gamma in self.plan.gammas:
                acr = float(points[f"gamma-{gamma:g}"].radius.mean())
                yield self.facts | {"n": n, "gamma": gamma, "acr": acr}

    def curves(self) -> Iterator[dict]:
        """Every point of every method."""
        for n, (_, points) in self.comparisons.items():
            for name in ("from-scratch", *METHODS):
                some = points[name]
                cost = some.draws.sum(axis=1) + some.extra
                for size, spent, acr in zip(
                    some.sizes, cost, some.radius.mean(axis=1), strict=True
                ):
                    row = {"n": n, "method": name, "per_image": size, "evaluations": int(spent)}
                    yield self.facts | row | {"acr": acr, "seconds": spent / self.speed}

    def disparity(self) -> dict:
        """Table 10, and the flips by what they do to the class."""
        old, new = (x.certification.records for x in (self.original, self.new))
        f, g = (np.stack([r.votes.estimation for r in some]) for some in (old, new))
        c = np.array([[r.certificate.candidate] for r in old])
        n = min(self.plan.zeta_draws, f.shape[1])
        first = (f[:, :n] != g[:, :n]).sum(axis=1)
        zeta = binomial.upper(first, n, self.plan.zeta_alpha)
        return self.facts | {
            "published": published("zeta", self.facts),
            "zeta": float(zeta.mean()),
            "differ": float((f != g).mean()),
            "away": float(((f == c) & (g != c)).mean()),
            "back": float(((f != c) & (g == c)).mean()),
        }


@lru_cache(maxsize=2)
def recorded(place: Place) -> Recorded:
    """A network's votes. Two are held: the original's serve one network after the other."""
    return Recorded.read(place.folder)


def accuracy(place: Place) -> dict:
    """Tables 8 and 9: of the network on noisy images, and of its majority vote, in percent."""
    found = recorded(place)
    labels = np.stack([r.votes.estimation for r in found.certification.records])
    counts = np.stack([(labels == c).sum(axis=1) for c in range(found.certification.num_classes)])
    facts = {"architecture": place.architecture, "sigma": place.sigma, "network": place.network}
    return facts | {
        "published base": published("accuracy", facts, classifier="base"),
        "base": 100 * float((labels == found.classes[:, None]).mean()),
        "published smoothed": published("accuracy", facts, classifier="smoothed"),
        "smoothed": 100 * float((counts.argmax(axis=0) == found.classes).mean()),
    }


def rows_of(
    there: list[Place], plan: Plan
) -> tuple[dict[str, list[dict]], dict[str, float], list[str]]:
    """All tables by name, a network at a time; the speeds by network; and what lacks draws.

    A network is as fast at one sigma as at another, so the fastest collection counts for all.
    """
    rows: dict[str, list[dict]] = {name: [] for name in (*MANY, "disparity", "accuracy")}
    speeds: dict[str, float] = {}
    lacking = []
    for place in there:
        speeds[_kind(place)] = max(speeds.get(_kind(place), 0.0), recorded(place).speed)
    for place in there:
        rows["accuracy"].append(accuracy(place))
        if place.network != ORIGINAL and finished(original_of(place)):
            try:
                pair = Pair.read(place, plan, speeds[_kind(place)])
            except LookupError as error:
                print(f"{place.title}: {error}", flush=True)
                lacking.append(place.title)
                continue
            rows["disparity"].append(pair.disparity())
            for name in MANY:
                rows[name] += getattr(pair, name)()
    return rows, speeds, lacking


def write_csv(folder: Path, name: str, rows: list[dict]) -> None:
    """Figures with six digits: more than they mean."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        columns = dict.fromkeys(key for row in rows for key in row)
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(cells)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--plan", type=Path, default=HERE / "tables.toml")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of CSV")
    parser.add_argument("--docs", type=Path, default=DOCS, help="with results.md; takes figures")
    given = parser.parse_args()
    sizes = Sizes.read(given.sizes, given.size)
    plan = Plan(**tomllib.loads(given.plan.read_text()))
    everything = list(places(sizes, given.out))
    there = sorted((p for p in everything if finished(p)), key=_order)
    rows, speeds, lacking = rows_of(there, plan)
    if not rows["speedups"]:
        raise SystemExit("No changed network is complete: run collect.py, then collect_fresh.py")
    for name, some in rows.items():
        write_csv(given.results / given.size, name, some)
    figures.write(given.docs, rows)
    missing = [place.title for place in everything if not finished(place)] + lacking
    text = results_page.text(given.size, sizes, plan, rows, speeds, missing)
    put(given.docs / "results.md", "tables", text)


def original_of(place: Place) -> Place:
    """The network that this one was made from."""
    return replace(place, network=ORIGINAL)


def _kind(place: Place) -> str:
    """Architecture and network."""
    return f"{place.architecture.removeprefix('cifar_')} {place.network}"


def _order(place: Place) -> tuple:
    known = (*NAMED, ORIGINAL)
    rank = known.index(place.network) if place.network in known else len(known)
    return place.architecture, place.sigma, rank, place.network


if __name__ == "__main__":
    main()
