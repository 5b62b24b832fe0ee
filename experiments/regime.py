"""Where incremental certification stops paying, and which gamma of IRS is best: SIMULATED.

python experiments/regime.py LOGS --out FOLDER

LOGS is as for simulated.py: vote shares are real, label changes
are drawn from `smoothcert.simulation`'s law at many disparities. No model is run. Simulations are
kept in FOLDER. The table of real pairs beside them is written by tables.py.
"""

import argparse
import tomllib
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from cached_rows import cached
from markdown import put, table
from methods_compared import METHODS as TITLES
from simulated import METHODS, read_logs
from tables import DOCS, HERE, write_csv

from smoothcert.simulation.logs import Log
from smoothcert.simulation.simulate import NOTICE, FlipModel, Study, simulate

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
    titles = [TITLES[name] for name in METHODS]
    head = ["vote shares", "σ", *titles, *(f"{title}, draws alone" for title in titles)]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, help="folder of published logs")
    parser.add_argument("--out", type=Path, required=True, help="folder of finished simulations")
    parser.add_argument("--plan", type=Path, default=HERE / "regime.toml")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of CSV")
    parser.add_argument("--docs", type=Path, default=DOCS, help="with questions.md")
    given = parser.parse_args()
    plan = Plan(**tomllib.loads(given.plan.read_text()))
    rows: dict[str, list[dict]] = {"levels": [], "gammas": []}
    for log in read_logs(given.logs):
        if log.sigma in plan.sigmas:
            place = given.out / f"{log.name}.json"
            facts = log, log.name.partition("_")[0], plan
            found = cached(place, asdict(plan), log.name, partial(simulated, *facts))
            for name, some in rows.items():
                some += found[name]
    write_csv(given.results, "regime", rows["levels"])
    write_csv(given.results, "gammas-simulated", rows["gammas"])
    put(given.docs / "questions.md", "simulated regime", f"{NOTICE}\n\n{ends(rows['levels'])}")


if __name__ == "__main__":
    main()
