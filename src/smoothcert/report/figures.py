"""What the votes of a run say beyond its radii: probabilities, fewer draws, new inputs, seeds.

Data for charts and tables; nothing here draws. What each figure claims: docs/theory.md, section 15.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.bounds.together import new_inputs_above, new_mean_above, wrong_at_most
from smoothcert.certificate import Certificate, Outcome
from smoothcert.methods import SCRATCH, by_input, scratch
from smoothcert.report.curves import Curve, steps
from smoothcert.runs.store import Run
from smoothcert.scalars import real
from smoothcert.summary import SeedSpread, Summary, by_class, correct_radii, over_seeds
from smoothcert.text import visible

SHOWN = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
"""Probabilities at which a table shows their distribution."""

BETA = 0.05
"""Error probability of a limit for new inputs, as is usual for such intervals."""

_MOST_DRAWS = 10**8  # votes read for a curve of fewer draws: seconds
_POINTS = 60  # of such a curve
_MOST_STEPS = 2000  # of a curve of probabilities, which crowd near 1
_FEWEST = 10  # draws, with which it begins


@dataclass(frozen=True, eq=False)
class Probabilities:
    """How probable the class of each input is under noise, over the inputs of a run.

    In every curve `x` is a probability and `y` the share of the inputs whose label has at least
    that probability; without labels, whose class has. An input counts 0 where another class than
    its label was chosen, and where a recertification abstains.

    Attributes:
        each: by the lower limits of the inputs, each of which holds with probability 1 - alpha on
            its own (docs/theory.md, sections 2 to 13, by the method).
        together: a lower limit of the share itself, at all probabilities at once, with probability
            1 - beta (docs/theory.md, sections 11 and 15).
        observed: by the shares of votes: an estimate, nothing is proven of it. None for a run
            that was not certified from scratch.
        inputs: their number.
        alpha: the proven error of each limit.
        beta: the error of `together`.
        wrong: how many limits may be too high, except with probability beta.
    """

    each: Curve
    together: Curve
    observed: Curve | None
    inputs: int
    alpha: float
    beta: float
    wrong: int


@dataclass(frozen=True, eq=False)
class ByDraws:
    """What fewer estimation draws of a run from scratch would have given, from its own votes.

    Each number of draws is a certification of its own, at the run's alpha. The certificates of one
    number hold if it was fixed beforehand; a number, or a model, that is chosen by these curves
    needs draws of its own (docs/theory.md, section 15).

    Attributes:
        name: of the run.
        draws: numbers of estimation draws, shape (m,), ascending to the run's own.
        acr: average certified radius with each, shape (m,).
        radii: radii of certified accuracy, shape (r,).
        accuracy: certified accuracy, shape (m, r).
    """

    name: str
    draws: NDArray[np.int64]
    acr: NDArray[np.float64]
    radii: NDArray[np.float64]
    accuracy: NDArray[np.float64]


@dataclass(frozen=True)
class RankChange:
    """Two runs whose order by average certified radius depends on the number of draws.

    Attributes:
        ahead: name of the run with the larger ACR at the end.
        behind: name of the other one, which is ahead with some smaller number of draws.
        since: the number of estimation draws from which `ahead` is no longer behind.
    """

    ahead: str
    behind: str
    since: int


@dataclass(frozen=True)
class NewInputs:
    """What a run says of new inputs, if its own are a random sample of the same population.

    Attributes:
        radius: l2 radius on the [0, 1] scale.
        certified: inputs certified at that radius or more, with their label.
        inputs: number of inputs.
        beta: error probability of `robust`, and of `certified_share`.
        robust: lower limit of the share of new inputs to which, and to everything nearer than the
            radius, the smoothed classifier gives the label (docs/theory.md, section 15).
        certified_share: limits of the share of new inputs that the same certification certifies
            so, or None where the draws of one input depend on the other inputs (by plan).
    """

    radius: float
    certified: int
    inputs: int
    beta: float
    robust: float
    certified_share: tuple[float, float] | None


def probabilities(run: Run, beta: float | None = None) -> Probabilities:
    """The distribution of the class's probability over the inputs of a finished run.

    Args:
        run: finished.
        beta: error of the statement about all inputs together; the run's alpha by default.

    Raises:
        StoreError: the run is unfinished or damaged.
        InvalidInput: beta is not between 0 and 1.
    """
    run.require_complete()
    alpha = run.identity.alpha
    limits = _of_label(run, _limit)
    inputs = len(limits)
    beta = alpha if beta is None else beta
    wrong = wrong_at_most(inputs, alpha, beta)
    observed = None
    if all(c.method == "rs" for c in run.certificates):
        shares = _of_label(run, lambda c: c.k / c.n if c.n else 0.0)
        observed = steps(run.name, shares, 0, _MOST_STEPS)
    each, together = (steps(run.name, limits, least, _MOST_STEPS) for least in (0, wrong))
    return Probabilities(each, together, observed, inputs, alpha, beta, wrong)


def by_draws(run: Run, radii: Sequence[float] = (0.0, 0.25, 0.5)) -> ByDraws | None:
    """ACR and certified accuracy as functions of n, from prefixes of a run's own votes.

    Args:
        run: finished.
        radii: radii at which certified accuracy is wanted, >= 0.

    Returns:
        The curves; None for a run that was not certified from scratch with one n for all inputs,
        or has so many votes that reading them takes minutes.

    Raises:
        StoreError: the run is unfinished or damaged.
    """
    run.require_complete()
    found = _of_first(run)
    if found is None:
        return None
    draws, correct = found
    wanted = np.array([real(radius, "a radius") for radius in radii], float)
    accuracy = (correct[:, :, None] >= wanted).mean(axis=0)
    acr = np.clip(correct, 0, None).mean(axis=0)
    return ByDraws(visible(run.name), draws, acr, wanted, accuracy)


@lru_cache(maxsize=16)  # a chart and a table read the same votes
def _of_first(run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Numbers of draws, and each input's radius with them: -1 where it abstains or is wrong."""
    identity, count = run.identity, len(run.certificates)
    settings = identity.settings
    if identity.method != SCRATCH or not 2 * _FEWEST <= settings.n <= _MOST_DRAWS / count:
        return None
    draws = np.unique(np.geomspace(_FEWEST, settings.n, _POINTS).astype(np.int64))
    facts = (draws, settings, identity.shape, identity.num_classes)
    found = np.full((count, len(draws)), -1.0)
    for row, (record, label) in enumerate(zip(run.records(range(count)), run.labels, strict=True)):
        if label in (None, record.certificate.candidate):
            found[row] = scratch.radii_of_first(record.votes, *facts)
    found[found == 0] = -1.0
    return draws, found


def rank_changes(curves: Sequence[ByDraws]) -> tuple[RankChange, ...]:
    """Pairs of runs of which another one is ahead with fewer draws than at the end.

    Args:
        curves: on the same numbers of draws; others are not compared.

    Returns:
        One for each pair whose order by ACR is not the same with all numbers of draws. What it
        describes are these runs; nothing is proven of an order.
    """
    found = []
    for one, other in combinations(curves, 2):
        if np.array_equal(one.draws, other.draws) and one.acr[-1] != other.acr[-1]:
            ahead, behind = (one, other) if one.acr[-1] > other.acr[-1] else (other, one)
            reversed_at = np.flatnonzero(ahead.acr < behind.acr)
            if len(reversed_at):
                since = int(ahead.draws[reversed_at[-1] + 1])
                found.append(RankChange(ahead.name, behind.name, since))
    return tuple(found)


def new_inputs(
    run: Run, radii: Sequence[float] = (0.0, 0.25, 0.5), beta: float = BETA
) -> tuple[NewInputs, ...]:
    """Limits for new inputs of the population that a run's inputs are a random sample of.

    Each limit holds with probability 1 - beta, at its radius alone (docs/theory.md, section 15).

    Args:
        run: finished.
        radii: l2 radii, >= 0.
        beta: error probability of each statement, in (0, 1).

    Raises:
        StoreError: the run is unfinished or damaged.
        InvalidInput: beta is not between 0 and 1.
    """
    run.require_complete()
    alpha = run.identity.alpha
    correct = correct_radii(run.certificates, run.labels)
    count, found = len(correct), []
    for radius in radii:
        certified = int((correct >= radius).sum())
        robust = float(new_inputs_above(certified, count, alpha, beta))
        share = None
        if by_input(run.identity.method):
            sides = (certified, count, beta / 2)
            share = (float(binomial.lower(*sides)), float(binomial.upper(*sides)))
        facts = (real(radius, "a radius"), certified, count, beta)
        found.append(NewInputs(*facts, robust, share))
    return tuple(found)


def new_mean(run: Run, beta: float = BETA) -> float:
    """A lower limit of the mean radius up to which new inputs are robust; see `new_inputs`.

    Args:
        run: finished.
        beta: error probability, in (0, 1), of this statement alone.

    Raises:
        StoreError: the run is unfinished or damaged.
        InvalidInput: beta is not between 0 and 1.
    """
    run.require_complete()
    settings, alpha = run.identity.settings, run.identity.alpha
    most = float(settings.radius(binomial.lower(settings.n, settings.n, alpha)))
    return new_mean_above(correct_radii(run.certificates, run.labels), most, alpha, beta)


def seeds(runs: Sequence[Run], summaries: Sequence[Summary]) -> tuple[SeedSpread, ...]:
    """Mean and spread over runs of one model that differ in nothing but the seed of the noise.

    For models that differ in the seed of their training use `summary.over_seeds`.

    Args:
        runs: finished runs.
        summaries: theirs, in the same order.

    Returns:
        One for each model and settings of which there are two seeds or more.
    """
    groups: dict[object, dict[int, Summary]] = {}
    for run, summary in zip(runs, summaries, strict=True):
        of = run.identity
        key = (of.model, of.data, of.indices, replace(of.settings, seed=0), of.method)
        groups.setdefault(key, {}).setdefault(of.settings.seed, summary)
    return tuple(over_seeds([*group.values()]) for group in groups.values() if len(group) > 1)


def _limit(c: Certificate) -> float:
    """A proven lower limit of the class's probability; of an abstention, from scratch alone."""
    return c.q if c.outcome is Outcome.CERTIFIED or c.method == "rs" else 0.0


def to_json(run: Run, radii: Sequence[float]) -> dict[str, Any]:
    """Plain values: classes, new inputs, fewer draws, and probabilities at those of `SHOWN`."""
    fewer, found = by_draws(run, radii), probabilities(run)
    curves = {"each": found.each, "together": found.together, "observed": found.observed}
    shares = {name: curve and curve.at(SHOWN).tolist() for name, curve in curves.items()}
    labels = run.labels
    return {
        "classes": [asdict(one) for one in by_class(run.certificates, labels, radii)],
        "new_inputs": [asdict(one) for one in new_inputs(run, radii)],
        "new_mean": new_mean(run),
        "probabilities": {"at": SHOWN, **shares, "beta": found.beta, "wrong": found.wrong},
        "by_draws": None
        if fewer is None
        else {
            "n": fewer.draws.tolist(),
            "acr": fewer.acr.tolist(),
            "accuracy": [
                [radius, fewer.accuracy[:, i].tolist()] for i, radius in enumerate(fewer.radii)
            ],
        },
    }


def _of_label(run: Run, value: Callable[[Certificate], float]) -> NDArray[np.float64]:
    """A figure of each input's class, 0 where that is not the label."""
    pairs = zip(run.certificates, run.labels, strict=True)
    return np.array([value(c) if label in (None, c.candidate) else 0.0 for c, label in pairs])
