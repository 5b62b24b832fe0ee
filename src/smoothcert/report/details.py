"""What a page shows folded: outcomes, classes, new inputs, and models compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from smoothcert.report.claims import of_comparisons, of_new_inputs, of_sample
from smoothcert.report.comparison import Change, compare, family, p_of, partners
from smoothcert.report.figures import BETA, new_inputs, new_mean
from smoothcert.report.naming import titled
from smoothcert.report.predicted import class_name
from smoothcert.runs.store import Run
from smoothcert.summary import Summary, by_class
from smoothcert.text import ceil_to, floor_to, percent


@dataclass(frozen=True)
class Table:
    """Heads and rows of texts; the first cell of a row names it.

    Attributes:
        heads, rows: of the same length each.
        says: what its figures claim, a sentence each.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    says: tuple[str, ...] = ()


def outcomes(runs: Sequence[Run], summaries: Sequence[Summary]) -> Table:
    """How the certifications of every run ended."""
    labelled = any(s.unlabelled < s.inputs for s in summaries)
    heads = ("run", "abstained", *(("misclassified",) if labelled else ()), "at the cap")
    rows = tuple(
        (
            titled(run),
            percent(s.abstained / s.inputs, s.inputs),
            *((percent(s.wrong / s.inputs, s.inputs),) if labelled else ()),
            percent(s.capped / s.inputs, s.inputs),
            floor_to(s.median, 4),
            floor_to(s.acr, 4),
        )
        for run, s in zip(runs, summaries, strict=True)
    )
    return Table((*heads, "median radius", "mean radius"), rows)


def by_class_of(run: Run, radii: Sequence[float], names: Sequence[str]) -> Table | None:
    """What a run certifies of the inputs of each label; None without labels."""
    found = by_class(run.certificates, run.labels, radii)
    if not found:
        return None
    rows = tuple(
        (
            class_name(one.label, names),
            f"{one.inputs:,}",
            floor_to(one.acr, 4),
            *(percent(share, one.inputs) for _, share in one.accuracy),
        )
        for one in found
    )
    return Table(("label", "inputs", "mean radius", *(f"CA@{r:g}" for r in radii)), rows)


def unseen(runs: Sequence[Run], summaries: Sequence[Summary], radii: Sequence[float]) -> Table:
    """Limits for new inputs of the population, of their mean radius and at each radius alone."""
    rows = []
    for run, s in zip(runs, summaries, strict=True):
        rows.append((titled(run), "mean", floor_to(s.acr, 4), floor_to(new_mean(run), 4), "–"))
        for one in new_inputs(run, radii):
            share = "–"
            if one.certified_share is not None:
                low, high = one.certified_share
                share = f"{floor_to(100 * low, 1)} to {ceil_to(100 * high, 1)} %"
            facts = f"{one.radius:g}", f"{one.certified:,} of {one.inputs:,}"
            rows.append((titled(run), *facts, f"{floor_to(100 * one.robust, 1)} %", share))
    labelled = any(label is not None for run in runs for label in run.labels)
    heads = ("run", "radius", "certified", "robust, at least", "certified so")
    says = of_new_inputs(BETA, labelled)
    return Table(heads, tuple(rows), (f"Robust, at least: {says}.",))


def compared(runs: Sequence[Run], radii: Sequence[float]) -> Table | None:
    """What became of a first model's certificates; None if no two runs are on the same inputs."""
    pairs = partners(runs)
    every = [compare(first, second, radii) for first, second in pairs]
    several, rows = family(every), []
    for (first, second), found in zip(pairs, every, strict=True):
        name = f"{titled(second)}, with {titled(first)}"
        rows += [(name, *_cells(change, p_of(found, change, several))) for change in found.changes]
    if not rows:
        return None
    counts = ("kept", "lost", "gained", "neither")
    heads = ("model", "radius", *counts, "p", "smallest difference found")
    says = (of_comparisons(every), *dict.fromkeys(of_sample(one.inputs) for one in every))
    return Table(heads, tuple(rows), says)


def _cells(change: Change, p: str) -> tuple[str, ...]:
    counts = (change.kept, change.lost, change.gained, change.neither)
    found = "–" if change.detectable is None else f"{ceil_to(100 * change.detectable, 1)} points"
    return (f"{change.radius:g}", *(f"{count:,}" for count in counts), p, found)
