"""Figures of merit, each rounded down, and the files that hold them."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds import binomial
from smoothcert.certificate import Certificate, Outcome, Settings, Votes
from smoothcert.errors import InvalidInput
from smoothcert.methods import rs
from smoothcert.names import cell, visible
from smoothcert.runs.store import Run

_TSV = ("idx", "label", "predict", "radius", "correct", "time")
_CSV = (
    *("run", "index", "label", "predicted", "candidate", "outcome", "radius", "q", "method"),
    *("k", "n", "cached_k", "cached_n", "flips", "zeta", "alpha", "evaluations"),
)


def floor_to(value: float, digits: int) -> str:
    """A figure cut, not rounded, to so many decimals: 0.49961 is 0.499 and never 0.5."""
    scaled = math.floor(Fraction(value) * 10**digits)  # exactly, whatever the binary expansion
    sign = "-" if scaled < 0 else ""
    whole, part = divmod(abs(scaled), 10**digits)
    return f"{sign}{whole}.{part:0{digits}d}"


def ceil_to(value: float, digits: int) -> str:
    """`floor_to` for upper limits: cut upward."""
    return floor_to(-value, digits).removeprefix("-")


def percent(share: float, count: int) -> str:
    """A share of `count` things in percent, cut after one decimal; 29 of 100 is 29.0."""
    tenths = round(share * count) * 1000 // count
    return f"{tenths // 10}.{tenths % 10} %"


@dataclass(frozen=True)
class Summary:
    """What one certification achieved.

    Attributes:
        name: of the run or model.
        inputs: certified or not.
        certified: inputs with a certificate.
        labelled: whether true classes were known; if not, every certificate counts as correct.
        acr: average certified radius; an input that abstains or is wrong counts 0.
        accuracy: (radius, share of inputs certified correct at that radius or more).
        zeta: mean upper limit of the disparity over the replayed inputs; None if none was.
        evaluations: forward passes of this classifier.
        seconds: spent sampling, or None if not recorded.
    """

    name: str
    inputs: int
    certified: int
    labelled: bool
    acr: float
    accuracy: tuple[tuple[float, float], ...]
    zeta: float | None
    evaluations: int
    seconds: float | None


def summarize(
    certificates: Sequence[Certificate],
    labels: Sequence[int | None] | None = None,
    radii: Sequence[float] = (0.0, 0.25, 0.5),
    name: str = "",
    seconds: float | None = None,
    pilot_evaluations: int = 0,
) -> Summary:
    """Average certified radius and certified accuracy.

    Args:
        certificates: of a certification, at least one.
        labels: true classes in the same order; None (or a None among them) for unknown.
        radii: at which certified accuracy is wanted, >= 0.
        name: to show.
        seconds: to show.
        pilot_evaluations: spent on planning, added to the certificates' own.

    Returns:
        The summary; its figures are rounded to the safe side when they are printed.

    Raises:
        InvalidInput: no certificates, or labels that do not line up.
    """
    if not certificates:
        raise InvalidInput("There are no certificates to summarize.")
    correct = correct_radii(certificates, labels)
    replayed = [c.zeta for c in certificates if c.method == "irs" and c.n]
    return Summary(
        name=name,
        inputs=len(certificates),
        certified=sum(c.outcome is Outcome.CERTIFIED for c in certificates),
        labelled=labels is not None and None not in labels,
        acr=float(np.clip(correct, 0, None).mean()),
        accuracy=tuple((r, float((correct >= r).mean())) for r in radii),
        zeta=float(np.mean(replayed)) if replayed else None,
        evaluations=pilot_evaluations + sum(c.evaluations for c in certificates),
        seconds=seconds,
    )


def summarize_run(run: Run, radii: Sequence[float]) -> Summary:
    """`summarize` for a finished run."""
    run.require_complete()
    facts = (visible(run.name), run.seconds, run.pilot_evaluations)
    return summarize(run.certificates, run.labels, radii, *facts)


def correct_radii(
    certificates: Sequence[Certificate], labels: Sequence[int | None] | None
) -> NDArray[np.float64]:
    """Radius of every input, -1 where it abstains or its class is not the label."""
    if labels is not None and len(labels) != len(certificates):
        raise InvalidInput(
            f"There are {len(certificates)} certificates and {len(labels)} labels; give one each."
        )
    known = labels if labels is not None else [None] * len(certificates)
    return np.array(
        [
            c.radius if c.outcome is Outcome.CERTIFIED and label in (None, c.candidate) else -1.0
            for c, label in zip(certificates, known, strict=True)
        ]
    )


def tsv(run: Run) -> str:
    """The field's table: idx, label, predict (-1 to abstain), radius, correct, time.

    Raises:
        InvalidInput: labels are unknown, so nothing can be called correct.
    """
    if None in run.labels:
        raise InvalidInput(f"{run.place} has no labels, which this table needs.")
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
        )
    return "\n".join(lines) + "\n"


def csv_table(runs: Sequence[Run]) -> str:
    """Every certificate of every run as one CSV table; radii and limits in full precision.

    A run's name is the only text that others choose; see `names.cell`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV)
    for run in runs:
        for c, label in zip(run.certificates, run.labels, strict=True):
            facts = (
                cell(run.name),
                c.index,
                "" if label is None else label,
                c.predicted,
                c.candidate,
            )
            limits = (c.outcome.name, repr(c.radius), repr(c.q), c.method)
            counts = (c.k, c.n, c.cached_k, c.cached_n, c.flips, repr(c.zeta), c.alpha)
            writer.writerow((*facts, *limits, *counts, c.evaluations))
    return text.getvalue()


def from_scratch_curve(
    votes: Sequence[Votes],
    labels: Sequence[int | None],
    settings: Settings,
    counts: ArrayLike,
) -> NDArray[np.float64]:
    """ACR of certifying from scratch with fewer draws, from the votes of a longer run.

    The first n draws of a run are a run of n draws, so this is what each would have given.

    Args:
        votes: of a from-scratch run, one per input.
        labels: true classes.
        settings: alpha, sigma and grid to certify with.
        counts: numbers of estimation draws, shape (m,), at most the run's.

    Returns:
        ACR, shape (m,).
    """
    counts = np.asarray(counts)
    radii = np.zeros((len(votes), len(counts)))
    for row, (vote, label) in enumerate(zip(votes, labels, strict=True)):
        candidate = rs.candidate(vote.selection)
        if label in (None, candidate):
            hits = np.cumsum(vote.estimation == candidate)[counts - 1]
            radii[row] = settings.noise.radius(binomial.lower(hits, counts, settings.alpha))
    return radii.mean(axis=0)


def evaluations_for(
    acr: float, votes: Sequence[Votes], labels: Sequence[int | None], settings: Settings
) -> float | None:
    """Evaluations per input, selection included, at which from scratch reaches this ACR.

    Interpolated on a geometric grid of draws; None if the whole run does not reach it.
    """
    longest = len(votes[0].estimation)
    counts = np.unique(np.geomspace(10, longest, 120).astype(int))
    curve = np.maximum.accumulate(from_scratch_curve(votes, labels, settings, counts))
    if acr > curve[-1]:
        return None
    return len(votes[0].selection) + float(np.interp(acr, curve, counts))
