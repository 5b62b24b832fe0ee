"""The charts as figures for a paper, drawn with matplotlib's object interface: no global state."""

import io
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from smoothcert.certificate import Certification
from smoothcert.report.axes import Chart, Line
from smoothcert.report.curves import axis_name, of_certificates

# Okabe & Ito's colours: colour-blind readers can distinguish them.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP*"
# Text stays text, which any program can edit, and the same runs give the same bytes.
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "smoothcert", "font.size": 9.0}
_INCHES = (5.5, 3.4)  # the width of a text column
_DPI = 300
_IN_A_COLUMN, _MOST_NAMES = 12, 24


def drawn(chart: Chart, note: str) -> dict[str, bytes]:
    """A chart as the files `png` (300 dpi) and `svg`.

    Args:
        chart: what to draw.
        note: a line below it that says what its curves claim.
    """
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes: Any = figure.add_subplot()
        solid = {line.series for line in chart.lines if not line.dashed}
        for line in chart.lines:
            # The note explains a dashed line next to a solid one of the same colour.
            named = not line.dashed or line.series not in solid
            _curve(axes, line, named, stepwise=not chart.x.log)
        for mark in chart.marks:
            look = {"color": COLOURS[mark.series % 7], "marker": MARKERS[mark.series % 7]}
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
        return {kind: _saved(figure, kind) for kind in ("png", "svg")}


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


def _curve(axes: Any, line: Line, named: bool, stepwise: bool) -> None:
    x, y = list(line.x), list(line.y)
    if stepwise:
        x, y = [*x, x[-1]], [*y, 0.0]
    how = {"linestyle": "--" if line.dashed else "-", "linewidth": 1.1 if line.dashed else 1.5}
    look = {"color": COLOURS[line.series % 7], "label": plain(line.name) if named else "", **how}
    axes.plot(x, y, drawstyle="steps-pre" if stepwise else "default", **look)


def plain(name: str) -> str:
    """A name that matplotlib draws literally: not as a formula, and not left out."""
    return name.replace("$", r"\$").removeprefix("_")


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
