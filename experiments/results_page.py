"""The text that tables.py puts between marks of docs/results.md and the pages below it."""

import textwrap
from collections.abc import Callable

from collected_votes import ORIGINAL, SEED
from markdown import percent, table
from methods_compared import METHODS, PLANNED, Plan

COMPARED = ("irs-published", *(name for name in METHODS if name.endswith(PLANNED)))
"""The methods that pages compare, with brackets."""
PAGE_OF = {
    "headline": "results.md",
    "facts": "results-savings.md",
    "speedups": "results-savings.md",
    "disparity": "results-irs.md",
    "runner-ups": "results-bounds.md",
}
"""The page of each mark that tables.py writes to."""
SHOWN = (ORIGINAL, "int8-weights", "int8", "fp16", "prune20")
"""Of the longer tables: what moves most, least, and most of what the paper pruned."""


def number(value: float | None, digits: int = 2) -> str:
    """Rounded to nearest; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def parts(plan: Plan, rows: dict[str, list[dict]], lacking: list[str]) -> dict[str, str]:
    """What stands between each mark; longer tables have a few networks, the CSV files all."""
    few = {name: [r for r in some if r.get("network") in SHOWN] for name, some in rows.items()}
    return {
        "headline": by_size(few, headline),
        "facts": facts(plan, rows["screened"][0]["images"], lacking),
        "speedups": by_size(rows, speedups),
        "disparity": disparity(rows["disparity"]),
        "runner-ups": by_size(few, lambda some: runner_ups(some["runner_ups"])),
    }


def by_size(rows: dict[str, list[dict]], make: Callable[[dict[str, list[dict]]], str]) -> str:
    """A table for each size of cache, named where there are several."""
    sizes = sorted({row["n"] for row in rows["speedups"]})
    made = [
        make({name: [r for r in some if r.get("n", n) == n] for name, some in rows.items()})
        for n in sizes
    ]
    if len(sizes) > 1:
        made = [f"n = {n:,}:\n\n{text}" for n, text in zip(sizes, made, strict=True)]
    return "\n\n".join(made)


def facts(plan: Plan, images: int, lacking: list[str]) -> str:
    """Of all tables."""
    said = (
        f"{images} CIFAR-10 test images, seed {SEED}. α = {plan.alpha:g} per image for every "
        f"method, which is proven of all but IRS as published: of that up to {2 * plan.alpha:g}."
    )
    if lacking:
        said += f" Left out, for want of fresh draws: {', '.join(lacking)}."
    return textwrap.fill(said, 118, break_on_hyphens=False)


def headline(rows: dict[str, list[dict]]) -> str:
    """Of a few networks: what moved, and how many times fewer evaluations each way takes."""
    screened = _screened(rows["screened"])
    moved = {_pair(row): row for row in rows["disparity"]}
    lines = [
        [
            *names(row),
            percent(moved[_pair(row)]["differ"], 1),
            *(number(row[method], 1) for method in COMPARED),
            number(screened[*_pair(row), 20]["times"], 0),
        ]
        for row in rows["speedups"]
        if row["accounting"] == "all"
    ]
    head = ["network", "σ", "labels differ %", *(METHODS[method] for method in COMPARED)]
    return table([*head, "whole set, 20 per image"], lines)


def _pair(row: dict) -> tuple:
    return row["architecture"], row["sigma"], row["network"]


def _screened(rows: list[dict]) -> dict[tuple, dict]:
    return {(*_pair(row), row["per_input"]): row for row in rows}


def names(row: dict) -> list[str]:
    """The first columns; a network is a ResNet-20 where no other is named."""
    network = f"{row['architecture'].removeprefix('cifar_')} {row['network']}"
    network = network.removeprefix("resnet20 ")
    return [network, f"{row['sigma']:g}"]


def disparity(rows: list[dict]) -> str:
    """Table 10."""
    head = ["network", "σ", "published mean ζ %", "mean ζ %", "labels differ %"]
    keys = ("published", "zeta", "differ", "away", "back")
    digits = (1, 2, 3, 3, 3)
    lines = [
        names(row) + [percent(row[k], d) for k, d in zip(keys, digits, strict=True)] for row in rows
    ]
    return table([*head, "away from c %", "back to c %"], lines)


def speedups(rows: dict[str, list[dict]]) -> str:
    """Area ratios beside the published ones, everything counted."""
    lines = []
    for row in rows["speedups"]:
        if row["accounting"] != "all":
            continue
        line = [*names(row), number(row["published"])]
        for method in COMPARED:  # with quantiles over resampled images
            low, high = (number(row[f"{method} {end}%"], 1) for end in (5, 95))
            line.append(f"{number(row[method])} ({low}–{high})")
        lines.append(line)
    head = ["network", "σ", "published IRS", *(METHODS[method] for method in COMPARED)]
    return table(head, lines)


def runner_ups(rows: list[dict]) -> str:
    """ACR by the form of the bound on the other classes, from the same draws, and the speedups."""
    places = ("from scratch", "1%", "5%")
    lines = []
    for row in rows:
        line = names(row)
        for place in places:
            two = [row[f"{form} {place}"] for form in ("binary", "auto")]
            line.append(f"{number(two[0], 4)}, {number(two[1], 4)} ({two[1] / two[0] - 1:+.0%})")
        lines.append(line + [number(row[f"{form} ratio"]) for form in ("binary", "auto")])
    head = ["from scratch, n draws", "exact, 1 %", "exact, 5 %", "speedup binary", "speedup auto"]
    return table(["network", "σ", *head], lines)


def regime(rows: dict[str, list[dict]]) -> str:
    """Speedups by pruned share, everything counted, at the sigma where most was pruned."""
    pruned = [row for row in rows["speedups"] if row["network"].startswith("prune")]
    most = max(pruned, key=lambda row: int(row["network"][5:]))
    same = {key: most[key] for key in ("architecture", "sigma", "n")} | {"accounting": "all"}
    some = [row for row in pruned if all(row[key] == value for key, value in same.items())]
    lines = []
    for row in sorted(some, key=lambda row: int(row["network"][5:])):
        moved = next(r for r in rows["disparity"] if names(r) == names(row))
        facts = [f"{row['network'][5:]} %", percent(moved["differ"], 1)]
        lines.append([*facts, *(number(row[method]) for method in METHODS)])
    head = ["pruned", "labels differ %", *METHODS.values()]
    return f"ResNet-20, σ = {most['sigma']:g}, real votes:\n\n{table(head, lines)}"
