"""The statistics of every method in full: 10^5 certifications each, in tables.

python experiments/reliability.py [--count 100000] [--part certificates|plans|data_sets]

Writes a CSV for each part to experiments/results/statistics/, with a row for each case and one for
each method; the tests say when a row is refuted (tests/guarantee/test_end_to_end.py runs the same
at a smaller size, and at this one with `pytest -m full`).
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from dataset_overclaims import kinds, planned, planned_methods, remembered, screened
from markdown import put, table
from overclaims import HERE, Row, certified, detects, p_value, worst_cases

PAGE = HERE.parent / "docs" / "reliability.md"
COUNT = 100_000
SETS = 16
"""Data sets that a planned method's certifications are divided over."""


def certificates(count: int) -> Iterator[Row]:
    """Every case of every method whose certifications are independent."""
    for _, cases in groupby(worst_cases(), lambda case: case.method):
        some = list(cases)
        with remembered():
            yield from (certified(case, count // len(some)) for case in some)


def plans(count: int) -> Iterator[Row]:
    """Every method that plans."""
    return (planned(method, SETS, count) for method in planned_methods())


def data_sets(count: int) -> Iterator[Row]:
    """Dataset certificates."""
    return (screened(kind, round(count * kind.part)) for kind in kinds())


PARTS = {"certificates": certificates, "plans": plans, "data_sets": data_sets}


def together(some: list[Row]) -> Row:
    """All cases of a method: a binomial at the mean rate has the longer tail (Hoeffding 1956)."""
    count, wrong = sum(r.certifications for r in some), sum(r.overclaims for r in some)
    allowed = sum(r.allowed * r.certifications for r in some) / count
    return Row(
        some[0].method,
        "all",
        count,
        wrong,
        allowed,
        sum(r.expected * r.certifications for r in some) / count,
        p_value(wrong, count, allowed),
        detects(count, allowed),
        round(sum(r.seconds for r in some), 1),
    )


def write(file: Path, found: list[Row]) -> None:
    """The rows, each method's in a row of its own as well where it has several."""
    every: list[Row] = []
    for _, group in groupby(found, lambda row: row.method):
        some = list(group)
        every += [*some, together(some)] if len(some) > 1 else some
    lines = [{**asdict(row), "rate": row.rate} for row in every]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([{k: _short(v) for k, v in line.items()} for line in lines])


def tell(folder: Path, page: Path) -> None:
    """The row of each method, from all parts that are there, into docs/reliability.md."""
    lines = []
    for name in PARTS:
        file = folder / f"{name}.csv"
        if file.exists():
            rows = list(csv.DictReader(file.open(newline="")))
            several = {row["method"] for row in rows if row["case"] == "all"}
            lines += [row for row in rows if row["case"] == "all" or row["method"] not in several]
    heads = ["method", "rate", "allowed", "would notice"]
    cells = [
        [row["method"], *(f"{float(row[name]):.4f}" for name in ("rate", "allowed", "detects"))]
        for row in lines
    ]
    put(page, "overclaims", table(heads, cells))


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="certifications per method")
    parser.add_argument("--part", choices=PARTS, help="one alone")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "statistics")
    parser.add_argument("--page", type=Path, default=PAGE, help="with the table, at full size")
    given = parser.parse_args()
    for name in [given.part] if given.part else PARTS:
        found: list[Row] = []
        for row in PARTS[name](given.count):
            found.append(row)
            write(given.out / f"{name}.csv", found)
            print(f"{row.method}, {row.case}: {row.overclaims} of {row.certifications}, ", end="")
            print(f"allowed {row.allowed:g}, p {row.p_value:.2g}, {row.seconds} s", flush=True)
    if given.count == COUNT:
        tell(given.out, given.page)


if __name__ == "__main__":
    main()
