"""The page's charts, from runs and dataset certificates."""

from collections.abc import Sequence

from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.report.axes import Axis, Chart, Line, Mark, step_line
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
)
from smoothcert.report.figures import by_draws
from smoothcert.runs.store import Run
from smoothcert.summary import Summary
from smoothcert.text import floor_to

_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 544.0, 12.0, 292.0


def certified_accuracy(
    runs: Sequence[Run],
    screened: Sequence[DatasetCertificate],
    published: Sequence[Published] = (),
) -> tuple[Chart, tuple[Together, ...]]:
    """Certified accuracy against radius, and what the runs prove over all inputs together."""
    most = points(2 * len(runs) + len(screened) + len(published))
    alone = [per_input(run, most) for run in runs]
    both = [of_all(run, most) for run in runs]
    candidates = [of_screening(c, most) for c in screened if c.begun]
    theirs = [of_published(log, most) for log in published]
    farthest = max(float(curve.x[-1]) for curve in (*alone, *candidates, *theirs)) or 1.0
    x = Axis("ℓ₂ radius", 0, farthest * 1.02, _LEFT, _RIGHT)
    y = Axis("certified accuracy", 0, 1, _BOTTOM, _TOP)
    lines: list[Line] = []
    for series, (curve, (whole, _)) in enumerate(zip(alone, both, strict=True)):
        together = Curve(f"{curve.name}, all inputs together", whole.x, whole.y)
        lines.append(step_line(curve, series, False, x, y))
        lines.append(step_line(together, series, True, x, y))
    for series, curve in enumerate(candidates, len(alone)):
        named = Curve(f"{curve.name}, screened", curve.x, curve.y)
        lines.append(step_line(named, series, True, x, y))
    for series, curve in enumerate(theirs, len(alone) + len(candidates)):
        lines.append(step_line(curve, series, True, x, y))
    note = PUBLISHED if published else ""
    chart = Chart("accuracy", "Certified accuracy against radius", x, y, tuple(lines), note=note)
    return chart, tuple(together for _, together in both)


def acr_against_evaluations(runs: Sequence[Run], summaries: Sequence[Summary]) -> Chart:
    """Average certified radius against evaluations per input, with what fewer draws would give."""
    curves = {number: c for number, run in enumerate(runs) if (c := _fewer_draws(run)) is not None}
    spent = [max(1.0, s.evaluations / s.inputs) for s in summaries]
    low = min([*spent, *(float(c.x[0]) for c in curves.values())])
    high = max([*spent, *(float(c.x[-1]) for c in curves.values())])
    top = max([*(s.acr for s in summaries), *(float(c.y.max()) for c in curves.values())])
    x = Axis("evaluations per input", low / 1.2, high * 1.2, _LEFT, _RIGHT, log=True)
    y = Axis("average certified radius", 0, top * 1.05 or 1.0, _BOTTOM, _TOP)
    lines = tuple(_line(curve, number, x, y) for number, curve in curves.items())
    marks = tuple(
        Mark(
            s.name,
            number,
            each,
            s.acr,
            f"{s.name}: ACR {floor_to(s.acr, 4)} with {each:,.1f} evaluations per input",
        )
        for number, (s, each) in enumerate(zip(summaries, spent, strict=True))
    )
    return Chart("acr", "Average certified radius against evaluations", x, y, lines, marks)


def _fewer_draws(run: Run) -> Curve | None:
    """What a run from scratch would have given with fewer estimation draws, from its votes."""
    found = by_draws(run, ())
    if found is None:
        return None
    evaluations = (found.draws + run.identity.settings.n0).astype(float)
    return Curve(found.name, evaluations, found.acr)


def _line(curve: Curve, series: int, x: Axis, y: Axis) -> Line:
    places = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
    path = "L".join(f"{x.at(a)} {y.at(b)}" for a, b in places)
    name = f"{curve.name} with fewer draws"
    return Line(name, series, True, f"M{path}", tuple(curve.x), tuple(curve.y))
