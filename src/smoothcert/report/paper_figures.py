"""The figures of a paper, as PDF and SVG: a column wide, or all on two, and legible in black and
white."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.report import paper_words
from smoothcert.report.axes import Axis
from smoothcert.report.curves import (
    Curve,
    Published,
    of_all,
    of_published,
    of_screening,
    per_input,
    points,
)
from smoothcert.report.figures import by_draws, probabilities
from smoothcert.report.plots import COLOURS, MARKERS, plain, saved
from smoothcert.runs.store import Run
from smoothcert.summary import Summary

COLUMN = 3.25
"""Width in inches of a column of two, as conferences have them."""

PAGE = 7.0
"""Width in inches of both columns."""

_HEIGHT, _ENTRY = 2.1, 0.15  # inches, without the legend; of a line of it
_GREY = "#777777"
_DASHES = (  # told apart in black and white: long and short, with and without dots
    *("-", (0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.5)), (0, (11, 2))),
    *((0, (6, 1, 1, 1, 1, 1, 1, 1)), (0, (2.5, 1.2))),
)
# Type 42 fonts, which publishers ask for; text of an SVG stays text; equal runs give equal bytes.
_STYLE = {
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "smoothcert",
    "font.size": 8.0,
    "lines.linewidth": 1.1,
    "axes.linewidth": 0.6,
}
_LETTER, _KEY = 0.054, 0.42  # inches in a legend: a letter, and what stands beside a name
_LEAST, _NINES = 0.1, (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        key: name of its files.
        caption: what it shows and what holds of it.
        files: the bytes by kind, `pdf` and `svg`.
        wide: whether it goes over two columns.
    """

    key: str
    caption: str
    files: dict[str, bytes]
    wide: bool = False


def pictures(
    runs: Sequence[Run],
    summaries: Sequence[Summary],
    screened: Sequence[DatasetCertificate] = (),
    published: Sequence[Published] = (),
) -> tuple[Picture, ...]:
    """Certified accuracy, probabilities, and ACR against evaluations; and all three side by side.

    Args:
        runs: finished, with different names.
        summaries: one for each run.
        screened: dataset certificates to be drawn beside the runs.
        published: logs to be drawn beside the runs.
    """
    draws = (_accuracy, _probabilities, _evaluations)
    drawings = (
        ("certified_accuracy", draws[:1], paper_words.accuracy(runs, screened, published)),
        ("probabilities", draws[1:2], paper_words.probabilities(runs)),
        ("acr_evaluations", draws[2:], paper_words.evaluations(runs)),
        ("panels", draws, paper_words.panels(runs, screened, published)),
    )
    found = []
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        for key, panels, caption in drawings:
            figure, wide = Figure(layout="constrained"), len(panels) > 1
            FigureCanvasAgg(figure)
            for number, draw in enumerate(panels):
                axes = figure.add_subplot(1, len(panels), number + 1)
                draw(axes, runs, summaries, screened, published)
                if wide:
                    axes.set_title(f"({'abc'[number]})", loc="left", fontsize=8)
            _finish(figure, PAGE if wide else COLUMN)
            files = {kind: saved(figure, kind) for kind in ("pdf", "svg")}
            found.append(Picture(key, caption, files, wide))
    return tuple(found)


def _accuracy(
    axes: Any,
    runs: Sequence[Run],
    summaries: Sequence[Summary],
    screened: Sequence[DatasetCertificate],
    published: Sequence[Published],
) -> None:
    begun = [certificate for certificate in screened if certificate.begun]
    most = points(2 * len(runs) + len(begun) + len(published))
    for log in published:  # below everything else
        curve = of_published(log, most)
        _line(axes, curve, {"color": _GREY, "linewidth": 0.7, "label": plain(curve.name)})
    for number, run in enumerate(runs):
        whole, _ = of_all(run, most)
        _banded(axes, per_input(run, most), whole, number, paper_words.label(run))
    for number, certificate in enumerate(begun, len(runs)):
        curve = of_screening(certificate, most)
        name = f"{curve.name}, σ = {certificate.pool.sigma:g}, screened"
        _line(axes, curve, _look(number) | {"label": plain(name)})
    known = any(label is not None for run in runs for label in run.labels)
    axes.set(xlabel="ℓ₂ radius", ylabel="certified accuracy" if known else "share certified")
    axes.set(xlim=(0, None), ylim=(0, None))


def _probabilities(axes: Any, runs: Sequence[Run], *_: object) -> None:
    most = max(0.9, *(run.identity.settings.n for run in runs))
    axes.set_xscale("logit")
    for number, run in enumerate(runs):
        found = probabilities(run)
        _banded(axes, found.each, found.together, number, paper_words.label(run))
    top = 1 - 1 / (3 * most)
    shown = [p for p in _NINES if p < top]
    axes.set_xticks(shown, [f"{p:g}" for p in shown])
    axes.minorticks_off()
    axes.set(xlabel="probability of the class under noise", ylabel="share of inputs")
    axes.set(xlim=(_LEAST, top), ylim=(0, None))


def _evaluations(axes: Any, runs: Sequence[Run], summaries: Sequence[Summary], *_: object) -> None:
    axes.set_xscale("log")
    least, most = [], []
    for number, (run, summary) in enumerate(zip(runs, summaries, strict=True)):
        fewer, look = by_draws(run), _look(number)
        at = max(1.0, summary.evaluations / summary.inputs)
        counts = np.array([at])
        if fewer is not None:
            counts = fewer.draws + float(run.identity.settings.n0)
            axes.plot(counts, fewer.acr, **look)
        least, most = [*least, at, counts[0]], [*most, at, counts[-1]]
        mark = look | {"linestyle": "", "marker": MARKERS[number % 7]}
        mark |= {"markersize": 5, "markerfacecolor": "none"}  # one behind another is seen
        axes.plot([at], [summary.acr], label=plain(paper_words.label(run)), **mark)
    x = Axis("evaluations per input", min(least) / 1.2, max(most) * 1.2, 0, 1, log=True)
    axes.set_xticks(x.round_values, [text for _, text in x.ticks])
    axes.minorticks_off()
    axes.set(xlim=(x.low, x.high), ylim=(0, None))
    axes.set(xlabel=x.label, ylabel="average certified radius")


def _look(number: int) -> dict[str, Any]:
    """Colour and dashes; more than seven differ in their pairs."""
    return {"color": COLOURS[number % 7], "linestyle": _DASHES[(number + number // 7) % 7]}


def _banded(axes: Any, curve: Curve, lower: Curve, number: int, name: str) -> None:
    """A curve with the area down to its lower edge."""
    look = _look(number)
    _line(axes, curve, look | {"label": plain(name)})
    x = np.union1d(curve.x, lower.x)
    edges = (curve.at(x), lower.at(x))
    axes.fill_between(x, *edges, step="pre", color=look["color"], alpha=0.18, linewidth=0)


def _line(axes: Any, curve: Curve, look: dict[str, Any]) -> None:
    axes.plot([*curve.x, curve.x[-1]], [*curve.y, 0.0], drawstyle="steps-pre", **look)


def _finish(figure: Figure, width: float) -> None:
    """Grid, the first panel's legend below, and a height that has room for it."""
    every: Any = figure.axes
    for axes in every:
        axes.grid(alpha=0.3, linewidth=0.4)
        axes.spines[["top", "right"]].set_visible(False)
    handles, names = every[0].get_legend_handles_labels()
    columns = int(width / (_KEY + _LETTER * max(map(len, names))))
    columns = max(1, min(columns, len(names)))
    lines = -(-len(names) // columns)
    figure.set_size_inches(width, _HEIGHT + _ENTRY * lines)
    facts = {"frameon": False, "fontsize": 7, "borderaxespad": 0.2, "handlelength": 2.6}
    figure.legend(handles, names, loc="outside lower center", ncols=columns, **facts)
