"""Originals certified by plan, SIMULATED on published certification logs.

python experiments/sizes_simulated.py LOGS

LOGS has the tables that simulated.py names; they are read as there.
The probability of each image's class is what its logged radius suggests, 1/2 where it abstained;
selection and estimation votes are drawn by the binomial law, between the class and one other. No
model is run and nothing is certified. Rows, averages over SEEDS, go to
experiments/results/statistics/sizes-simulated.csv and sizes-reached.csv, the second also into
docs/results-simulated.md.
"""

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from markdown import put, table
from numpy.typing import NDArray
from simulated import read_logs
from sizes import HERE, Row, write

from smoothcert import Settings
from smoothcert.bounds import binomial
from smoothcert.planning import Policy, Sizes
from smoothcert.simulation.logs import Log

POLICIES = ("retain:0.95", "retain:0.99", "budget:0.3")
DRAWS = (10_000, 100_000)
SEEDS = range(5)
SHARES = (0.95, 0.99)
NOTICE = (
    "SIMULATION: vote shares from published logs, votes drawn by the binomial law; no model was "
    "run and nothing is certified."
)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A log's images, and one simulated certification of them with n draws for every image.

    Attributes:
        log: the images.
        n: estimation draws.
        seed: of the votes.
    """

    log: Log
    n: int
    seed: int

    @property
    def settings(self) -> Settings:
        """Those that the logs are described with, but for n."""
        return Settings(self.log.sigma, n=self.n, alpha=0.001)

    @cached_property
    def selection(self) -> NDArray[np.int64]:
        """Votes for the logged class among the selection draws."""
        return np.random.default_rng((self.seed, 0)).binomial(self.settings.n0, self.log.p)

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        """Where the selection draws choose the logged class."""
        return 2 * self.selection >= self.settings.n0

    @cached_property
    def votes(self) -> NDArray[np.int64]:
        """Estimation votes for the class that was chosen."""
        p = np.where(self.chosen, self.log.p, 1 - self.log.p)
        return np.random.default_rng((self.seed, 1)).binomial(self.n, p)

    def plan(self, policy: str) -> NDArray[np.int64]:
        """Estimation draws of each image."""
        n0 = self.settings.n0
        won = np.where(self.chosen, self.selection, n0 - self.selection)
        sizes = Sizes(self.settings, np.stack([won, n0 - won], axis=1), 2)
        return sizes.plan(Policy.parse(policy, scratch=True))

    def radii(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """What so many of the n draws of each image prove; 0 where nothing."""
        rng = np.random.default_rng((self.seed, 2))
        k = rng.hypergeometric(self.votes, self.n - self.votes, draws)
        m = np.maximum(draws, 1)
        q = np.where(draws > 0, binomial.lower(np.minimum(k, m), m, self.settings.alpha), 0.0)
        return np.maximum(self.settings.radius(q), 0.0)

    def acr(self, radii: NDArray[np.float64]) -> float:
        """The average radius, 0 where the class is not the label."""
        return float((radii * (self.log.correct & self.chosen)).mean())

    def enough(self, acr: float) -> int:
        """About the smallest number of draws for every image with at least this ACR."""
        low, high = 1, self.n
        while high - low > self.n // 2000:
            middle = (low + high) // 2
            reaches = self.acr(self.radii(np.full(self.log.images, middle))) >= acr
            low, high = (low, middle) if reaches else (middle, high)
        return high


def row(log: Log, n: int, policy: str) -> Row:
    """One policy on one log, averaged over the seeds."""
    found, n0 = [], Settings(log.sigma).n0
    for seed in SEEDS:
        drawn = Drawn(log, n, seed)
        draws, whole = drawn.plan(policy), drawn.radii(np.full(log.images, n))
        radii, spent = drawn.radii(draws), n0 + float(draws.mean())
        constant = drawn.enough(drawn.acr(radii))
        facts = (spent, (n0 + n) / spent, drawn.acr(radii) / drawn.acr(whole))
        certified = ((radii > 0).sum(), (whole > 0).sum())
        found.append((*facts, *certified, constant, (n0 + constant) / spent))
    mean = np.mean(found, axis=0).tolist()
    counts = [round(value) for value in mean[3:6]]
    return Row(title(log, n), policy, *mean[:3], *counts, mean[6])


@dataclass(frozen=True)
class Reached:
    """The least that keeps a share of n's ACR on a log: a `retain` that is found by its results.

    Attributes:
        times: evaluations of n draws for every image, over those of the policy.
    """

    network: str
    share: float
    retain: float
    evaluations: float
    times: float


def reached(log: Log, n: int, share: float) -> Reached:
    """By bisection of the share that is asked for."""
    worlds = [Drawn(log, n, seed) for seed in SEEDS]
    best = np.mean([one.acr(one.radii(np.full(log.images, n))) for one in worlds])
    low, high = 0.5, 1.0
    while high - low > 0.001:
        middle = (low + high) / 2
        kept = [one.acr(one.radii(one.plan(f"retain:{middle}"))) for one in worlds]
        low, high = (low, middle) if np.mean(kept) >= share * best else (middle, high)
    n0, spent = worlds[0].settings.n0, [one.plan(f"retain:{high}").mean() for one in worlds]
    cost = n0 + float(np.mean(spent))
    return Reached(title(log, n), share, high, cost, (n0 + n) / cost)


def title(log: Log, n: int) -> str:
    """For people."""
    dataset, architecture, *_ = log.name.split("_")
    return f"{dataset} {architecture}, σ = {log.sigma:g}, n = {n:,}"


def main() -> None:
    """Write rows and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, help="folder of published logs")
    logs = read_logs(parser.parse_args().logs)
    rows = [row(log, n, policy) for log in logs for n in DRAWS for policy in POLICIES]
    write("sizes-simulated.csv", rows)
    found = [[reached(log, n, share) for share in SHARES] for log in logs for n in DRAWS]
    write("sizes-reached.csv", [one for part in found for one in part])
    shown = [[part[0].network, *(cell for one in part for cell in cells(one))] for part in found]
    titles = [f"{what} {100 * share:g} %" for share in SHARES for what in _OF_REACHED]
    text = f"{NOTICE}\n\n{table(['log (simulated)', *titles], shown)}"
    put(HERE.parent / "docs" / "results-simulated.md", "sizes-reached", text)


_OF_REACHED = "`retain` that keeps", "evaluations an image for", "times fewer for"


def cells(one: Reached) -> list[str]:
    """Of a row."""
    return [f"{one.retain:.3f}", f"{one.evaluations:,.0f}", f"{one.times:.2f}"]


if __name__ == "__main__":
    main()
