"""Rows for networks that cannot be run here: SIMULATED on published certification logs.

python experiments/simulated.py LOGS --out FOLDER

LOGS has tables named like imagenet_resnet50_sigma_0.50.tsv: idx, label, predict, radius, correct,
time, tab-separated. For CIFAR-10 they are data/certify/cifar10/gaussian of eth-sri/acr-weakness,
for ImageNet those of Cohen et al. (2019). Their vote shares are real; the flips are drawn from
`smoothcert.simulation`'s law, with the mean disparity that the published mean zeta means. No model
is run and nothing is certified. Finished rows are kept in FOLDER.
"""

import argparse
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cached_rows import cached
from markdown import put, table
from published import published
from results_page import SHOWN, number
from scipy import optimize, special
from tables import DOCS, HERE, NAMED, write_csv

from smoothcert.errors import InvalidInput
from smoothcert.simulation.logs import Log, read_log
from smoothcert.simulation.simulate import NOTICE, FlipModel, Simulation, Study, simulate

SETTINGS = HERE / "simulated.toml"
METHODS = ("irs-published", "irs", "joint-uniform", "joint-planned")


@dataclass(frozen=True)
class Plan:
    """simulated.toml."""

    n: int
    alpha: float
    repetitions: int
    seed: int
    unseen: float
    screen: list[int]
    gamma: dict[str, float]
    images: int
    log_alpha: dict[str, float]

    def study(self, dataset: str, disparity: float, accounting: str) -> Study:
        """What is simulated for a row."""
        return Study(
            FlipModel(disparity),
            self.n,
            screen=tuple(self.screen) if accounting == "all" else (),
            alpha=self.alpha,
            gamma=self.gamma[dataset],
            accounting=accounting,
            repetitions=self.repetitions,
            seed=self.seed,
        )


def read_plan(file: Path) -> Plan:
    """The settings of a file."""
    return Plan(**tomllib.loads(file.read_text()))


def disparity_of(zeta: float, unseen: float, draws: int = 1000, alpha: float = 0.001) -> float:
    """The share of flips at which so many draws have this upper limit; at least `unseen`."""

    def excess(flips: float) -> float:
        return float(special.betaincinv(flips + 1, draws - flips, 1 - alpha)) - zeta

    if excess(0) >= 0:
        return unseen
    return max(unseen, float(optimize.root_scalar(excess, bracket=(0, draws / 2)).root) / draws)


def row_of(log: Log, facts: dict, plan: Plan) -> dict:
    """Both accountings, or why there is nothing."""
    keys = {"dataset": facts["dataset"]}
    zeta = published("zeta", facts, **keys)
    assert zeta is not None
    disparity = disparity_of(zeta, plan.unseen)
    paper = published("speedup", facts, n=plan.n, **keys)
    row = facts | {"published": paper, "zeta": zeta, "disparity": disparity}
    row["images"] = log.images
    try:
        studies = [plan.study(facts["dataset"], disparity, how) for how in ("all", "published")]
        everything, theirs = (simulate(log, study) for study in studies)
    except InvalidInput as error:
        return row | {"problem": str(error)}
    return row | _ratios(everything, theirs)


def _ratios(everything: Simulation, theirs: Simulation) -> dict:
    found = {name: everything.ratios[name] for name in METHODS}
    found |= {f"{name}, published accounting": theirs.ratios[name] for name in METHODS}
    return found | {f"dataset {s.per_input}": s.times for s in everything.screened}


def read_logs(folder: Path, settings: Path = SETTINGS) -> list[Log]:
    """The logs of a folder, read with an alpha that proves their radii, and thinned."""
    plan, found = read_plan(settings), []
    for file in sorted(folder.glob("*_sigma_*.tsv")):
        log = read_log(file, alpha=plan.log_alpha[file.stem.partition("_")[0]])
        assert not log.notes, log.notes  # a log whose largest radius its draws cannot prove
        found.append(thinned(log, plan.images))
    return found


def thinned(log: Log, images: int) -> Log:
    """So many of its images, evenly chosen."""
    step = max(1, log.images // images)
    parts = {name: getattr(log, name)[::step] for name in ("p", "correct", "abstained", "radius")}
    return replace(log, **{name: part[:images] for name, part in parts.items()})


def finished(file: Path, log: Log, facts: dict, plan: Plan) -> dict:
    """The row, read back if it was made with these settings."""
    return cached(file, asdict(plan), file.stem, lambda: row_of(log, facts, plan))


def text(rows: list[dict], plan: Plan) -> str:
    """What stands between the marks: a few networks, the CSV file has all."""
    dashed = [f"dataset {m}" for m in plan.screen]
    head = ["network", "σ", "disparity %", "published IRS", "IRS as published", "joint, planned"]
    head += [f"dataset, {m} per image" for m in plan.screen]
    lines = [
        [
            f"{row['dataset']} {row['architecture']} {row['network']}",
            f"{row['sigma']:g}",
            number(100 * row["disparity"], 2),
            number(row["published"]),
            *(number(row.get(c), 0 if c in dashed else 2) for c in (*METHODS[::3], *dashed)),
        ]
        for row in rows
        if row["network"] in SHOWN
    ]
    return f"{NOTICE}\n\n{table(head, lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, help="folder of published logs")
    parser.add_argument("--out", type=Path, required=True, help="folder of finished rows")
    parser.add_argument("--plan", type=Path, default=SETTINGS)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of CSV")
    parser.add_argument("--docs", type=Path, default=DOCS, help="with results-simulated.md")
    given = parser.parse_args()
    plan = read_plan(given.plan)
    rows = []
    for log in read_logs(given.logs, given.plan):
        dataset, architecture = log.name.split("_")[:2]
        for network in NAMED:
            facts = {"dataset": dataset, "architecture": architecture, "sigma": log.sigma}
            facts["network"] = network
            if published("zeta", facts, dataset=dataset) is None:
                continue  # a sigma that the paper does not have
            place = given.out / f"{log.name}_{network}.json"
            rows.append(finished(place, log, facts, plan))
    write_csv(given.results, "simulated", rows)
    put(given.docs / "results-simulated.md", "simulated", text(rows, plan))


if __name__ == "__main__":
    main()
