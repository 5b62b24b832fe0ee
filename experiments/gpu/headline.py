"""The paper's largest run on CIFAR-10 on votes collected on a GPU: a ResNet-110 at n = 100,000.

python experiments/gpu/headline.py [--votes FILE]

No network is run. FILE (experiments/results/gpu/votes-*.npz) has every network's label of every
draw: arrays `original` and `NAME minus original`, int8 of shape (images, 100 + n), selection draws
first, with the images' `indices` and true `classes`. Writes headline.csv beside it: for each method
and share of n, the ACR that it proves for the changed network, and how many evaluations from
scratch would have proven as much; and forms.csv, the ACR from scratch by each `Settings.form`.

Fresh draws were not collected: IRS, which asks for them where the original's limit is above gamma,
gets the last draws of the changed network in their place. They have the same law and are none of
those it replays, up to half of n.
"""

import argparse
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from collected_votes import Recorded
from methods_compared import Comparison, Plan, Points, curve, ratio
from numpy.typing import NDArray
from tables import write_csv

from smoothcert import Certification, Settings, Votes
from smoothcert.certificate import Record
from smoothcert.methods import scratch
from smoothcert.vocabulary import FORMS

HERE = Path(__file__).parent
VOTES = HERE.parent / "results" / "gpu" / "votes-cifar_resnet110-1.00.npz"
N0, LEVELS, CLASSES, SHAPE = 100, 255, 10, (3, 32, 32)
METHODS = ("irs-published", "irs", "joint-uniform", "joint-planned", "auto-planned")


@dataclass(frozen=True, eq=False)
class Collected:
    """Labels of all networks on the same draws.

    Attributes:
        labels: by network, shape (images, N0 + n).
        indices, classes: of the images.
        sigma: of the noise.
    """

    labels: dict[str, NDArray[np.int32]]
    indices: NDArray[np.int64]
    classes: NDArray[np.int64]
    sigma: float

    @staticmethod
    def read(file: Path) -> "Collected":
        """Add what was stored as a difference."""
        with np.load(file) as stored:
            original = stored["original"].astype(np.int32)
            labels = {
                name.removesuffix(" minus original"): stored[name] + original
                for name in stored.files
                if name.endswith(" minus original")
            }
            sigma = float(file.stem.rpartition("-")[2])
            known = {"original": original} | labels
            return Collected(known, stored["indices"], stored["classes"], sigma)

    def recorded(self, network: str) -> Recorded:
        """As if read from its run; its last draws are its fresh ones."""
        labels = self.labels[network]
        settings = Settings(self.sigma, LEVELS, N0, labels.shape[1] - N0, 0.001, 0)
        records = []
        for index, row in zip(self.indices.tolist(), labels, strict=True):
            votes = _votes(row, settings.n)
            facts = (settings, SHAPE, CLASSES)
            records.append(Record(scratch.certificate(index, "", votes, *facts), votes))
        whole = Certification(settings, None, network, network, CLASSES, SHAPE, tuple(records))
        fresh = {r.certificate.index: r.votes.estimation[::-1] for r in records}
        return Recorded(whole, self.classes, fresh, 0.0, network)


def rows(comparison: Comparison, found: dict[str, Points], network: str) -> Iterator[dict]:
    """One for each method and size."""
    whole = curve(found["from-scratch"])
    reached = np.maximum.accumulate(whole.acr)
    for method in METHODS:
        points = found[method]
        for at, size in enumerate(points.sizes):
            share = size / comparison.n
            if share > max(comparison.plan.headline):
                continue
            acr = float(points.radius[at].mean())
            spent = int(points.evaluations[at])
            needed = float(np.interp(acr, reached, whole.evaluations))
            yield {
                "network": network,
                "method": method,
                "share of n": f"{share:.4g}",
                "ACR": f"{acr:.4f}",
                "evaluations": spent,
                "from scratch": round(needed),
                "ratio": f"{needed / spent:.2f}",
            }


def forms(collected: Collected) -> Iterator[dict]:
    """ACR from scratch by each form of the bound on the other classes."""
    for network, labels in collected.labels.items():
        for n in (1000, 10_000, 100_000):
            row: dict[str, object] = {"network": network, "n": n}
            for form in FORMS:
                settings = Settings(collected.sigma, LEVELS, N0, n, 0.001, 0, form)
                found = [
                    scratch.certificate(0, "", _votes(row, n), settings, SHAPE, CLASSES)
                    for row in labels
                ]
                right = [c.predicted for c in found] == collected.classes
                radii = np.where(right, [c.radius for c in found], 0)
                row[form], row[f"{form}, certified"] = f"{radii.mean():.4f}", int(right.sum())
            yield row


def _votes(labels: NDArray[np.int32], n: int) -> Votes:
    return Votes(selection=labels[:N0], estimation=labels[N0 : N0 + n])


def area(found: dict[str, Points], method: str, shares: list[float], n: int) -> float | None:
    """The paper's ratio of areas over these shares of n."""
    some = found[method].within(min(shares) * n, max(shares) * n)
    return ratio(found["from-scratch"], some)


def main() -> None:
    """Print the ratios of areas and write the points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=Path, default=VOTES)
    file = parser.parse_args().votes
    collected = Collected.read(file)
    plan = Plan(**tomllib.loads((HERE.parent / "tables.toml").read_text()))
    original, written = collected.recorded("original"), []
    for network in collected.labels:
        if network == "original":
            continue
        new = collected.recorded(network)
        comparison = Comparison.of(original, new, original.certification.settings.n, plan)
        changed = (collected.labels[network] != collected.labels["original"]).mean()
        print(f"{network}: {changed:.2%} of labels differ; ratio of areas, 1-10 % and 5-50 % of n")
        found, n = comparison.all(), comparison.n
        for method in METHODS:
            ratios = (area(found, method, some, n) for some in (plan.percents, plan.headline))
            print(f"  {method}: {', '.join(f'{r:.2f}' if r else 'none' for r in ratios)}")
        written += rows(comparison, found, network)
    write_csv(file.parent, "headline", written)
    write_csv(file.parent, "forms", list(forms(collected)))


if __name__ == "__main__":
    main()
