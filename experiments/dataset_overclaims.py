"""Overclaims of plans and of dataset certificates: the trial is a whole data set.

Planned: the inputs of a data set share a pilot and a plan, so only data sets are independent. The
share of a data set's certificates that overclaim lies in [0, 1] and has a mean of at most alpha
whatever depends on what; so the product of 1 + (share - alpha) 0.9 / alpha over independent data
sets is an e-value, above 1/ERROR with probability at most ERROR (Markov).

Dataset certificates: one that says anything false counts, so they are counted by `overclaims`'s
binomial test.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
from collected_votes import LookUp, LookUpSampler
from known_law import SIGMA, Law, World
from numpy.typing import NDArray
from overclaims import BATCH, ERROR, Row, chunks, detects, p_value, too_much, worst_cases
from scipy import stats
from worst_case import FRESH_SEED

import smoothcert
from smoothcert.api import screen
from smoothcert.bounds import adversary, joint, stratified
from smoothcert.bounds.budget import Budget
from smoothcert.certificate import Certification
from smoothcert.data.inputs import Inputs
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.replay import Reuse
from smoothcert.methods.screening import Screening, Verdict
from smoothcert.methods.targets import Target
from smoothcert.planning import FlipRates
from smoothcert.planning import planned as verbs_planned
from smoothcert.sampling.prepare import Prepared, prepare

ALPHA = 0.05
DRAWS = 100
_WAGER = 0.9

PLANS = (
    ("joint", "uniform:40"),
    ("stratified", "uniform:40"),
    ("auto", "uniform:9"),
    ("auto", "uniform:40"),
    ("auto", "budget:0.05"),
    ("auto", "budget:0.3"),
    ("auto", "retain:0.8"),
    ("auto", f"radius:{0.7 * SIGMA:.9f}"),
    ("fresh", "budget:0.3"),
)


@dataclass(frozen=True)
class Plan:
    """A planned recertification.

    Attributes:
        method, policy: as of `recertify`.
        margins: whether the cache has margins.
    """

    method: str
    policy: str
    margins: bool = False

    @property
    def name(self) -> str:
        """The method, as a row names it."""
        return f"planned {self.method}{' with margins' if self.margins else ''}"

    def recertify(self, base: Certification, world: World, inputs: Inputs) -> Certification:
        fresh = base.settings.seed + FRESH_SEED if self.method == "fresh" else None
        method = "auto" if self.method == "fresh" else self.method
        return smoothcert.recertify(
            base,
            world.changed,
            inputs,
            policy=self.policy,
            method=method,
            alpha=ALPHA,
            fresh_seed=fresh,
            batch_size=BATCH,
        )


def planned_methods() -> tuple[str, ...]:
    """Names of the methods, each with one plan or several."""
    return tuple(dict.fromkeys(plan.name for plan in plans()))


def plans() -> tuple[Plan, ...]:
    """All of PLANS, and with margins those that margins can change."""
    plain = [Plan(*names) for names in PLANS]
    strata = (("stratified", "uniform:40"), ("auto", "uniform:40"), ("auto", "budget:0.3"))
    return (*plain, *(Plan(*names, margins=True) for names in strata))


def mixed_world(near: bool) -> World:
    """The worst laws of the joint bound and the strata, and a few of other kinds, in turn."""
    worst = [c for c in worst_cases() if c.method in ("joint", "stratified") and c.n == DRAWS]
    rates = [(c.p, c.u, c.v) for c in worst]
    rates += [(0.7, 0.02, 0.3), (0.8, 0.05, 0.0), (0.9, 0.1, 0.0), (0.95, 0.3, 0.5)]
    rates += [(0.97, 0.0, 0.0), (0.99, 0.02, 0.0), (0.85, 0.4, 1.0), (0.65, 0.0, 0.02)]
    return World.of([Law.of_class(*some, near=near) for some in rates])


@contextmanager
def remembered() -> Iterator[None]:
    """Within it the slow bounds are not computed twice for the same counts.

    Thousands of inputs of a few laws have the same few counts; the values are the same. Nor is
    what a plan is made from tabulated again for policies that the same pilot serves.
    """
    slow = ((joint, "lower"), (stratified, "lower"), (adversary, "radius_sum"))
    slow += ((adversary, "lost_inputs"), (adversary, "mean_flip_limit"))
    with ExitStack() as stack:
        for module, name in slow:
            stack.enter_context(patch.object(module, name, _remembering(getattr(module, name))))
        stack.enter_context(
            patch.object(
                verbs_planned, "expected_radii", _remembering(verbs_planned.expected_radii)
            )
        )
        yield


def _remembering(function: Any) -> Any:
    known: dict[Any, Any] = {}

    def call(*arguments: Any) -> Any:
        key = tuple(_plain(a) for a in arguments)
        if key not in known:
            known[key] = function(*arguments)
        return known[key]

    return call


def _plain(argument: Any) -> Any:
    if isinstance(argument, Budget | FlipRates | str):
        return argument
    if isinstance(argument, Reuse):  # all that a table takes from it
        return argument.budget, argument.fresh_alpha
    array = np.asarray(argument)
    return array.dtype.str, array.shape, array.tobytes()


def shares(some: Sequence[Plan], world: World, sets: int, size: int) -> NDArray[np.float64]:
    """The share of overclaims in every data set, of all plans, each with a cache of its own."""
    inputs, found = world.inputs(size), []
    for seed in range(sets):
        base = smoothcert.certify(
            world.original,
            inputs,
            SIGMA,
            n0=100,
            n=DRAWS,
            alpha=ALPHA,
            seed=seed,
            keep_margins=some[0].margins,
            batch_size=BATCH,
        )
        new = (plan.recertify(base, world, inputs) for plan in some)
        found.append(np.mean([too_much(n.certificates, world.changed_truth) for n in new]))
    return np.array(found)


def e_value(shares: NDArray[np.float64], alpha: float) -> float:
    """Of the shares of overclaims in independent data sets: the mean is at most 1 at alpha."""
    return float(np.exp(np.log1p(_WAGER * (shares - alpha) / alpha).sum()))


def e_value_p(shares: NDArray[np.float64], alpha: float) -> float:
    """One over it, at most 1: below ERROR with probability at most ERROR."""
    return min(1.0, 1 / e_value(shares, alpha))


def e_value_detects(sets: int, alpha: float) -> float:
    """The rate, the same in all data sets, from which on the e-value rejects."""
    return alpha * (1 + (ERROR ** (-1 / sets) - 1) / _WAGER)


def planned(name: str, sets: int, count: int) -> Row:
    """Certify so many inputs in so many data sets, each by all of a method's plans, and count."""
    start = time.process_time()
    some = [plan for plan in plans() if plan.name == name]
    size = count // (sets * len(some))
    with remembered():
        every = shares(some, mixed_world(some[0].margins), sets, size)
    total = sets * len(some) * size
    return Row(
        name,
        f"{', '.join(plan.policy for plan in some)}: {sets} data sets of {size}",
        total,
        round(float(every.mean()) * total),
        ALPHA,
        float("nan"),
        e_value_p(every, ALPHA),
        e_value_detects(sets, ALPHA),
        round(time.process_time() - start, 1),
    )


@dataclass(frozen=True)
class DataSet:
    """A kind of data set that is screened.

    Attributes:
        name: what it is.
        laws: of its inputs, in turn.
        screening: settings.
        size: inputs of a data set.
        draws: cached draws of each input.
        part: of all data sets that are screened, how many are of this kind.
    """

    name: str
    laws: tuple[Law, ...]
    screening: Screening
    size: int = 2
    draws: int = 200
    part: float = 0.05

    def certificates(self, world: World, seed: int, sets: int) -> Iterator[DatasetCertificate]:
        """So many independent data sets, evaluated together and screened one by one.

        What the new classifier answers is looked up, as in collected_votes.py.
        """
        inputs = world.inputs(self.size * sets)
        base, new = (
            smoothcert.certify(
                classifier,
                inputs,
                SIGMA,
                n0=50,
                n=self.draws,
                alpha=ALPHA,
                seed=seed,
                batch_size=BATCH,
            )
            for classifier in (world.original, world.changed)
        )
        answers = LookUp({r.certificate.index: r.votes for r in new.records}, {})
        ready = prepare(world.changed, inputs.item(0), base.settings, 0, BATCH)
        looked_up = LookUpSampler.of(answers, base)
        for start in range(0, len(inputs), self.size):
            some = inputs.select(range(start, start + self.size))
            cached = replace(base, records=base.records[start : start + self.size])
            screener = screen.Screener.of(cached, some, self.screening, BATCH)
            with patch.object(Prepared, "sampler", lambda *_: looked_up):
                yield from screener.screen([ready])


def says_something_false(
    found: DatasetCertificate, radii: NDArray[np.float64], target: Target | None
) -> bool:
    """Whether any statement of a certificate contradicts the true radii of its inputs."""
    asked = np.concatenate([np.linspace(0, 3 * SIGMA, 25), radii, [n.radius for n in found.named]])
    robust = (radii[:, None] > asked).sum(axis=0)
    wrong = (found.robust(asked) > robust).any() or found.acr > radii.mean()
    if target is not None and found.verdict is Verdict.ACCEPTED:
        wrong |= (radii > target.radius).sum() < target.needed(len(radii))
    return bool(wrong)


def screened(kind: DataSet, sets: int) -> Row:
    """Screen independent data sets, and count those with a false statement."""
    start = time.process_time()
    world, wrong = World.of(kind.laws), 0
    truth = world.changed_truth[np.arange(kind.size) % len(kind.laws), 1]
    radii = SIGMA * np.maximum(0, stats.norm.ppf(truth))
    with remembered():
        for seed, some in chunks(kind.name, sets, size=1000):
            for found in kind.certificates(world, seed, some):
                wrong += says_something_false(found, radii, kind.screening.target)
    return Row(
        "dataset certificate",
        kind.name,
        sets,
        wrong,
        kind.screening.alpha,
        float("nan"),
        p_value(wrong, sets, kind.screening.alpha),
        detects(sets, kind.screening.alpha),
        round(time.process_time() - start, 1),
    )


def lost(p: float, radius: float) -> float:
    """The flip rate at which an input of vote share p is just not robust at a radius (sigmas)."""
    return float(1 - stats.norm.cdf(radius) / p + 1e-6)


def kinds() -> tuple[DataSet, ...]:
    """Flips where an error is nearest: just enough of them for what the adversary would do.

    With a large alpha the limits are near enough to the truth to err at all.
    """
    just_lost, safe, radius = Law.of_class(0.97, lost(0.97, 1.0)), Law.of_class(0.97), SIGMA
    half = Target(radius, 0.51)
    return (
        DataSet("all just lost", (just_lost,), Screening(100, 0.2), part=0.3),
        DataSet("one input just lost", (just_lost,), Screening(100, 0.2), size=1, part=0.5),
        DataSet("all just lost, named", (just_lost,), Screening(16, 0.2, (radius,)), part=0.1),
        DataSet("one of two just lost", (just_lost, safe), Screening(16, ALPHA, (radius,))),
        DataSet("half lost, accept more", (just_lost, safe), Screening(64, 0.2, target=half)),
    )
