"""Tables 2 to 10 of the IRS paper on collected votes, next to its own figures: docs/results*.md.

python experiments/tables.py

It reads the votes that collect.py wrote and runs no network. Pairs without fresh draws are left
out and named. A finished comparison is kept in --work, so a rerun
computes only what is new. Rows go to experiments/results/pairs/, figures and text to docs/.
"""

import argparse
import csv
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import figures
import numpy as np
import results_page
from collected_votes import ORIGINAL, Place, Recorded
from markdown import put
from methods_compared import (
    ACCOUNTINGS,
    METHODS,
    PLANNED,
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

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
MANY = ("speedups", "headline", "at_radius", "screened", "gammas", "runner_ups", "curves")
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
    """

    place: Place
    original: Recorded
    new: Recorded
    plan: Plan
    comparisons: dict[int, tuple[Comparison, dict[str, Points]]]

    @staticmethod
    def read(place: Place, plan: Plan, work: Path) -> "Pair":
        """Run the methods on the votes, or read back what they gave."""
        original, new = recorded(place.original), recorded(place).with_stand_ins()
        comparisons = {}
        for n in (n for n in plan.caches if n <= original.certification.settings.n):
            file = work / f"{place.folder.name}-{place.network}-{n}.npz"
            key = f"{asdict(plan)} {list(METHODS)} {original.identity} {new.identity}"
            comparison, start = Comparison.of(original, new, n, plan), time.perf_counter()
            points = load(file, key)
            if points is None:
                points = comparison.all()
                save(file, points, key)
                print(f"{place.title}, n = {n}: {time.perf_counter() - start:.0f} s", flush=True)
            comparisons[n] = comparison, points
        return Pair(place, original, new, plan, comparisons)

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
            planned = name.endswith(PLANNED)
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
                for name in results_page.COMPARED:
                    low, high = interval(base, methods[name], self.plan.resamples)
                    row |= {f"{name} 5%": low, f"{name} 95%": high}
                yield row

    def headline(self) -> Iterator[dict]:
        """Table 2: larger shares, and what an ACR takes that all of the methods reach."""
        for n in self.comparisons:
            base, methods = self.contenders(n, self.plan.headline, "all")
            curves = {"from-scratch": curve(base)}
            curves |= {name: curve(some) for name, some in methods.items()}
            target = min(float(found.acr.max()) for found in curves.values())
            row = self.facts | {"n": n, "images": base.radius.shape[1], "acr": target}
            for name, found in curves.items():
                if name != "from-scratch":
                    row[name] = ratio(base, methods[name])
                row[f"{name} evaluations"] = found.evaluations_for(target)
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

    def runner_ups(self) -> Iterator[dict]:
        """ACR with and without runner-ups, and the speedup where both sides have them."""
        for n, (_, points) in self.comparisons.items():
            most = max(self.plan.percents) * n
            row = self.facts | {"n": n}
            for form, scratch, exact in (
                ("binary", "from-scratch", "exact-planned"),
                ("auto", "from-scratch-auto", "exact-auto"),
            ):
                at = points[exact].at([round(share * n) for share in (0.01, 0.05)])
                row[f"{form} from scratch"] = float(points[scratch].radius[-1].mean())
                row[f"{form} 1%"], row[f"{form} 5%"] = at.radius.mean(axis=1).tolist()
                sizes = points[scratch].within(min(self.plan.percents) * n, most)
                row[f"{form} ratio"] = ratio(sizes, points[exact].within(0, most))
            yield row

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
                    yield self.facts | row | {"acr": acr}

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
    return Recorded.read(place)


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


def rows_of(there: list[Place], plan: Plan, work: Path) -> tuple[dict[str, list[dict]], list[str]]:
    """All tables by name, a network at a time; and what lacks fresh draws."""
    rows: dict[str, list[dict]] = {name: [] for name in (*MANY, "disparity", "accuracy")}
    lacking = []
    for place in there:
        rows["accuracy"].append(accuracy(place))
        if place.network == ORIGINAL:
            continue
        if not all(len(labels) for labels in recorded(place).fresh.values()):
            lacking.append(place.title)
            continue
        pair = Pair.read(place, plan, work)
        rows["disparity"].append(pair.disparity())
        for name in MANY:
            rows[name] += getattr(pair, name)()
    return rows, lacking


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


def options(description: str | None) -> argparse.ArgumentParser:
    """What the scripts on collected votes are given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--votes", type=Path, default=HERE / "results" / "votes")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of CSV")
    parser.add_argument("--docs", type=Path, default=DOCS, help="with pages; takes figures")
    return parser


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--plan", type=Path, default=HERE / "tables.toml")
    work = HERE.parent / "build" / "comparisons"
    parser.add_argument("--work", type=Path, default=work, help="folder of finished comparisons")
    given = parser.parse_args()
    plan = Plan(**tomllib.loads(given.plan.read_text()))
    given.work.mkdir(parents=True, exist_ok=True)
    there = sorted(Place.found(given.votes), key=_order)
    rows, lacking = rows_of(there, plan, given.work)
    if not rows["speedups"]:
        raise SystemExit("No changed network has all draws: run collect.py")
    for name, some in rows.items():
        write_csv(given.results / "pairs", name, some)
    figures.write(given.docs, rows)
    for mark, text in results_page.parts(plan, rows, lacking).items():
        put(given.docs / results_page.PAGE_OF[mark], mark, text)
    put(given.docs / "questions.md", "regime", results_page.regime(rows))


def _order(place: Place) -> tuple:
    known = (*NAMED, ORIGINAL)
    rank = known.index(place.network) if place.network in known else len(known)
    return place.architecture, place.sigma, rank, place.network


if __name__ == "__main__":
    main()
