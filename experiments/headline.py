"""The paper's largest run on CIFAR-10 on votes collected on a GPU: a ResNet-110 at n = 100,000.

python experiments/headline.py

No network is run. It writes headline.csv: for each method and share of n, the ACR that it proves
for the changed network, and how many evaluations from scratch would have proven as much; and
forms.csv, the ACR from scratch by each `Settings.form`.

Fresh draws were not collected: IRS, which asks for them where the original's limit is above gamma,
gets the last draws of the changed network in their place. They have the same law and are none of
those it replays, up to half of n.
"""

import argparse
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from collected_votes import ORIGINAL, Place, Recorded
from methods_compared import METHODS, Comparison, Plan, Points, curve, ratio
from tables import write_csv

from smoothcert import Votes
from smoothcert.methods import scratch
from smoothcert.vocabulary import FORMS

EXPERIMENTS = Path(__file__).parent
RESULTS = EXPERIMENTS / "results"
VOTES = RESULTS / "votes"


def read(network: str, votes: Path = VOTES) -> Recorded:
    """A network's votes, with stand-ins for fresh draws."""
    return Recorded.read(Place("cifar_resnet110", 1.0, network, votes)).with_stand_ins()


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


def forms(networks: dict[str, Recorded]) -> Iterator[dict]:
    """ACR from scratch by each form of the bound on the other classes."""
    for network, recorded in networks.items():
        whole = recorded.certification
        for n in (1000, 10_000, 100_000):
            row: dict[str, object] = {"network": network, "n": n}
            for form in FORMS:
                facts = replace(whole.settings, n=n, form=form), whole.shape, whole.num_classes
                found = [
                    scratch.certificate(0, "", _first(record.votes, n), *facts)
                    for record in whole.records
                ]
                right = [c.predicted for c in found] == recorded.classes
                radii = np.where(right, [c.radius for c in found], 0)
                row[form], row[f"{form}, certified"] = f"{radii.mean():.4f}", int(right.sum())
            yield row


def _first(votes: Votes, n: int) -> Votes:
    return Votes(selection=votes.selection, estimation=votes.estimation[:n])


def area(found: dict[str, Points], method: str, shares: list[float], n: int) -> float | None:
    """The paper's ratio of areas over these shares of n."""
    some = found[method].within(min(shares) * n, max(shares) * n)
    return ratio(found["from-scratch"], some)


def main() -> None:
    """Print the ratios of areas and write the points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=Path, default=VOTES)
    parser.add_argument("--results", type=Path, default=RESULTS / "gpu", help="folder of CSV")
    given = parser.parse_args()
    plan = Plan(**tomllib.loads((EXPERIMENTS / "tables.toml").read_text()))
    places = [p for p in Place.found(given.votes) if p.architecture == "cifar_resnet110"]
    names = [ORIGINAL, *(p.network for p in places if p.network != ORIGINAL)]
    networks = {name: read(name, given.votes) for name in names}
    original, written = networks[ORIGINAL], []
    for network in names[1:]:
        new = networks[network]
        comparison = Comparison.of(original, new, original.certification.settings.n, plan)
        print(f"{network}: ratio of areas, 1-10 % and 5-50 % of n")
        found, n = comparison.all(), comparison.n
        for method in METHODS:
            ratios = (area(found, method, some, n) for some in (plan.percents, plan.headline))
            print(f"  {method}: {', '.join(f'{r:.2f}' if r else 'none' for r in ratios)}")
        written += rows(comparison, found, network)
    write_csv(given.results, "headline", written)
    write_csv(given.results, "forms", list(forms(networks)))


if __name__ == "__main__":
    main()
