"""The tables of a paper, every figure rounded to the safe side."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from smoothcert.report import paper_words
from smoothcert.report.comparison import Change, Comparison, comparisons, family, p_of
from smoothcert.report.figures import new_inputs, new_mean, seeds
from smoothcert.report.tables import filled
from smoothcert.runs.store import Run
from smoothcert.summary import ClassSummary, Summary, by_class
from smoothcert.text import ceil_to, cell, floor_to, percent, visible

_MOST_CLASSES = 12  # in the width of a page


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        key: name of its files.
        heads, rows: the cells.
        caption: what it says and what holds of it.
        texts: how many of the first columns are text.
        fits: whether it fits on a page; else it is written as CSV alone.
        values: the rows of the CSV, where they say more.
    """

    key: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    texts: int = 1
    fits: bool = True
    values: tuple[tuple[str, ...], ...] | None = None

    @property
    def csv(self) -> str:
        """The cells as CSV, with plain numbers and names."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(head.replace("σ", "sigma").rstrip(".") for head in self.heads)
        for row in self.values or self.rows:
            numbers = [number.replace(",", "").replace("–", "") for number in row[self.texts :]]
            writer.writerow([*map(cell, row[: self.texts]), *numbers])
        return text.getvalue()


def tables(runs: Sequence[Run], summaries: Sequence[Summary]) -> tuple[Table, ...]:
    """The main table, and those that these runs have something for.

    Args:
        runs: finished, with different names.
        summaries: one for each run.
    """
    radii = [radius for radius, _ in summaries[0].accuracy]
    found = (
        _main(runs, summaries, radii),
        _changes(runs, radii),
        _classes(runs, radii),
        _new_inputs(runs, radii),
        _seeds(runs, summaries),
    )
    return tuple(table for table in found if table is not None)


def _main(runs: Sequence[Run], summaries: Sequence[Summary], radii: Sequence[float]) -> Table:
    heads = ["run", "σ", "ACR", "median", *(f"CA@{r:g}" for r in radii), "abst.", "cap", "eval."]
    rows = [
        [
            *(visible(run.name), f"{run.identity.settings.sigma:g}"),
            *(floor_to(s.acr, 3), floor_to(s.median, 3)),
            *(_percent(share, s.inputs) for _, share in s.accuracy),
            *(str(s.abstained), str(s.capped), f"{ceil(s.evaluations / s.inputs):,}"),
        ]
        for run, s in zip(runs, summaries, strict=True)
    ]
    return Table("main", *_frozen(heads, rows), paper_words.main(runs, radii))


def _changes(runs: Sequence[Run], radii: Sequence[float]) -> Table | None:
    found = comparisons(runs, radii)
    several = family(found)
    heads = ["first", "second", "radius", "kept", "lost", "gained", "p", "detectable"]
    pairs = [
        (one, change)
        for one in found
        for change in one.changes
        if change.kept + change.lost + change.gained
    ]
    if not pairs:
        return None
    shown = [(*_change(*pair), p_of(*pair, several), _points(pair[1])) for pair in pairs]
    exact = [
        (*_change(one, change), repr(change.p_value) if one.alike else "", _points(change))
        for one, change in pairs
    ]
    caption = paper_words.changes(runs, found)
    return Table("changes", tuple(heads), tuple(shown), caption, 2, values=tuple(exact))


def _change(found: Comparison, change: Change) -> tuple[str, ...]:
    counts = (str(change.kept), str(change.lost), str(change.gained))
    return visible(found.first), visible(found.second), f"{change.radius:g}", *counts


def _points(change: Change) -> str:
    return "–" if change.detectable is None else ceil_to(100 * change.detectable, 1)


def _classes(runs: Sequence[Run], radii: Sequence[float]) -> Table | None:
    """Certified accuracy by class at the smallest radius above 0."""
    if all(label is None for run in runs for label in run.labels):
        return None
    radius = min((r for r in radii if r > 0), default=radii[0])
    found = [{c.label: c for c in by_class(r.certificates, r.labels, [radius])} for r in runs]
    labels = sorted({label for one in found for label in one})
    heads = ["run", "σ", *map(str, labels)]
    rows = [
        [
            *(visible(run.name), f"{run.identity.settings.sigma:g}"),
            *(_of_class(one.get(label)) for label in labels),
        ]
        for run, one in zip(runs, found, strict=True)
    ]
    caption, fits = paper_words.classes(runs, radius), len(labels) <= _MOST_CLASSES
    return Table("classes", *_frozen(heads, rows), caption, fits=fits)


def _of_class(found: ClassSummary | None) -> str:
    return "" if found is None else _percent(found.accuracy[0][1], found.inputs)


def _new_inputs(runs: Sequence[Run], radii: Sequence[float]) -> Table:
    heads = ["run", "σ", "mean radius", *(f"robust@{r:g}" for r in radii)]
    rows = [
        [
            *(visible(run.name), f"{run.identity.settings.sigma:g}"),
            floor_to(new_mean(run), 4),
            *(floor_to(100 * one.robust, 1) for one in new_inputs(run, radii)),
        ]
        for run in runs
    ]
    caption = paper_words.new_inputs(runs)
    return Table("new_inputs", *_frozen(heads, rows), caption)


def _seeds(runs: Sequence[Run], summaries: Sequence[Summary]) -> Table | None:
    found = seeds(runs, summaries)
    if not found:
        return None
    heads = ["runs", "ACR", *(f"CA@{radius:g}" for radius, _ in found[0].accuracy)]
    rows = [
        [
            ", ".join(map(visible, spread.names)),
            f"{floor_to(spread.acr.mean, 3)} ± {ceil_to(spread.acr.deviation, 3)}",
            *(
                f"{floor_to(100 * s.mean, 1)} ± {ceil_to(100 * s.deviation, 1)}"
                for _, s in spread.accuracy
            ),
        ]
        for spread in found
    ]
    return Table("seeds", *_frozen(heads, rows), paper_words.seeds())


def _percent(share: float, count: int) -> str:
    return percent(share, count).removesuffix(" %")


def _frozen(
    heads: list[str], rows: list[list[str]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    heads, rows = filled(heads, rows)
    return tuple(heads), tuple(map(tuple, rows))
