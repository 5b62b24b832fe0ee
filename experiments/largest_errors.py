"""How much of its error does each method spend, at most? By enumeration, with no draw simulated.

python experiments/largest_errors.py

The largest errors that oracle_planner.py and oracle_settings.py find go to
results/statistics/largest_errors.csv, with the laws at which they occur, and, over alpha, into
docs/reliability.md. Left out: multi-class certificates, strata by margin, and of a screening all
but the mean flip rate of a group.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from markdown import put, table
from oracle_planner import Joint, Sizes, Strata, Worst, from_scratch
from oracle_settings import Incremental, decided, mean_rate

from smoothcert.bounds import adversary, betting
from smoothcert.methods.irs import Irs
from smoothcert.methods.replay import Reuse

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "reliability.md"
RESULTS = HERE / "results" / "statistics" / "largest_errors.csv"
ALPHAS = (0.3, 0.1, 0.05, 0.01, 0.001)
SHOWN = (0.3, 0.001)  # on the page
INNER = (0.5, 0.8, 0.9)
NUMBERS = ("alpha", "error", "truth", "p", "u", "v", "proven")


def planned(alpha: float, sizes: Sizes) -> Iterator[Worst]:
    """The methods with a budget: alone, and where fresh draws may be chosen."""
    reuse = Reuse("uniform:1", "joint", alpha)
    alone = Joint.of(sizes.joint, reuse.budget)
    yield alone.worst("joint", alpha, sizes)
    yield alone.worst("joint (0.5 < p' < 0.8, p ≤ 0.9)", alpha, sizes, INNER)
    yield replace(alone, fresh=reuse.fresh_alpha).worst("joint or fresh draws", alpha, sizes)
    for name, n, parts in (("", sizes.strata, False), (" (parts whole)", sizes.parts, True)):
        strata = Strata.of(n, reuse.budget, parts)
        yield strata.worst(f"strata{name}", alpha, sizes)
        yield replace(strata, fresh=reuse.fresh_alpha).worst(
            f"strata{name} or fresh draws", alpha, sizes
        )


def incremental(alpha: float, sizes: Sizes) -> Iterator[Worst]:
    """IRS; as published also by what is proven of it."""
    for name, variant, relative in (
        ("irs", "budget-exact", False),
        ("irs published", "published", False),
        ("irs published, over what is proven", "published", True),
    ):
        found = [
            Incremental.of(sizes.irs, Irs(m, alpha, variant=variant)).worst(
                name, alpha, sizes, relative
            )
            for m in sizes.replayed
        ]
        yield max(found, key=lambda w: w.share / w.proven if relative else w.share)


def every(alpha: float, sizes: Sizes) -> Iterator[Worst]:
    """A row for each method."""
    yield from_scratch(sizes.joint, alpha)
    yield from planned(alpha, sizes)
    yield from incremental(alpha, sizes)
    yield from decided(sizes, alpha, betting.rejects)
    yield mean_rate(sizes.joint, alpha, sizes, adversary.mean_flip_limit)


def over_proven(name: str) -> bool:
    """Whether a row is over what is proven instead of alpha."""
    return name.endswith("over what is proven")


def write(file: Path, found: list[Worst]) -> None:
    """A row for each method and alpha."""
    lines = [{**asdict(row), "share": row.share} for row in found]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def stored(file: Path) -> list[Worst]:
    """What `write` wrote."""
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        Worst(row["method"], n=int(row["n"]), **{name: float(row[name]) for name in NUMBERS})
        for row in rows
    ]


def text(rows: list[Worst]) -> str:
    """The table in Markdown, rounded up."""
    shares: dict[str, dict[float, str]] = {}
    for row in rows:
        part = row.share / (row.proven if over_proven(row.method) else 1)
        shares.setdefault(f"{row.method}, {row.n} draws", {})[row.alpha] = upwards(part)
    head = ["method", *(f"α = {alpha:g}" for alpha in SHOWN)]
    return table(head, [[name, *(found[a] for a in SHOWN)] for name, found in shares.items()])


def upwards(share: float) -> str:
    """Two digits, never below; a float's last digits are none."""
    return f"{-(-(share - 1e-9) * 100 // 1) / 100:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    found: list[Worst] = []
    for alpha in ALPHAS:
        for row in every(alpha, Sizes()):
            found.append(row)
            print(f"{row.share:.4f} {row}", flush=True)
    write(given.out, sorted(found, key=lambda row: [r.method for r in found].index(row.method)))
    put(given.page, "attained", text(stored(given.out)))


if __name__ == "__main__":
    main()
