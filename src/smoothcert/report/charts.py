"""The page's charts, from runs and dataset certificates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.report.axes import Axis, Chart, Line, Mark, band, step_line
from smoothcert.report.curves import (
    PUBLISHED,
    Curve,
    Published,
    Together,
    of_all,
    of_published,
    of_screening,
    per_input,
    points,
    thinned,
)
from smoothcert.report.figures import ByDraws, Probabilities, by_draws, probabilities
from smoothcert.report.naming import candidate_names, titled
from smoothcert.runs.store import Run
from smoothcert.summary import Summary
from smoothcert.text import floor_to

_WIDTH = _HEIGHT = 1000.0  # the page stretches them
_LOW = 0.8  # certified accuracy below it does not get the whole axis up to 1


@dataclass(frozen=True)
class Charts:
    """The charts of a page.

    Attributes:
        accuracy: certified accuracy against radius.
        cost: average certified radius against evaluations.
        probability: the distribution of the class's probability.
        draws: average certified radius against n; None if no run shows it.
    """

    accuracy: Chart
    cost: Chart
    probability: Chart
    draws: Chart | None


def all_of(
    runs: Sequence[Run],
    summaries: Sequence[Summary],
    screened: Sequence[DatasetCertificate],
    published: Sequence[Published] = (),
) -> tuple[Charts, tuple[Together, ...]]:
    """All charts, and what each run proves over all its inputs."""
    accuracy, together = certified_accuracy(runs, screened, published)
    fewer = [by_draws(run, ()) for run in runs]
    cost = acr_against_evaluations(runs, summaries, fewer)
    likely = probability(runs, [probabilities(run) for run in runs])
    return Charts(accuracy, cost, likely, acr_by_draws(runs, fewer)), together


def certified_accuracy(
    runs: Sequence[Run],
    screened: Sequence[DatasetCertificate],
    published: Sequence[Published] = (),
) -> tuple[Chart, tuple[Together, ...]]:
    """Certified accuracy against radius, and what the runs prove over all inputs together."""
    most = points(2 * len(runs) + len(screened) + len(published))
    alone = [replace(per_input(run, most), name=titled(run)) for run in runs]
    both = [of_all(run, most) for run in runs]
    begun = [c for c in screened if c.begun]
    candidates = [
        replace(of_screening(c, most), name=f"{name} (σ = {c.pool.sigma:g})")
        for c, name in zip(begun, candidate_names(begun), strict=True)
    ]
    theirs = [of_published(log, most) for log in published]
    farthest = max(float(curve.x[-1]) for curve in (*alone, *candidates, *theirs)) or 1.0
    highest = max(float(curve.y.max()) for curve in (*alone, *candidates, *theirs)) or 1.0
    labelled = any(label is not None for run in runs for label in run.labels)
    x = Axis("ℓ₂ radius", 0, farthest * 1.02, 0, _WIDTH)
    y = Axis(
        "certified accuracy" if labelled else "share of inputs certified",
        *(0, min(1.0, highest * 1.1) if highest < _LOW else 1, _HEIGHT, 0),
    )
    lines: list[Line] = []
    for series, (curve, (whole, _)) in enumerate(zip(alone, both, strict=True)):
        together = Curve(f"{curve.name}, all inputs together", whole.x, whole.y)
        shade = band(curve, together, x, y)
        lines.append(step_line(curve, series, False, x, y, "alone", shade))
        lines.append(step_line(together, series, True, x, y, "together"))
    for series, curve in enumerate(candidates, len(alone)):
        named = replace(curve, name=f"{curve.name}, screened")
        lines.append(step_line(named, series, True, x, y, "screened"))
    for series, curve in enumerate(theirs, len(alone) + len(candidates)):
        lines.append(step_line(curve, series, False, x, y, "published"))
    title = f"{y.label[0].upper()}{y.label[1:]} against radius"
    note = PUBLISHED if published else ""
    chart = Chart("accuracy", title, x, y, tuple(lines), note=note)
    return chart, tuple(together for _, together in both)


def acr_against_evaluations(
    runs: Sequence[Run], summaries: Sequence[Summary], fewer: Sequence[ByDraws | None]
) -> Chart:
    """Average certified radius against evaluations per input, with what fewer draws would give."""
    pairs = enumerate(zip(runs, fewer, strict=True))
    found = {number: _fewer_draws(*pair) for number, pair in pairs}
    curves = {number: curve for number, curve in found.items() if curve is not None}
    spent = [max(1.0, s.evaluations / s.inputs) for s in summaries]
    low = min([*spent, *(float(c.x[0]) for c in curves.values())])
    high = max([*spent, *(float(c.x[-1]) for c in curves.values())])
    top = max([*(s.acr for s in summaries), *(float(c.y.max()) for c in curves.values())])
    x = Axis("evaluations per input", low / 1.2, high * 1.2, 0, _WIDTH, log=True)
    y = Axis("average certified radius", 0, top * 1.08 or 1.0, _HEIGHT, 0)
    lines = tuple(_line(curve, number, x, y) for number, curve in curves.items())
    marks = tuple(
        Mark(
            s.name,
            number,
            each,
            s.acr,
            f"{titled(run)}: {floor_to(s.acr, 4)} with {_count(each)} evaluations per input",
        )
        for number, (run, s, each) in enumerate(zip(runs, summaries, spent, strict=True))
    )
    return Chart("acr", "Average certified radius against evaluations", x, y, lines, marks)


def _count(value: float) -> str:
    """With three digits at least, and no decimals that say nothing."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def acr_by_draws(runs: Sequence[Run], fewer: Sequence[ByDraws | None]) -> Chart | None:
    """Average certified radius against n, of the runs that show it; None if there are none."""
    curves = {
        number: Curve(titled(run), found.draws.astype(np.float64), found.acr)
        for number, (run, found) in enumerate(zip(runs, fewer, strict=True))
        if found is not None
    }
    if not curves:
        return None
    low, high = (f(c.x[i] for c in curves.values()) for f, i in ((min, 0), (max, -1)))
    top = max(float(c.y.max()) for c in curves.values())
    x = Axis("estimation draws n", float(low), float(high), 0, _WIDTH, log=True)
    y = Axis("average certified radius", 0, top * 1.08 or 1.0, _HEIGHT, 0)
    lines = tuple(_line(curve, number, x, y, False) for number, curve in curves.items())
    return Chart("draws", "Average certified radius against n", x, y, lines)


def probability(runs: Sequence[Run], found: Sequence[Probabilities]) -> Chart:
    """The share of inputs whose class has a probability or more under noise, with bands."""
    most = points(3 * len(runs))
    x = Axis("probability of the class under noise", 0, 1, 0, _WIDTH)
    y = Axis("share of inputs with at least that", 0, 1, _HEIGHT, 0)
    lines: list[Line] = []
    for series, (run, p) in enumerate(zip(runs, found, strict=True)):
        each = replace(thinned(p.each, most), name=titled(run))
        together = replace(thinned(p.together, most), name=f"{titled(run)}, all inputs together")
        shade = band(each, together, x, y)
        lines.append(step_line(each, series, False, x, y, "alone", shade))
        lines.append(step_line(together, series, True, x, y, "together"))
        if p.observed is not None:
            named = replace(thinned(p.observed, most), name=f"{titled(run)}, observed")
            lines.append(step_line(named, series, True, x, y, "observed"))
    return Chart("probability", "Share of inputs by probability", x, y, tuple(lines))


def _fewer_draws(run: Run, found: ByDraws | None) -> Curve | None:
    """What a run from scratch would have given with fewer estimation draws, from its votes."""
    if found is None:
        return None
    return Curve(titled(run), found.draws.astype(np.float64) + run.identity.settings.n0, found.acr)


def _line(curve: Curve, series: int, x: Axis, y: Axis, fewer: bool = True) -> Line:
    places = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
    path = "L".join(f"{x.at(a)} {y.at(b)}" for a, b in places)
    name = f"{curve.name} with fewer draws" if fewer else curve.name
    return Line(name, series, fewer, f"M{path}", tuple(curve.x), tuple(curve.y))
