"""The figures of docs/results*.md and questions.md, as SVG; the same rows give the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from methods_compared import METHODS

# Okabe & Ito's colours, and a marker each: told apart without colour too.
STYLES = {
    "from-scratch": ("from scratch", "#000000", ""),
    "irs-published": ("IRS as published", "#D55E00", "s"),
    "joint-uniform": ("joint, uniform", "#0072B2", "^"),
    "exact-planned": ("exact, planned", "#009E73", "v"),
}
SIGMAS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
SHOWN = ("int8", "prune20")


def write(folder: Path, rows: dict[str, list[dict]]) -> None:
    """Draw the figures of the first architecture at the smallest cache."""
    first = rows["curves"][0]
    same = ("architecture", "n")
    chosen = {
        name: [r for r in some if all(r.get(k, first[k]) == first[k] for k in same)]
        for name, some in rows.items()
    }
    _save(_curves, chosen, folder / "results-curves.svg")
    _save(_pruning, chosen, folder / "results-pruning.svg")
    _save(_times, chosen, folder / "results-times.svg")


def write_levels(folder: Path, rows: list[dict]) -> None:
    """Draw what compression_levels.py found."""
    _save(_levels, rows, folder / "questions-levels.svg")


def _save(draw: Callable[[Any], Figure], rows: Any, file: Path) -> None:
    with mpl.rc_context({"svg.hashsalt": "smoothcert", "svg.fonttype": "none", "font.size": 8}):
        draw(rows).savefig(file, metadata={"Date": None})


def _levels(rows: list[dict]) -> Figure:
    """Flips by level, as measured and as predicted, and the one against the other."""
    figure = Figure(figsize=(8.7, 2.9), layout="constrained")
    bits, pruned, against = figure.subplots(1, 3)
    sigmas = sorted({row["sigma"] for row in rows})
    for series, axes in (("bits", bits), ("pruned", pruned)):
        for sigma, colour in zip(sigmas, SIGMAS, strict=False):
            some = _where(rows, {"series": series, "sigma": sigma})
            x = [_number(row["target"]) for row in some]
            measured = [100 * row["differ"] for row in some]
            axes.plot(x, measured, "o", color=colour, markersize=3, label=f"σ = {sigma:g}")
            for name, dash in (("nearby", "-"), ("first order", ":")):
                axes.plot(x, [100 * row[name] for row in some], dash, color=colour, linewidth=1)
            mark = "o" if series == "bits" else "^"
            nearby = [100 * row["nearby"] for row in some]
            against.plot(nearby, measured, mark, color=colour, markersize=3)
    bits.set(xlabel="bits of a weight", ylabel="labels that differ, %", yscale="log")
    bits.invert_xaxis()
    bits.legend(frameon=False)
    pruned.set(xlabel="pruned share", xscale="log", yscale="log")
    pruned.set_xticks(
        [0.02, 0.05, 0.1, 0.2, 0.3, 0.6], ["2 %", "5 %", "10 %", "20 %", "30 %", "60 %"]
    )
    pruned.minorticks_off()
    pruned.set_title("dots measured; lines predicted: nearby, dotted first order")
    ends = [min(r["nearby"] for r in rows) * 100, max(r["nearby"] for r in rows) * 100]
    against.plot(ends, ends, "k-", linewidth=0.7)
    against.set(xlabel="predicted (nearby), %", ylabel="measured, %", xscale="log", yscale="log")
    for axes in (bits, pruned, against):
        axes.grid(alpha=0.3)
    return figure


def _number(target: str) -> float:
    """Bits, or the pruned share."""
    return float(target.partition(":")[2] or target[3])


def _curves(rows: dict[str, list[dict]]) -> Figure:
    """ACR against evaluations, a row of panels per network and a column per sigma."""
    sigmas = sorted({row["sigma"] for row in rows["curves"]})
    networks = [x for x in SHOWN if any(row["network"] == x for row in rows["curves"])]
    size = 2.9 * len(sigmas), 2.5 * len(networks)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(networks), len(sigmas), squeeze=False)
    for network, line in zip(networks, panels, strict=True):
        for sigma, axes in zip(sigmas, line, strict=True):
            here = {"network": network, "sigma": sigma}
            _curve_panel(axes, _where(rows["curves"], here), _where(rows["screened"], here))
            axes.set_title(f"{network}, σ = {sigma:g}")
        line[0].set_ylabel("average certified radius")
    for axes in panels[-1]:
        axes.set_xlabel("evaluations per image")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure


def _curve_panel(axes: Axes, points: list[dict], screened: list[dict]) -> None:
    images = screened[0]["images"] if screened else 1
    for method, (label, colour, marker) in STYLES.items():
        some = [row for row in points if row["method"] == method]
        x = [row["evaluations"] / images for row in some]
        y = [row["acr"] for row in some]
        axes.plot(x, y, color=colour, marker=marker, markersize=2.5, linewidth=1, label=label)
    x = [row["evaluations"] / images for row in screened]
    y = [row["acr"] for row in screened]
    axes.plot(x, y, "*", color="#CC79A7", markersize=6, label="dataset certificate")
    axes.set_xscale("log")
    axes.set_ylim(0)
    axes.grid(alpha=0.3)


def _times(rows: dict[str, list[dict]]) -> Figure:
    """How many times fewer evaluations each method takes; wide enough for a telephone."""
    figure = Figure(figsize=(4.6, 4.9), layout="constrained")
    sigmas = sorted({row["sigma"] for row in rows["speedups"]}, reverse=True)
    panels = figure.subplots(len(sigmas), 1, sharex=True, squeeze=False)[:, 0]
    for sigma, axes in zip(sigmas, panels, strict=True):
        some = _where(rows["speedups"], {"sigma": sigma, "accounting": "all"})
        some = [row for row in some if row["published"] is not None][::-1]
        for method in ("irs-published", "joint-planned", "exact-planned"):
            _, colour, marker = STYLES.get(method, ("", SIGMAS[0], "^"))
            x = [row[method] for row in some]
            axes.plot(x, range(len(some)), marker, color=colour, label=METHODS[method])
        axes.axvline(1, color="black", linewidth=1)
        axes.set_yticks(range(len(some)), [row["network"] for row in some])
        axes.set_title(f"σ = {sigma:g}", loc="left")
        axes.grid(alpha=0.3)
    panels[-1].set(xlabel="times fewer evaluations than from scratch (line: none saved)", xlim=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _pruning(rows: dict[str, list[dict]]) -> Figure:
    """Disparity and speedups against the pruned share, a line per sigma; int8 by n_p."""
    figure = Figure(figsize=(8.7, 2.7), layout="constrained")
    zeta, speed, small = figure.subplots(1, 3)
    sigmas = sorted({row["sigma"] for row in rows["curves"]})
    for sigma, colour in zip(sigmas, SIGMAS, strict=False):
        here = {"sigma": sigma}
        found = _pruned(_where(rows["disparity"], here))
        zeta.plot(*_columns(found, "zeta", 100), "o-", color=colour, label=f"σ = {sigma:g}")
        found = _pruned(_where(rows["speedups"], here | {"accounting": "all"}))
        for method, dash in (("irs-published", "s--"), ("joint-planned", "v-")):
            speed.plot(*_columns(found, method), dash, color=colour)
    zeta.set(xlabel="pruned %", ylabel="mean ζ from 1,000 draws, %", ylim=(0, None))
    zeta.legend(frameon=False)
    speed.set(xlabel="pruned %", ylabel="speedup (area ratio)", ylim=(0, None))
    speed.set_title("IRS as published dashed, joint planned solid")
    here = {"network": "int8", "sigma": max(sigmas)}
    for method, (label, colour, marker) in STYLES.items():
        some = _where(rows["curves"], here | {"method": method})
        some = [row for row in some if 0.0095 <= row["per_image"] / row["n"] <= 0.1005]
        x = [100 * row["per_image"] / row["n"] for row in some]
        y = [row["acr"] for row in some]
        small.plot(x, y, color=colour, marker=marker, markersize=2.5, linewidth=1, label=label)
    small.set(xlabel="draws per image, % of n", ylabel="average certified radius")
    small.set_title(f"int8, σ = {max(sigmas):g}")
    small.legend(frameon=False)
    for axes in (zeta, speed, small):
        axes.grid(alpha=0.3)
    return figure


def _where(rows: list[dict], wanted: dict) -> list[dict]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _pruned(rows: list[dict]) -> list[dict]:
    found = [row | {"pruned": int(row["network"][5:])} for row in rows if "prune" in row["network"]]
    return sorted(found, key=lambda row: row["pruned"])


def _columns(rows: list[dict], name: str, factor: float = 1) -> tuple[list[int], list[float]]:
    kept = [row for row in rows if row[name] is not None]
    return [row["pruned"] for row in kept], [factor * row[name] for row in kept]
