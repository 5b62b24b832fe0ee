"""One look or two at an input's replays, where a radius is to be reached: on collected votes.

python experiments/looks.py

For three compressed ResNet-20s at each sigma: how many inputs reach the radius, for how many
evaluations each, and how many were expected to. Rows go to experiments/results/pairs/looks.csv.
"""

import csv
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
from collected_votes import Place, Planner, Recorded

HERE = Path(__file__).parent
NETWORKS = ("prune5", "int8", "prune20")
POLICIES = ("radius:0.25", "radius:0.5", "retain:0.9", "retain:0.95")
ALPHA = 0.002


@dataclass(frozen=True)
class Row:
    """One network under one policy, in so many looks.

    Attributes:
        reached: images on which the aim is proven.
        possible: those that the original's certificate lets reach it.
        evaluations: per image, with the pilot.
    """

    sigma: float
    network: str
    policy: str
    stages: int
    images: int
    reached: int
    possible: int
    evaluations: float


def rows(place: Place) -> list[Row]:
    """Every policy on one network, in one look and in two."""
    original, new = Recorded.read(place.original), Recorded.read(place).with_stand_ins()
    base, found = original.certification, []
    planner, proven = Planner(base, new.lookup(), ALPHA), radii(base.records)
    for policy in POLICIES:
        kind, _, number = policy.partition(":")
        aim = float(number) * (proven if kind == "retain" else np.ones_like(proven))
        possible = (proven > 0) & (proven >= aim)
        for stages in (1, 2):
            records, pilot = planner.recertify(policy, "exact", stages)
            spent = sum(record.certificate.evaluations for record in records) + pilot
            reached = int((possible & (radii(records) >= aim)).sum())
            facts = (place.sigma, place.network, policy, stages, len(proven), reached)
            found.append(Row(*facts, int(possible.sum()), spent / len(proven)))
    return found


def radii(records) -> np.ndarray:
    """Certified radii."""
    return np.array([record.certificate.radius for record in records])


def main() -> None:
    """Write rows."""
    votes = HERE / "results" / "votes"
    found = []
    for sigma in (0.25, 0.5, 1.0):
        for network in NETWORKS:
            found += rows(Place("cifar_resnet20", sigma, network, votes))
    with (HERE / "results" / "pairs" / "looks.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([f.name for f in fields(Row)])
        out.writerows(astuple(replace(row, evaluations=round(row.evaluations, 1))) for row in found)


if __name__ == "__main__":
    main()
