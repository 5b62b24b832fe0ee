"""Randomized smoothing from scratch (Cohen, Rosenfeld & Kolter, ICML 2019, algorithm CERTIFY)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import Certificate, Outcome, Settings, Votes
from smoothcert.methods.margins import ranked
from smoothcert.noise.law import Stream
from smoothcert.sampling.answers import NO_CLASS
from smoothcert.sampling.batches import Request
from smoothcert.sampling.inputs import Item


def requests(item: Item, settings: Settings) -> tuple[Request, Request]:
    """Selection draws and, apart from them, estimation draws."""
    return (
        Request(item, Stream.SELECTION, range(settings.n0)),
        Request(item, Stream.ESTIMATION, range(settings.n)),
    )


def candidate(selection: NDArray[np.int32]) -> int:
    """The top class of the selection votes, the lowest of several.

    If no draw voted for any class it is class 0, which the estimation votes then do not prove.
    """
    return int(np.bincount(selection[selection != NO_CLASS], minlength=1).argmax())


def votes(selection: NDArray[Any], estimation: NDArray[Any]) -> Votes:
    """The record of an input's answers; with margins, if the runners-up were kept."""
    if selection.dtype.names is None:
        return Votes(selection=selection, estimation=estimation)
    chosen = selection["label"].copy()
    margins = ranked(estimation, candidate(chosen))
    return Votes(selection=chosen, estimation=estimation["label"].copy(), margins=margins)


def certificate(
    index: int,
    content: str,
    votes: Votes,
    settings: Settings,
    shape: tuple[int, ...],
    num_classes: int,
) -> Certificate:
    """The certificate that these votes prove (docs/theory.md, section 2)."""
    chosen = candidate(votes.selection)
    counts = np.bincount(votes.estimation[votes.estimation != NO_CLASS], minlength=num_classes)
    k, n = int(counts[chosen]), len(votes.estimation)
    slack = settings.noise.slack(shape)
    if settings.form == "binary":
        budget = (("estimation", settings.alpha),)
        q = difference_below(float(binomial.lower(k, n, settings.alpha)), slack)
        runner_up = sum_above(1.0, -q)
        radius = float(settings.radius(q))
    else:
        others = np.delete(counts, chosen)
        share = settings.alpha / 2
        budget = (("candidate", share), ("other classes", share))
        q = difference_below(float(binomial.lower(k, n, share)), slack)
        limit = sum_above(float(binomial.upper(others, n, share / len(others)).max()), slack)
        runner_up = min(limit, sum_above(1.0, -q))
        radius = float(settings.radius(q, runner_up))
    return Certificate(
        index=index,
        content=content,
        method="rs",
        candidate=chosen,
        outcome=Outcome.CERTIFIED if radius > 0 else Outcome.UNDECIDED,
        radius=radius,
        q=q,
        runner_up=runner_up,
        k=k,
        n=n,
        budget=budget,
        evaluations=len(votes.selection) + n,
    )
