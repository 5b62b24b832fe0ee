"""The text that the scripts put between marks of docs/results.md."""

import textwrap

from collected_votes import SEED
from markdown import percent, table
from methods_compared import METHODS, PLANNED, Plan
from published import published_table

HEADS = tuple(METHODS.values())
FIGURES = """### Figures

Average certified radius against evaluations per image, everything counted, up to 50 % of n
(planned up to 30 %, on average over the images):

![average certified radius against evaluations per image, by method](results-curves.svg)

As more is pruned: mean ζ, and the speedups; and int8 with 1 to 10 % of n (selection draws and the
pilot come on top):

![zeta and speedups by pruned share; int8 by number of draws](results-pruning.svg)"""
COUNTED = {
    "all": "Everything counted (`all`)",
    "draws": "Selection draws of from scratch not counted (`draws`)",
    "authors": "As the authors count (`authors`)",
}


def number(value: float | None, digits: int = 2) -> str:
    """Rounded to nearest; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def text(plan: Plan, rows: dict[str, list[dict]], lacking: list[str]) -> str:
    """All tables with their headings."""
    parts = [
        facts(plan, rows["screened"][0]["images"], lacking),
        "### How much the labels differ (Table 10)",
        disparity(rows["disparity"]),
    ]
    for n in sorted({row["n"] for row in rows["speedups"]}):
        some = {k: [r for r in found if r.get("n", n) == n] for k, found in rows.items()}
        parts += ["### " + heading(n), *comparison(some, n)]
    parts += [FIGURES, "### Accuracy (Tables 8 and 9)", accuracies(rows["accuracy"])]
    return "\n\n".join(parts)


def heading(n: int) -> str:
    """Of the tables at one size of cache."""
    which = {10_000: " (Tables 3 and 5)", 100_000: " (Table 6)", 1_000_000: " (Table 6)"}
    return f"Speedups, n = {n:,}{which.get(n, '')}"


def facts(plan: Plan, images: int, lacking: list[str]) -> str:
    """Of all tables."""
    said = (
        f"{images} CIFAR-10 test images, seed {SEED}. α = {plan.alpha:g} per image for every "
        f"method, which is proven of all but IRS as published: of that up to {2 * plan.alpha:g}."
    )
    if lacking:
        said += f" Left out, for want of fresh draws: {', '.join(lacking)}."
    return textwrap.fill(said, 118, break_on_hyphens=False)


def comparison(rows: dict[str, list[dict]], n: int) -> list[str]:
    """Everything that depends on the size of the cache."""
    screened = {
        (r["architecture"], r["sigma"], r["network"], r["per_input"]): r for r in rows["screened"]
    }
    parts = []
    for accounting, title in COUNTED.items():
        some = [row for row in rows["speedups"] if row["accounting"] == accounting]
        parts += [f"**{title}**", speedups(some, screened if accounting == "all" else {})]
    parts += ["**n_p from 5 to 50 % (Table 2)**", headline(rows["headline"])]
    parts += ["**At a radius (Table 4)**", at_radius(rows["at_radius"])]
    parts += ["**Runner-ups**", runner_ups(rows["runner_ups"])]
    parts += ["**Average certified radius of IRS by γ (Table 7)**", gammas(rows["gammas"])]
    parts += ["**Dataset certificates**", certificates(rows["screened"])]
    return parts


def names(row: dict) -> list[str]:
    """The first columns."""
    network = f"{row['architecture'].removeprefix('cifar_')} {row['network']}"
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
                line[-1] += f" ({number(low, 1)} to {number(high, 1)})"
        where = row["architecture"], row["sigma"], row["network"]
        found = [screened.get((*where, m)) for m in shown]
        line += ["–" if r is None else number(r["times"], 0) for r in found]
        lines.append(line)
    return table(head, lines)


def headline(rows: list[dict]) -> str:
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
