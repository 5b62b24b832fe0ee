"""Figures of merit, each rounded down, and the files that hold them."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.certificate import Outcome, Settings, Votes
from smoothcert.errors import InvalidInput
from smoothcert.methods import scratch
from smoothcert.report.export import certificates_table, separated
from smoothcert.runs.store import Run
from smoothcert.summary import Summary, summarize
from smoothcert.text import ceil_to, floor_to, percent, visible

NAMELESS = ("mean radius", "certified")
"""The names of ACR and CA where no true class is known."""

_TSV = ("idx", "label", "predict", "radius", "correct", "time", "alpha")


def summarize_run(run: Run, radii: Sequence[float]) -> Summary:
    """`summarize` for a finished run."""
    run.require_complete()
    facts = (run.seconds, run.pilot_evaluations, run.identity.settings.sigma)
    return summarize(run.certificates, run.labels, radii, visible(run.name), *facts)


def summary_table(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the summary, as text; nothing is called accuracy where labels are missing.

    A column that has no value in any row is left out.
    """
    radii = [radius for radius, _ in summaries[0].accuracy]
    mean, share = ("ACR", "CA") if any(s.unlabelled < s.inputs for s in summaries) else NAMELESS
    heads = ["run", "σ", "inputs", "certified", mean, *(f"{share}@{r:g}" for r in radii)]
    heads += ["mean ζ ≤", "evaluations", "seconds"]
    return filled(heads, [_summary_row(summary) for summary in summaries])


def filled(heads: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without the columns that are empty in every row."""
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    return [heads[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _summary_row(s: Summary) -> list[str]:
    accuracy = [percent(share, s.inputs) for _, share in s.accuracy]
    zeta = "" if s.zeta is None else ceil_to(s.zeta, 4)
    seconds = "" if s.seconds is None else f"{s.seconds:.1f}"
    counts = [str(s.inputs), str(s.certified), floor_to(s.acr, 4)]
    name = f"{s.name} ({s.counted})" if s.unlabelled else s.name
    sigma = "" if s.sigma is None else f"{s.sigma:g}"
    return [name, sigma, *counts, *accuracy, zeta, f"{s.evaluations:,}", seconds]


def tsv(run: Run) -> str:
    """The usual table: idx, label, predict (-1 to abstain), radius, correct, time; and alpha.

    The proven error of a certificate comes last, since scripts read these columns by name and
    cannot read a comment (docs/theory.md, sections 2 to 9, by the method).

    Raises:
        InvalidInput: labels are unknown, so nothing can be called correct.
    """
    if None in run.labels:
        raise InvalidInput(
            f"{run.storage} has no labels, which this table needs. Use data with labels."
        )
    lines = ["\t".join(_TSV)]
    share = [
        run.block_seconds.get(block, 0.0) / len(positions)
        for block, positions in enumerate(run.blocks)
        for _ in positions
    ]
    for c, label, seconds in zip(run.certificates, run.labels, share, strict=True):
        radius = floor_to(c.radius, 6) if c.outcome is Outcome.CERTIFIED else "0.0"
        time = str(timedelta(seconds=seconds))
        lines.append(
            f"{c.index}\t{label}\t{c.predicted}\t{radius}\t{int(c.predicted == label)}\t{time}"
            f"\t{c.alpha!r}"
        )
    return "\n".join(lines) + "\n"


def csv_table(runs: Sequence[Run], classes: Sequence[str] = ()) -> str:
    """Every certificate of every run as one CSV table; see `export.separated`.

    Args:
        runs: finished runs.
        classes: names of the classes, for runs that do not know theirs.
    """
    return separated(certificates_table(*runs, classes=classes), ",")


def from_scratch_curve(
    votes: Sequence[Votes],
    labels: Sequence[int | None],
    settings: Settings,
    shape: tuple[int, ...],
    counts: ArrayLike,
) -> NDArray[np.float64]:
    """ACR of certifying from scratch with fewer draws, from the votes of a longer run.

    The first n draws of a run are a run of n draws, so this is what each would have given.

    Args:
        votes: the votes of a from-scratch run, one per input.
        labels: true classes.
        settings: alpha, sigma and grid to certify with; not of the form `multiclass`.
        shape: shape of one input.
        counts: ascending numbers of estimation draws, shape (m,), at most the run's.

    Returns:
        ACR, shape (m,).
    """
    counts = np.asarray(counts)
    radii = np.zeros((len(votes), len(counts)))
    classes = 1 + max(2, *(int(max(v.selection.max(), v.estimation.max())) for v in votes))
    for row, (vote, label) in enumerate(zip(votes, labels, strict=True)):
        if label in (None, scratch.candidate(vote.selection)):
            radii[row] = scratch.radii_of_first(vote, counts, settings, shape, classes)
    return radii.mean(axis=0)


def evaluations_for(
    acr: float,
    votes: Sequence[Votes],
    labels: Sequence[int | None],
    settings: Settings,
    shape: tuple[int, ...],
) -> float | None:
    """Evaluations per input, selection included, with which certifying from scratch has this ACR.

    Interpolated on a geometric grid of draws; None if the whole run does not reach it.
    """
    longest = len(votes[0].estimation)
    counts = np.unique(np.geomspace(10, longest, 120).astype(int))
    curve = np.maximum.accumulate(from_scratch_curve(votes, labels, settings, shape, counts))
    if acr > curve[-1]:
        return None
    return len(votes[0].selection) + float(np.interp(acr, curve, counts))
