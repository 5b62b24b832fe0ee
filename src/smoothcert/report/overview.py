"""The table of all runs on a page: what each proves of inputs alone and together, and its cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from smoothcert.report.comparison import Pair
from smoothcert.report.curves import Together
from smoothcert.report.naming import model_name
from smoothcert.report.predicted import Predicted, class_name
from smoothcert.report.tables import filled
from smoothcert.runs.store import Run
from smoothcert.summary import Summary
from smoothcert.text import ceil_to, floor_to, level, percent


@dataclass(frozen=True)
class Overview:
    """A table with two rows of heads.

    Attributes:
        groups: (head, number of columns) of the first row; columns on their own have no head.
        heads: of the second row.
        rows: name of the run, its model, and the cells.
    """

    groups: tuple[tuple[str, int], ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]


def overview(
    runs: Sequence[Run],
    summaries: Sequence[Summary],
    together: Sequence[Together],
    pairs: Sequence[Pair],
    classes: Sequence[Predicted],
    names: Sequence[str],
) -> Overview:
    """All runs of a page, in its order; arguments as for `head`. Empty columns are left out."""
    labelled = any(s.unlabelled < s.inputs for s in summaries)
    radii = [radius for radius, _ in summaries[0].accuracy if radius > 0]
    accuracy = "certified accuracy at" if labelled else "share certified at"
    columns = [("", "σ"), ("", "inputs"), ("", "certified"), ("", "right" if labelled else "")]
    columns += [("", "mean radius"), ("", "loss")]
    columns += [(accuracy, f"{radius:g}") for radius in radii]
    columns += [("all together", "wrong, at most"), ("all together", "mean radius\u00a0≥")]
    columns += [("", "most frequent class"), ("", "mean ζ ≤"), ("", "evaluations")]
    several = len({s.inputs for s in summaries}) > 1  # else the page says it at its top
    before = {id(p.changed): p.base for p in pairs}
    rows = [
        _cells(run, s, t, before.get(id(s)), p, names, labelled, several)
        for run, s, t, p in zip(runs, summaries, together, classes, strict=True)
    ]
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    heads, rows = filled([head for _, head in columns], rows)
    named = [
        (f"{s.name} ({s.counted})" if s.unlabelled and labelled else s.name, model_name(run))
        for s, run in zip(summaries, runs, strict=True)
    ]
    body = tuple((*name, tuple(row)) for name, row in zip(named, rows, strict=True))
    return Overview(_groups([columns[i][0] for i in kept]), tuple(heads), body)


def _groups(heads: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Neighbours of the same group as one; those without a group each on its own."""
    found: list[tuple[str, int]] = []
    for head in heads:
        if head and found and found[-1][0] == head:
            found[-1] = (head, found[-1][1] + 1)
        else:
            found.append((head, 1))
    return tuple(found)


def _cells(
    run: Run,
    s: Summary,
    t: Together,
    base: Summary | None,
    p: Predicted,
    names: Sequence[str],
    labelled: bool,
    several: bool,
) -> list[str]:
    right = sum(
        c.predicted == label and label is not None
        for c, label in zip(run.certificates, run.labels, strict=True)
    )
    share = f"class {class_name(p.top, names)}: {100 * p.count // max(1, p.certified)} %"
    return [
        f"{run.identity.settings.sigma:g}",
        f"{s.inputs:,}" if several else "",
        f"{s.certified:,}",
        f"{right:,}" if labelled and s.unlabelled < s.inputs else "",
        floor_to(s.acr, 4),
        _loss(s, base),
        *(percent(value, s.inputs) for radius, value in s.accuracy if radius > 0),
        f"{t.wrong} (1 − {level(t.beta)})",
        floor_to(t.acr, 4),
        share if p.certified else "none",
        "" if s.zeta is None else ceil_to(s.zeta, 4),
        f"{s.evaluations:,}",
    ]


def _loss(s: Summary, base: Summary | None) -> str:
    """Of the original's mean radius, rounded up; a gain, rounded down, is a negative loss."""
    if base is None or not base.acr:
        return ""
    lost = 100 * (1 - Fraction(s.acr) / Fraction(base.acr))
    return f"{ceil_to(lost, 1)} %" if lost >= 0 else f"−{floor_to(-lost, 1)} %"
