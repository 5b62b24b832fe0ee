"""Originals certified by plan, with draws by input, on collected votes.

python experiments/sizes.py

For each original: what its policies spend, which share of the average certified radius (ACR) of n
draws for every image they keep, and what one number of draws for all would have to be for as much.
For radii: how many images reach them, next to the sequential test of `certify --radius`, with bets
as published and with bets that start from the selection votes. What int8 recertified on an original
by plan reaches, for the same number of evaluations. And what an original reaches that was extended
to n. Rows go to experiments/results/statistics (sizes.csv, radii.csv, reused.csv, extended.csv),
the first of them into docs/results-planned.md.
"""

import csv
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
from collected_votes import ORIGINAL, LookUpSampler, Place, Planner, Recorded, Shown, cut
from markdown import put, table
from numpy.typing import NDArray

from smoothcert import Certification
from smoothcert.certificate import Record
from smoothcert.methods import Case, Decision, Extended, Sized, Stored
from smoothcert.planning import sized
from smoothcert.planning.pilot import PilotVotes

HERE = Path(__file__).parent
POLICIES = ("retain:0.9", "retain:0.95", "retain:0.98", "retain:0.99", "budget:0.3", "loss:0.05")
RADII = (0.25, 0.5, 0.75)
BASES = (None, "retain:0.9", "retain:0.95", "retain:0.99")
STEPS = (2, 5, 10, 20, 50, 100)
SPENT = 0.02  # of n for all: the evaluations of int8's recertification


@dataclass(frozen=True)
class Row:
    """One original under one policy.

    Attributes:
        times: evaluations of n draws for every image, over those of the policy.
        kept: its share of their ACR.
        constant: draws for every image that keep as much.
        times_constant: their evaluations over those of the policy.
    """

    network: str
    policy: str
    evaluations: float
    times: float
    kept: float
    certified: int
    of: int
    constant: int
    times_constant: float


@dataclass(frozen=True)
class Decided:
    """One radius: images that reach it and evaluations per image.

    By plan; and one after another, by betting as published (Voracek, NeurIPS 2024) and as it is.
    """

    network: str
    radius: float
    of_n: int
    planned: int
    planned_evaluations: float
    published: int
    published_evaluations: float
    sequential: int
    sequential_evaluations: float


@dataclass(frozen=True)
class Reused:
    """int8 recertified on an original by plan."""

    network: str
    policy: str
    original_evaluations: float
    evaluations: float
    acr: float


@dataclass(frozen=True)
class Grown:
    """An original extended to n draws, from a part of them.

    Attributes:
        start: the share of the ACR of n draws that the run has which is extended.
        kept: the share that it has then.
    """

    network: str
    first: int
    times: int
    start: float
    kept: float
    certified: int
    of: int


def planned(whole: Certification, policy: str) -> Certification:
    """What a certification by plan gives on the same draws."""
    method, records = Sized(policy), whole.records
    votes = PilotVotes(np.arange(len(records)), tuple(r.votes.selection for r in records))
    plan = sized.allocations(votes, whole.settings, method, whole.num_classes)
    lookup = Recorded(whole, np.zeros(0), {}, "").lookup()
    cases = map(Case, Shown.of(whole), [None] * len(plan), plan, votes.labels)
    sampler = LookUpSampler.of(lookup, whole)
    return replace(whole, method=method, records=tuple(method.records(sampler, cases)))


def radii(records: tuple[Record, ...], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Certified radii, 0 where the class is not the label."""
    found = [record.certificate for record in records]
    return np.array([c.radius * (c.candidate == y) for c, y in zip(found, classes, strict=True)])


def enough(whole: Certification, classes: NDArray[np.int64], acr: float) -> int:
    """The smallest number of draws for every image with at least this ACR."""
    low, high = 1, whole.settings.n
    while high - low > 5:
        middle = (low + high) // 2
        reaches = radii(cut(whole, middle).records, classes).mean() >= acr
        low, high = (low, middle) if reaches else (middle, high)
    return high


def rows(place: Place) -> list[Row]:
    """Every policy on one original."""
    read = Recorded.read(place)
    whole, count = read.certification, len(read.classes)
    best = radii(whole.records, read.classes).mean()
    found = []
    for policy in POLICIES:
        made = planned(whole, policy)
        acr, spent = radii(made.records, read.classes).mean(), made.evaluations
        constant = enough(whole, read.classes, acr)
        settings = whole.settings
        found.append(
            Row(
                title(place),
                policy,
                spent / count,
                count * (settings.n0 + settings.n) / spent,
                float(acr / best),
                sum(c.radius > 0 for c in made.certificates),
                sum(c.radius > 0 for c in whole.certificates),
                constant,
                count * (settings.n0 + constant) / spent,
            )
        )
    return found


def decided(place: Place) -> list[Decided]:
    """Every radius on one original."""
    read, found = Recorded.read(place), []
    whole, sampler = read.certification, LookUpSampler.of(read.lookup(), read.certification)
    for radius in RADII:
        ways = [planned(whole, f"radius:{radius}")]
        for prior in ("none", "selection"):
            decision = Decision(radius, prior=prior)
            records = tuple(decision.records(sampler, map(Case, Shown.of(whole))))
            ways.append(replace(whole, method=decision, records=records))
        of_n, *reached = (sum(c.radius >= radius for c in w.certificates) for w in (whole, *ways))
        spent = [way.evaluations / len(read.classes) for way in ways]
        pairs = (value for pair in zip(reached, spent, strict=True) for value in pair)
        found.append(Decided(title(place), radius, of_n, *pairs))
    return found


def reused(place: Place) -> list[Reused]:
    """int8 on originals by plan, for as many evaluations."""
    original, new = Recorded.read(place), Recorded.read(replace(place, network="int8"))
    whole, count, found = original.certification, len(original.classes), []
    total = int(SPENT * count * whole.settings.n)
    for policy in BASES:
        base = planned(whole, policy) if policy else whole
        planner = Planner(base, new.with_stand_ins().lookup(), 2 * whole.settings.alpha)
        records, pilot = planner.recertify(f"budget:{total}", "exact")
        spent = sum(record.certificate.evaluations for record in records) + pilot
        acr = float(radii(records, original.classes).mean())
        facts = (title(place), policy or "n for all", base.evaluations / count)
        found.append(Reused(*facts, spent / count, acr))
    return found


def grown(place: Place) -> list[Grown]:
    """One original, from a half to a hundredth of its draws."""
    read = Recorded.read(place)
    whole = read.certification
    best, found = radii(whole.records, read.classes).mean(), []
    facts = (whole.settings, whole.shape, whole.num_classes)
    for times in STEPS:
        first = whole.settings.n // times
        method = Extended(times)
        again = (method.recheck(Stored(r, *facts)) for r in whole.records)
        pairs = zip(whole.records, again, strict=True)
        records = tuple(replace(r, certificate=new) for r, new in pairs)
        both = cut(whole, first).records, records
        shares = (float(radii(made, read.classes).mean() / best) for made in both)
        certified = (
            sum(r.certificate.radius > 0 for r in made) for made in (records, whole.records)
        )
        found.append(Grown(title(place), first, times, *shares, *certified))
    return found


def title(place: Place) -> str:
    """For people."""
    return f"{place.architecture.removeprefix('cifar_')}, σ = {place.sigma:g}"


def write(name: str, found: list) -> None:
    """Rows to a file."""
    with (HERE / "results" / "statistics" / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(found[0]))
        writer.writerows(
            [round(v, 4) if isinstance(v, float) else v for v in astuple(row)] for row in found
        )


def main() -> None:
    """Write rows and tables."""
    places = [p for p in Place.found(HERE / "results" / "votes") if p.network == ORIGINAL]
    sizes = [row for place in places for row in rows(place)]
    write("sizes.csv", sizes)
    chances = [row for place in places for row in decided(place)]
    write("radii.csv", chances)
    small = [place for place in places if place.architecture == "cifar_resnet20"]
    again = [row for place in small for row in reused(place)]
    write("reused.csv", again)
    more = [row for place in places for row in grown(place)]
    write("extended.csv", more)
    shown = [line(row) for row in sizes if row.policy in _POLICIES_SHOWN]
    text = table(["original", "policy", *HEAD], shown)
    put(HERE.parent / "docs" / "results-planned.md", "sizes", text)


HEAD = (
    *("evaluations an image", "times fewer", "ACR kept", "certified", "of"),
    *("n for as much", "times fewer than that"),
)
_POLICIES_SHOWN = ("retain:0.95", "retain:0.99", "loss:0.05")


def line(row: Row) -> list[str]:
    """A row of a table."""
    shown = []
    for field, value in zip(fields(row), astuple(row), strict=True):
        if not isinstance(value, float):
            shown.append(f"{value:,}" if isinstance(value, int) else value)
        elif "evaluations" in field.name:
            shown.append(f"{value:,.0f}")
        else:
            shown.append(f"{value:.{3 if field.name == 'kept' else 2}f}")
    return shown


if __name__ == "__main__":
    main()
