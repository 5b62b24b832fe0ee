"""10^5 certifications per method on classifiers with known truth: how many claim too much?

`reliability.py` runs it and makes the tables.

Each method runs unchanged, from the noise to the certificate: the package's functions, its engine
and its plans, on the classifiers of known_law.py. A certificate overclaims if its radius is above
sigma * Phi^-1 of the true probability of its class (in the multi-class form, above half of sigma
times the difference of the two quantiles), or, for a decision of one radius, if it says the
contrary of the truth. The laws are the worst that worst_case.py found. Where certifications are
independent, an exact one-sided binomial test says whether the rate is above the one allowed.
Inputs of one data set share a pilot and a plan, and are not independent; there the test is an
e-value over the independent data sets (dataset_overclaims.py).
"""

import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
from known_law import SIGMA, Law, World
from numpy.typing import NDArray
from scipy import stats
from worst_case import FRESH_SEED, Case, reuse_of

import smoothcert
from smoothcert import methods
from smoothcert.certificate import ABSTAIN, Certificate, Certification, Outcome
from smoothcert.methods.replay import Allocation, Bound
from smoothcert.planning import pilot
from smoothcert.sampling.sampler import Sampler

HERE = Path(__file__).parent
BATCH = 2048
CHUNK = 2500
"""Inputs certified at a time."""

ERROR = 1e-6
"""The probability that a test rejects a method that errs exactly as often as it may."""


@dataclass(frozen=True)
class Row:
    """What became of the certifications of a case.

    Attributes:
        method, case: what was run.
        certifications: how many.
        overclaims: how many of them claim too much.
        allowed: the rate that is guaranteed.
        expected: the rate that the enumeration found; NaN where there is none.
        p_value: probability of so many or more at the allowed rate.
        detects: the excess is found with probability 0.99 from this rate on.
        seconds: of processor time that it took.
    """

    method: str
    case: str
    certifications: int
    overclaims: int
    allowed: float
    expected: float
    p_value: float
    detects: float
    seconds: float

    @property
    def rate(self) -> float:
        """Overclaims per certification."""
        return self.overclaims / self.certifications


def p_value(overclaims: int, trials: int, allowed: float) -> float:
    """P[so many or more] if trials are independent and each errs at the allowed rate."""
    return float(stats.binom.sf(overclaims - 1, trials, allowed))


@cache
def detects(trials: int, allowed: float, power: float = 0.99) -> float:
    """The smallest rate at which the test rejects with this probability."""
    most = int(stats.binom.isf(ERROR, trials, allowed)) + 1
    low, high = allowed, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        found = stats.binom.sf(most - 1, trials, middle) >= power
        low, high = (low, middle) if found else (middle, high)
    return high


def worst_cases(file: Path = HERE / "worst_case.toml") -> tuple[Case, ...]:
    """The cases that the search found."""
    return tuple(Case(**row) for row in tomllib.loads(file.read_text())["case"])


@cache
def world_of(case: Case) -> World:
    """The pair of classifiers of a case."""
    if case.method == "multiclass":
        rest = max(0.0, 1 - case.p - case.rival)
        return World.of([Law.alone(rest, case.p, case.rival)])
    law = Law.of_class(case.p, 0, 0) if case.method == "sequential" else None
    return World.of([law or Law.of_class(case.p, case.u, case.v)])


def chunks(name: str, count: int, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """(noise seed, how many) of the parts in which so many are done.

    The seeds follow from the name, so that rows are independent of each other.
    """
    first = crc32(name.encode()) << 20
    for part, start in enumerate(range(0, count, size)):
        yield first + part, min(size, count - start)


def base(case: Case, world: World, seed: int, count: int) -> Certification:
    """The original, certified from scratch."""
    form = "multiclass" if case.method == "multiclass" else "binary"
    return smoothcert.certify(
        world.original,
        world.inputs(count),
        SIGMA,
        n0=case.n0,
        n=case.n,
        alpha=case.alpha,
        seed=seed,
        form=form,
        batch_size=BATCH,
    )


def too_much(certificates: Sequence[Certificate], truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which certificates claim a radius that the truth does not allow.

    Args:
        certificates: of inputs whose laws take turns.
        truth: probability of each class under each law.
    """
    places = np.arange(len(certificates)) % len(truth)
    predicted = np.array([c.predicted for c in certificates])
    allowed = SIGMA * stats.norm.ppf(truth[places, predicted])
    radii = np.array([c.radius for c in certificates])
    return (predicted != ABSTAIN) & (radii > allowed)


def from_scratch(case: Case, seed: int, count: int) -> NDArray[np.bool_]:
    world = world_of(case)
    return too_much(base(case, world, seed, count).certificates, world.original_truth)


def multiclass(case: Case, seed: int, count: int) -> NDArray[np.bool_]:
    world = world_of(case)
    certificates = base(case, world, seed, count).certificates
    (truth,) = world.original_truth
    others = [np.delete(truth, c).max() for c in range(len(truth))]
    allowed = SIGMA / 2 * (stats.norm.ppf(truth) - stats.norm.ppf(others))
    return np.array([c.predicted >= 0 and c.radius > allowed[c.predicted] for c in certificates])


def incremental(case: Case, seed: int, count: int) -> NDArray[np.bool_]:
    world, irs = world_of(case), case.irs()
    new = smoothcert.recertify(
        base(case, world, seed, count),
        world.changed,
        world.inputs(count),
        method="irs",
        per_input=irs.per_input,
        alpha=irs.alpha,
        gamma=irs.gamma,
        variant=irs.variant,
        batch_size=BATCH,
    )
    return too_much(new.certificates, world.changed_truth)


def fresh(case: Case, seed: int, count: int) -> NDArray[np.bool_]:
    """A seed of its own, and nothing replayed."""
    world = world_of(case)
    new = smoothcert.recertify(
        base(case, world, seed, count),
        world.changed,
        world.inputs(count),
        per_input=case.m,
        alpha=case.alpha,
        fresh_seed=FRESH_SEED + seed,
        batch_size=BATCH,
    )
    return too_much(new.certificates, world.changed_truth)


def share(case: Case, k: int) -> Allocation:
    """A share that is a function of the cached votes, as the theory allows any to be."""
    if case.method == "stratified":
        winners, losers = int(case.winners * k), int(case.losers * (case.n - k))
        return Allocation(Bound.STRATIFIED, winners, losers)
    if k >= case.fresh_from:
        return Allocation(Bound.FRESH, fresh=case.m)
    return Allocation(Bound.JOINT, min(case.m, k))


def shared(case: Case, seed: int, count: int) -> NDArray[np.bool_]:
    """Replay or fresh draws, by a rule that the search chose in the place of the planner."""
    world, reuse = world_of(case), reuse_of(case)
    cached, inputs = base(case, world, seed, count), world.inputs(count)
    proven = pilot.proven(cached.certificates, case.alpha)
    allocations = [
        share(case, c.k) if some else Allocation(Bound.NOTHING)
        for c, some in zip(cached.certificates, proven.tolist(), strict=True)
    ]
    sampler = Sampler(world.changed, cached.settings, cached.num_classes, BATCH)
    new = reuse.records(sampler, map(methods.Case, inputs, cached.records, allocations))
    return too_much([record.certificate for record in new], world.changed_truth)


def sequential(case: Case, seed: int, count: int) -> NDArray[np.bool_]:
    """A radius just above the truth (u = 0) must not be proven, one just below not excluded."""
    world = world_of(case)
    truth = float(SIGMA * stats.norm.ppf(world.original_truth[0, 1]))
    radius = truth * (1 + 1e-9 if case.u == 0 else 1 - 1e-9)
    found = smoothcert.decide(
        world.original,
        world.inputs(count),
        SIGMA,
        radius,
        n0=case.n0,
        n=case.n,
        alpha=case.alpha,
        seed=seed,
        batch_size=BATCH,
    )
    wrong = Outcome.CERTIFIED if case.u == 0 else Outcome.EXCLUDED
    return np.array([c.candidate == 1 and c.outcome is wrong for c in found.certificates])


METHODS: dict[str, Callable[[Case, int, int], NDArray[np.bool_]]] = {
    "from scratch": from_scratch,
    "multiclass": multiclass,
    "irs": incremental,
    "irs published": incremental,
    "joint": shared,
    "fresh": fresh,
    "stratified": shared,
    "sequential": sequential,
}


def allowed(case: Case) -> float:
    """The guaranteed rate: alpha, but for IRS as published (docs/theory.md, section 3)."""
    return case.alpha * (1 + case.fresh) if case.method == "irs published" else case.alpha


def certified(case: Case, count: int) -> Row:
    """Certify so many independent inputs by a case's method, and count."""
    start = time.process_time()
    method = METHODS[case.method]
    parts = chunks(case.method + described(case), count)
    wrong = sum(int(method(case, seed, size).sum()) for seed, size in parts)
    seconds = time.process_time() - start
    most = allowed(case)
    return Row(
        case.method,
        described(case),
        count,
        wrong,
        most,
        case.rate,
        p_value(wrong, count, most),
        detects(count, most),
        round(seconds, 1),
    )


def described(case: Case) -> str:
    """The law and the settings in a line."""
    plain = Case("", 0.0, 0, p=-1)
    shown = {n: getattr(case, n) for n in case.__dataclass_fields__ if n not in _HIDDEN}
    return " ".join(f"{n}={v:.6g}" for n, v in shown.items() if v != getattr(plain, n))


_HIDDEN = ("method", "rate", "fresh")
