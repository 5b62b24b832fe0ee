"""Where incremental certification stops paying, and which gamma of IRS is best: SIMULATED.

python experiments/regime.py LOGS --out FOLDER

LOGS has tables of Cohen et al. (2019), as for simulated.py: vote shares are real, label changes
are drawn from `smoothcert.simulation`'s law at many disparities. No model is run. Simulations are
kept in FOLDER. Beside them, real pairs with larger changes: FOLDER is what collect.py and
collect_fresh.py filled with `--size regime`.
"""

import argparse
import csv
import tomllib
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from cached_rows import cached
from collect import HERE, Sizes, finished, places
from markdown import put, table
from methods_compared import Plan as Tables
from results_page import HEADS, METHODS, number
from tables import DOCS, rows_of, write_csv

from smoothcert.simulation.logs import Log, read_log
from smoothcert.simulation.simulate import NOTICE, FlipModel, Study, simulate

SIZE = "regime"  # of collect.toml
ACCOUNTINGS = {"all": "all", "published": "draws"}
"""Of the simulation, to that of tables.py."""


@dataclass(frozen=True)
class Plan:
    """regime.toml."""

    n: int
    alpha: float
    repetitions: int
    seed: int
    sigmas: list[float]
    disparities: list[float]
    gammas: list[float]
    gamma_disparities: list[float]
    gamma: dict[str, float]

    def study(
        self, disparity: float, methods: tuple[str, ...], gamma: float, accounting: str = "all"
    ) -> Study:
        """What is simulated for a cell."""
        return Study(
            FlipModel(disparity),
            self.n,
            methods,
            (),
            self.alpha,
            gamma,
            accounting,
            self.repetitions,
            self.seed,
        )


def levels(log: Log, dataset: str, plan: Plan) -> list[dict]:
    """Speedups at every disparity, in both accountings."""
    rows = []
    for disparity in plan.disparities:
        for accounting, name in ACCOUNTINGS.items():
            study = plan.study(disparity, METHODS, plan.gamma[dataset], accounting)
            row = {"data set": dataset, "sigma": log.sigma, "disparity": disparity}
            rows.append(row | {"accounting": name} | simulate(log, study).ratios)
    return rows


def by_gamma(log: Log, dataset: str, plan: Plan) -> list[dict]:
    """Speedup of IRS as published at every gamma."""
    rows = []
    for disparity in plan.gamma_disparities:
        row = {"data set": dataset, "sigma": log.sigma, "disparity": disparity}
        for gamma in plan.gammas:
            ratios = simulate(log, plan.study(disparity, METHODS[:1], gamma)).ratios
            row[f"{gamma:g}"] = ratios[METHODS[0]]
        rows.append(row)
    return rows


def simulated(log: Log, dataset: str, plan: Plan) -> dict[str, list[dict]]:
    """Both."""
    return {"levels": levels(log, dataset, plan), "gammas": by_gamma(log, dataset, plan)}


def end(rows: list[dict], method: str) -> str:
    """The disparity in percent from which on the method is slower than from scratch.

    Interpolated on a logarithmic scale between the two simulated ones around it.
    """
    points = [(row["disparity"], row[method]) for row in rows if row[method] is not None]
    for (low, fast), (high, slow) in pairwise(points):
        if fast >= 1 > slow:
            share = (fast - 1) / (fast - slow)
            return f"{100 * np.exp((1 - share) * np.log(low) + share * np.log(high)):.1f}"
    below = points and points[0][1] < 1
    return f"below {100 * points[0][0]:g}" if below else f"above {100 * points[-1][0]:g}"


def ends(rows: list[dict]) -> str:
    """The table of where the regime ends."""
    head = ["vote shares", "σ", *HEADS, *(f"{name}, draws alone" for name in HEADS)]
    lines = []
    for key in dict.fromkeys((row["data set"], row["sigma"]) for row in rows):
        line = [key[0], f"{key[1]:g}"]
        for accounting in ACCOUNTINGS.values():
            some = [
                row
                for row in rows
                if (row["data set"], row["sigma"], row["accounting"]) == (*key, accounting)
            ]
            line += [end(some, method) for method in METHODS]
        lines.append(line)
    return table(head, lines)


def gamma_table(rows: list[dict], plan: Plan) -> str:
    """Speedup by gamma."""
    names = [f"{gamma:g}" for gamma in plan.gammas]
    lines = []
    for row in rows:
        facts = [row["data set"], f"{row['sigma']:g}", number(100 * row["disparity"], 2)]
        best = max(names, key=lambda name: row[name] or 0)
        lines.append([*facts, *(number(row[name]) for name in names), best])
    return table(["vote shares", "σ", "disparity %", *names, "best"], lines)


def measured(results: Path) -> str:
    """Real pairs: speedups by pruned share at the sigma of the larger changes."""
    sizes = ("cpu", SIZE)
    speedups, disparity = (
        [row for size in sizes for row in _read(results / size / f"{name}.csv")]
        for name in ("speedups", "disparity")
    )
    (sigma,) = {row["sigma"] for row in _read(results / SIZE / "speedups.csv")}
    lines = []
    for row in speedups:
        if row["sigma"] != sigma or not row["network"].startswith("prune"):
            continue
        if row["accounting"] == "authors":
            continue
        same = ("architecture", "sigma", "network")
        moved = next(x for x in disparity if all(x[key] == row[key] for key in same))
        counted = {"all": "everything", "draws": "draws alone"}[row["accounting"]]
        facts = [f"{row['network'][5:]} %", counted, f"{100 * float(moved['differ']):.1f}"]
        lines.append([*facts, *(number(float(row[m]) if row[m] else None) for m in METHODS)])
    lines.sort(key=lambda line: (line[1] != "everything", int(line[0].partition(" ")[0])))
    head = ["pruned", "counted", "labels differ %", *HEADS]
    return f"ResNet-20, σ = {float(sigma):g}, real votes:\n\n{table(head, lines)}"


def _read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, help="folder of published logs")
    parser.add_argument("--out", type=Path, required=True, help="folder of finished simulations")
    parser.add_argument("--plan", type=Path, default=HERE / "regime.toml")
    parser.add_argument("--pairs", type=Path, default=HERE / "regime-tables.toml")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of CSV")
    parser.add_argument("--docs", type=Path, default=DOCS, help="with questions.md")
    given = parser.parse_args()
    plan = Plan(**tomllib.loads(given.plan.read_text()))
    rows: dict[str, list[dict]] = {"levels": [], "gammas": []}
    for file in sorted(given.logs.glob("*_sigma_*.tsv")):
        log = read_log(file)
        if log.sigma in plan.sigmas:
            place = given.out / f"{file.stem}.json"
            facts = log, file.stem.partition("_")[0], plan
            found = cached(place, asdict(plan), file.stem, partial(simulated, *facts))
            for name, some in rows.items():
                some += found[name]
    write_csv(given.results, "regime", rows["levels"])
    write_csv(given.results, "gammas-simulated", rows["gammas"])
    real = Tables(**tomllib.loads(given.pairs.read_text()))
    found = list(places(Sizes.read(HERE / "collect.toml", SIZE), given.out))
    for name, some in rows_of([p for p in found if finished(p)], real)[0].items():
        write_csv(given.results / SIZE, name, some)
    put(given.docs / "questions.md", "regime", measured(given.results))
    put(given.docs / "questions.md", "simulated regime", f"{NOTICE}\n\n{ends(rows['levels'])}")
    text = f"{NOTICE}\n\n{gamma_table(rows['gammas'], plan)}"
    put(given.docs / "questions.md", "simulated gamma", text)


if __name__ == "__main__":
    main()
