"""Figures. Drawn with matplotlib's object interface: no global state, no display."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from smoothcert.names import visible
from smoothcert.report.tables import correct_radii
from smoothcert.runs.store import Run

# Okabe & Ito's colours: told apart by colour-blind readers, and in print by the dashes.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", "-.", ":")


def certified_accuracy(runs: Sequence[Run]) -> bytes:
    """A PNG of certified accuracy against radius, one step curve per run."""
    figure = Figure(figsize=(7, 4.2), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    largest = 0.0
    for number, run in enumerate(runs):
        radii = correct_radii(run.certificates, run.labels)
        ordered = np.sort(radii[radii >= 0])
        share = np.arange(len(ordered), 0, -1) / len(radii)
        x = np.concatenate([[0.0], ordered])
        y = np.concatenate([share[:1], share]) if len(share) else np.zeros(1)
        axes.step(
            np.append(x, x[-1]),
            np.append(y, 0.0),
            where="pre",
            label=visible(run.name).replace("$", r"\$").removeprefix("_"),
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_DASHES[number % len(_DASHES)],
            linewidth=1.8,
        )
        largest = max(largest, float(x[-1]))
    alphas = sorted({c.alpha for run in runs for c in run.certificates})
    axes.set_xlabel("ℓ₂ radius")
    axes.set_ylabel("certified accuracy" if None not in runs[0].labels else "share certified")
    axes.set_xlim(0, largest * 1.03 or 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.set_title(
        f"Each input's certificate holds with probability 1 − α, α = {_listed(alphas)}", fontsize=9
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _listed(values: Sequence[float]) -> str:
    return " or ".join(f"{value:g}" for value in values)
