"""The text that tables.py puts between marks of docs/results.md and the pages below it."""

import textwrap
from collections.abc import Callable

from collected_votes import ORIGINAL, SEED
from markdown import percent, table
from methods_compared import METHODS, PLANNED, Plan
from published import published_table

HEADS = tuple(METHODS.values())
PAGE_OF = {
    "headline": "results.md",
    "facts": "results-savings.md",
    "speedups": "results-savings.md",
    "draws": "results-savings.md",
    "shares": "results-savings.md",
    "radius": "results-savings.md",
    "dataset": "results-savings.md",
    "authors": "results-irs.md",
    "disparity": "results-irs.md",
    "gammas": "results-irs.md",
    "accuracy": "results-irs.md",
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
        "speedups": by_size(rows, lambda some: counted(some, "all")),
        "draws": by_size(few, lambda some: counted(some, "draws")),
        "shares": by_size(few, lambda some: shares(some["headline"])),
        "radius": by_size(few, lambda some: at_radius(some["at_radius"])),
        "dataset": by_size(few, lambda some: certificates(some["screened"])),
        "authors": by_size(few, lambda some: counted(some, "authors")),
        "disparity": disparity(rows["disparity"]),
        "gammas": by_size(few, lambda some: gammas(some["gammas"])),
        "accuracy": accuracies(few["accuracy"]),
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
    shown = ("irs-published", "joint-planned", "exact-planned")
    lines = [
        [
            *names(row),
            percent(moved[_pair(row)]["differ"], 1),
            *(number(row[method], 1) for method in shown),
            number(screened[*_pair(row), 20]["times"], 0),
        ]
        for row in rows["speedups"]
        if row["accounting"] == "all"
    ]
    head = ["network", "σ", "labels differ %", *(METHODS[method] for method in shown)]
    return table([*head, "whole set, 20 per image"], lines)


def counted(rows: dict[str, list[dict]], accounting: str) -> str:
    """Speedups by one way to count; dataset certificates beside what counts everything."""
    some = [row for row in rows["speedups"] if row["accounting"] == accounting]
    return speedups(some, _screened(rows["screened"]) if accounting == "all" else {})


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


def speedups(rows: list[dict], screened: dict[tuple, dict]) -> str:
    """Area ratios beside the published ones."""
    head = ["network", "σ", "published IRS", *HEADS]
    shown = [50, 100] if screened else []
    head += [f"dataset, {m} per image" for m in shown]
    lines = []
    for row in rows:
        line = [*names(row), number(row["published"])]
        for method in METHODS:
            low, high = row.get(f"{method} 5%"), row.get(f"{method} 95%")
            line.append(number(row[method]))
            if low is not None:  # a quantile over resampled images
                line[-1] += f" ({number(low, 1)}–{number(high, 1)})"
        found = [screened.get((*_pair(row), m)) for m in shown]
        line += ["–" if r is None else number(r["times"], 0) for r in found]
        lines.append(line)
    return table(head, lines)


def shares(rows: list[dict]) -> str:
    """Larger shares: area ratios, and evaluations per image to one ACR."""
    needy = ("irs-published", *(name for name in METHODS if name.endswith(PLANNED)))
    head = ["network", "σ", *HEADS, "ACR", "from scratch, per image"]
    head += [f"{METHODS[name]}, per image" for name in needy]
    lines = [
        [
            *names(row),
            *(number(row[method]) for method in METHODS),
            number(row["acr"], 3),
            *(
                number(_each(row[f"{method} evaluations"], row["images"]), 0)
                for method in ("from-scratch", *needy)
            ),
        ]
        for row in rows
    ]
    return table(head, lines)


def _each(evaluations: float | None, images: int) -> float | None:
    return None if evaluations is None else evaluations / images


def at_radius(rows: list[dict]) -> str:
    """Certified accuracy in the place of ACR."""
    lines = [
        [
            *names(row),
            f"{row['radius']:g}",
            percent(row["highest"], 0),
            *(number(row[method]) for method in METHODS),
        ]
        for row in rows
    ]
    return table(["network", "σ", "radius", "certified %, at n_p = 10 %", *HEADS], lines)


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


def gammas(rows: list[dict]) -> str:
    """A column per gamma."""
    found = sorted({row["gamma"] for row in rows})
    paper = [row["cifar_resnet20"] for row in published_table("gamma") if row["gamma"] in found]
    lines: dict[tuple, list[str]] = {}
    if len(paper) == len(found):
        lines[()] = ["published, resnet20", "–", *(number(acr, 3) for acr in paper)]
    for row in rows:
        lines.setdefault(tuple(names(row)), names(row)).append(number(row["acr"], 4))
    return table(["network", "σ", *(f"{gamma:g}" for gamma in found)], list(lines.values()))


def certificates(rows: list[dict]) -> str:
    """What a few replayed winners per correct image prove of the whole set."""
    head = ["network", "σ", "per correct image", "proven ACR", "evaluations"]
    lines = [
        [
            *names(row),
            str(row["per_input"]),
            number(row["acr"], 3),
            number(row["evaluations"], 0),
            number(row["from-scratch evaluations"], 0),
            number(row["times"], 0),
        ]
        for row in rows
    ]
    return table([*head, "from scratch for that ACR", "times fewer"], lines)


def accuracies(rows: list[dict]) -> str:
    """Ours is on noisy images, and of the majority of all estimation draws."""
    keys = ("published base", "base", "published smoothed", "smoothed")
    lines = [names(row) + [number(row[key], 1) for key in keys] for row in rows]
    head = ["network", "σ", "published base %", "base, noisy %", "published smoothed %"]
    return table([*head, "smoothed %"], lines)


def regime(rows: dict[str, list[dict]]) -> str:
    """Speedups by pruned share, at the sigma where most was pruned."""
    pruned = [row for row in rows["speedups"] if row["network"].startswith("prune")]
    most = max(pruned, key=lambda row: int(row["network"][5:]))
    same = ("architecture", "sigma", "n")
    lines = []
    for accounting, counted in (("all", "everything"), ("draws", "draws alone")):
        some = [r for r in pruned if r["accounting"] == accounting]
        some = [r for r in some if all(r[key] == most[key] for key in same)]
        for row in sorted(some, key=lambda row: int(row["network"][5:])):
            moved = next(r for r in rows["disparity"] if names(r) == names(row))
            facts = [f"{row['network'][5:]} %", counted, percent(moved["differ"], 1)]
            lines.append([*facts, *(number(row[method]) for method in METHODS)])
    head = ["pruned", "counted", "labels differ %", *HEADS]
    return f"ResNet-20, σ = {most['sigma']:g}, real votes:\n\n{table(head, lines)}"
