"""The charts as figures for a paper, drawn with matplotlib's object interface: no global state."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from smoothcert.certificate import Certification
from smoothcert.report.axes import SERIES, Chart, Line
from smoothcert.report.curves import axis_name, of_certificates

# The page's colours and signs on a light ground (page.css, page.html.j2), in its order.
COLOURS = ("#111111", "#0060b0", "#c84a00", "#00805a", "#b03a8c", "#8a6500", "#6b4fc8", "#0f87a3")
MARKERS = "os^DvP*H"
# Text stays text, which any program can edit, and the same runs give the same bytes.
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "smoothcert", "font.size": 9.0}
_INCHES = (5.5, 3.4)  # the width of a text column
_DPI = 300
_IN_A_COLUMN, _MOST_NAMES = 12, 24


def drawn(chart: Chart, note: str) -> dict[str, bytes]:
    """A chart as the files `png` (300 dpi) and `svg`."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes: Any = figure.add_subplot()
        lines = _shown(chart.lines)
        solid = {line.series for line in lines if not line.dashed}
        edges = {line.series: line for line in lines if line.kind == "together"}
        for line in lines:
            if line.kind == "together":
                continue  # the edge of its line's band
            # The note explains a dashed line next to a solid one of the same colour.
            named = not line.dashed or line.series not in solid
            _curve(axes, line, named, stepwise=not chart.x.log)
            if line.kind == "alone" and line.series in edges:
                _band(axes, line, edges[line.series])
        for mark in chart.marks:
            number = mark.series % SERIES
            look = {"color": COLOURS[number], "marker": MARKERS[number]}
            axes.plot([mark.x], [mark.y], linestyle="", label=plain(mark.name), **look)
        if chart.x.log:
            axes.set_xscale("log")
            axes.minorticks_off()
            axes.set_xticks(chart.x.round_values, [text for _, text in chart.x.ticks])
        axes.set(xlim=(chart.x.low, chart.x.high), ylim=(chart.y.low, chart.y.high))
        axes.set(xlabel=chart.x.label, ylabel=chart.y.label)
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        _legend(axes)
        figure.supxlabel(note, fontsize=6.5, wrap=True)
        return {kind: saved(figure, kind) for kind in ("png", "svg")}


def add_curve(result: Certification, axes: Any, label: str | None) -> Any:
    """Draw a result's certified accuracy on axes, or on new ones of pyplot; returns the axes."""
    if axes is None:
        from matplotlib import pyplot

        _, axes = pyplot.subplots(figsize=_INCHES, layout="constrained")
    curve = of_certificates(result.model, result.certificates, result.labels)
    x, y = tuple(curve.x.tolist()), tuple(curve.y.tolist())
    line = Line(label or curve.name, len(axes.get_lines()), False, "", x, y)
    _curve(axes, line, named=True, stepwise=True)
    axes.set(xlabel="ℓ₂ radius", ylabel=axis_name(result.labels), ylim=(0, 1))
    axes.set_xlim(left=0)
    _legend(axes)
    return axes


def _legend(axes: Any) -> None:
    """The legend, in columns; none if it would not fit, since the page has the names."""
    count = len(axes.get_legend_handles_labels()[0])
    if count <= _MOST_NAMES:
        axes.legend(frameon=False, fontsize=7.5, ncols=-(-count // _IN_A_COLUMN))


def _shown(lines: Sequence[Line]) -> list[Line]:
    """As on the page: screened models are left out, unless there is nothing else."""
    others = [line for line in lines if line.kind != "screened"]
    return others or list(lines)


def _band(axes: Any, line: Line, edge: Line) -> None:
    """The area from a curve down to what holds for all inputs together."""
    x = np.union1d(line.x, edge.x)
    look = {"color": COLOURS[line.series % SERIES], "alpha": 0.12, "linewidth": 0}
    axes.fill_between(x, line.curve.at(x), edge.curve.at(x), step="pre", **look)


def _curve(axes: Any, line: Line, named: bool, stepwise: bool) -> None:
    x, y = list(line.x), list(line.y)
    if stepwise:
        x, y = [*x, x[-1]], [*y, 0.0]
    how = {"linestyle": "--" if line.dashed else "-", "linewidth": 1.1 if line.dashed else 1.5}
    number = line.series % SERIES
    look = {"color": COLOURS[number], "label": plain(line.name) if named else "", **how}
    if line.kind == "alone":  # told from others without colour, at places of its own
        start = max(1, len(x) * (2 * number + 1) // (2 * SERIES * 4))
        look |= {"marker": MARKERS[number], "markevery": (start, max(1, len(x) // 4)), "ms": 3.5}
    axes.plot(x, y, drawstyle="steps-pre" if stepwise else "default", **look)


def plain(name: str) -> str:
    """A name that matplotlib draws literally: not as a formula, and not left out."""
    return name.replace("$", r"\$").removeprefix("_")


def saved(figure: Figure, kind: str) -> bytes:
    """The bytes of a file, without a date: the same figure gives the same bytes."""
    date = {"svg": "Date", "pdf": "CreationDate"}.get(kind)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={date: None} if date else None)
    return buffer.getvalue()
