"""Every method from noise to certificate, on classifiers with known truth, at the worst laws found.

The machinery is in experiments/: known_law.py (classifiers with any law of labels), worst_case.py
(the search), overclaims.py and dataset_overclaims.py (certify and count). A test rejects if so many
overclaims have probability below ERROR = 1e-6 at the rate that is allowed, so a sound method fails
a test with probability at most 1e-6 (seeds are fixed: always or never). What a test would find:
2,000 independent certifications at 0.05 a rate of 0.090, with probability 0.99; 100,000 (`pytest -m
full`) one of 0.0551, and at 0.001 one of 0.0019. Each family has deliberately wrong variants that
must be rejected.
"""

import tomllib
from dataclasses import replace
from itertools import repeat
from types import SimpleNamespace

import dataset_overclaims
import numpy as np
import overclaims
import pytest
import worst_case
from dataset_overclaims import (
    DataSet,
    kinds,
    lost,
    planned,
    plans,
    remembered,
    screened,
    shares,
)
from known_law import SIGMA, Law, World
from overclaims import ERROR, METHODS, Row, base, certified, detects, too_much, worst_cases
from reliability import COUNT, SETS, together
from scipy import stats
from worst_case import RATES, Case, reuse_of

import smoothcert
from smoothcert import methods
from smoothcert.bounds import adversary, betting, binomial, joint
from smoothcert.certificate import Votes
from smoothcert.methods import irs, replay, scratch
from smoothcert.methods.replay import Allocation, Bound
from smoothcert.methods.screening import Pool, Screening
from smoothcert.sampling.sampler import Sampler

SMALL = 2000
WORST = worst_cases()
SIZES = [SMALL, pytest.param(COUNT, marks=pytest.mark.full)]


def worst(method: str) -> list[Case]:
    return [case for case in WORST if case.method == method]


def refuted(row: Row) -> bool:
    return row.p_value < ERROR


# The stated power.


def test_what_the_tests_would_find():
    assert 0.089 < detects(SMALL, 0.05) < 0.090
    assert 0.0549 < detects(COUNT, 0.05) < 0.0551
    assert 0.0018 < detects(COUNT, 0.001) < 0.0019
    most = next(k for k in range(SMALL) if overclaims.p_value(k, SMALL, 0.05) < ERROR)
    power = stats.binom.sf(most - 1, SMALL, detects(SMALL, 0.05))
    assert power == pytest.approx(0.99, abs=1e-6)


# The classifiers are what they are said to be.


def test_labels_have_the_stated_joint_law():
    """Probabilities of the tables to 1e-12, and 200,000 pairs of labels from the real engine."""
    law = Law(((0.1, 0.05, 0.0), (0.15, 0.5, 0.05), (0.0, 0.05, 0.1)))
    world = World.of([Law.of_class(0.9, 0.1, 0.2), Law.of_class(0.7)])
    assert world.original_truth[:, 1] == pytest.approx([0.9, 0.7], abs=1e-12)
    assert world.changed_truth[:, 1] == pytest.approx([0.83, 0.7], abs=1e-12)
    world = World.of([law])
    assert world.changed_truth[0] == pytest.approx(np.sum(law.joint, axis=0), abs=1e-12)
    case = Case("from scratch", 0.05, 200)
    labels = [
        np.concatenate([r.votes.estimation for r in base(case, some, 0, 1000).records])
        for some in (world, replace(world, original=world.changed))
    ]
    seen = np.bincount(labels[0] * 3 + labels[1], minlength=9)
    expected = np.ravel(law.joint) * seen.sum()
    possible = expected > 0
    assert seen[~possible].sum() == 0
    assert stats.chisquare(seen[possible], expected[possible]).pvalue > 1e-4
    moved = expected[possible] + np.array([600, -600, *[0] * (possible.sum() - 2)])
    assert stats.chisquare(seen[possible], moved).pvalue < 1e-4


# Certifications that are independent.


@pytest.mark.slow
@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_overclaims_are_as_rare_as_stated(method, count):
    """And exactly as rare as the enumeration says: it is the whole path that was enumerated."""
    cases = worst(method)
    assert cases
    with remembered():
        rows = [certified(case, count // len(cases)) for case in cases]
    assert not any(refuted(row) for row in [*rows, together(rows)])
    for case, row in zip(cases, rows, strict=True):
        same = stats.binomtest(row.overclaims, row.certifications, case.rate)
        assert same.pvalue > ERROR, row
    assert sum(row.overclaims for row in rows) > 0


def first_of_each() -> list[Case]:
    return [worst(method)[0] for method in METHODS]


@pytest.mark.parametrize(
    "cases", [first_of_each(), pytest.param(WORST, marks=pytest.mark.full)], ids=["some", "all"]
)
def test_the_stored_rates_are_those_of_the_enumeration(cases):
    for case in cases:
        again = RATES[case.method](case)
        assert again.rate == pytest.approx(case.rate, abs=1e-9)
        assert again.fresh == pytest.approx(case.fresh, abs=1e-9)
        assert 0 < case.rate <= case.alpha
        assert {0.05, 0.001} <= {c.alpha for c in worst(case.method)}


def test_the_search_finds_what_is_known():
    """From scratch the worst law is just below a limit, where the rate is alpha."""
    start = Case("from scratch", 0.05, 30)
    found = worst_case.climb(start, {"p": (0.55, 0.995)}, seed=0, steps=20)
    assert 0.0499 < found.rate <= 0.05
    again = tomllib.loads(worst_case.text([found]))["case"]
    assert [Case(**row) for row in again] == [found]


def test_irs_as_published_is_tested_at_what_is_proven_of_it():
    """alpha (1 + P[fresh]), by enumeration; no law was found where it errs more than alpha."""
    for case in worst("irs published"):
        assert overclaims.allowed(case) == pytest.approx(case.alpha * (1 + case.fresh))
    assert any(case.fresh > 0.99 for case in worst("irs published"))
    assert any(0.3 < case.fresh < 0.7 for case in worst("irs published"))


# Wrong variants.


def wrong_row(case: Case, alpha: float = 0.05) -> Row:
    """The case counted as if it had been run at this alpha."""
    row = certified(case, SMALL)
    p = overclaims.p_value(row.overclaims, row.certifications, alpha)
    return replace(row, allowed=alpha, p_value=p)


def test_selection_draws_that_are_used_again_are_caught(monkeypatch):
    (case,) = (c for c in worst("from scratch") if c.n0 == 1)

    def used_again(selection, estimation):
        return Votes(selection=estimation, estimation=estimation)

    monkeypatch.setattr(scratch, "votes", used_again)
    assert refuted(certified(case, SMALL))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["from scratch", "fresh"])
def test_alpha_spent_twice_is_caught(method):
    case = worst(method)[0]
    assert not refuted(wrong_row(case, 0.05))
    doubled = replace(case, alpha=0.1)
    near = max(worst_case.snapped(doubled), key=lambda c: RATES[method](c).rate)
    assert refuted(wrong_row(near, 0.05))


def test_shares_that_are_no_shares_are_caught(monkeypatch):
    """Multi-class, every limit at eight times its share of alpha.

    The form is conservative: limits at all of alpha each, with the union bound forgotten, were
    not found to err more than alpha at any law tried.
    """
    shares = SimpleNamespace(
        lower=lambda k, n, share: binomial.lower(k, n, 8 * share),
        upper=lambda k, n, share: binomial.upper(k, n, 8 * share),
    )
    monkeypatch.setattr(scratch, "binomial", shares)
    assert refuted(certified(worst("multiclass")[0], SMALL))


def test_irs_without_its_disparity_is_caught(monkeypatch):
    (case,) = (c for c in worst("irs") if c.gamma == 1)
    free = SimpleNamespace(lower=binomial.lower, upper=lambda k, n, share: np.zeros_like(k, float))
    monkeypatch.setattr(irs, "binomial", free)
    assert refuted(certified(case, SMALL))


@pytest.mark.slow
def test_uncounted_flips_are_caught(monkeypatch):
    def none(k, n, flips, m, budget):
        return true(k, n, 0, m, budget)

    true = joint.lower
    monkeypatch.setattr(joint, "lower", none)
    assert refuted(certified(worst("joint")[0], SMALL))


@pytest.mark.slow
def test_a_plan_that_looks_at_the_flips_is_caught():
    """Each size alone is sound; the largest radius of twenty sizes is not."""
    case, caches, wrong = Case("joint", 0.05, 4000, p=0.999, u=0.1), 500, []
    world = overclaims.world_of(case)
    cached, inputs = base(case, world, 0, caches), world.inputs(caches)
    with remembered():
        for size in np.geomspace(10, 1500, 20).astype(int).tolist():
            cases = map(methods.Case, inputs, cached.records, repeat(Allocation(Bound.JOINT, size)))
            wrong.append(overclaimed(world, cached, cases, reuse_of(case)))
    each = [overclaims.p_value(int(some.sum()), caches, 0.05) for some in wrong]
    assert min(each) > ERROR
    assert overclaims.p_value(int(np.any(wrong, axis=0).sum()), caches, 0.05) < ERROR


def overclaimed(world, cached, cases, method):
    sampler = Sampler(world.changed, cached.settings, cached.num_classes, 2048)
    new = method.records(sampler, cases)
    return too_much([record.certificate for record in new], world.changed_truth)


@pytest.mark.slow
def test_a_sample_of_the_surest_draws_is_caught(monkeypatch):
    """Strata by margin, the rest sampled from its far end instead of at random."""
    case, count = Case("stratified", 0.05, 100, p=0.95, u=0.2), 400
    world = World.of([Law.of_class(case.p, case.u, near=True)])
    cached = smoothcert.certify(
        world.original, world.inputs(count), SIGMA, n=case.n, keep_margins=True, batch_size=512
    )
    share, inputs = Allocation(Bound.STRATIFIED, 40, near_winners=2), world.inputs(count)

    def p_value():
        cases = map(methods.Case, inputs, cached.records, repeat(share))
        wrong = overclaimed(world, cached, cases, reuse_of(case))
        return overclaims.p_value(int(wrong.sum()), count, case.alpha)

    assert p_value() > ERROR
    monkeypatch.setattr(replay, "words", lambda *place: -np.arange(place[-1]))
    assert p_value() < ERROR


@pytest.mark.slow
def test_looking_at_a_fixed_limit_at_every_draw_is_caught(monkeypatch):
    def peeking(hits, draws, p, alpha, *seen):
        above = binomial.lower(hits, draws, alpha) > p
        return above | (binomial.upper(hits, draws, alpha) < p)

    case = worst("sequential")[0]
    monkeypatch.setattr(betting, "rejects", peeking)
    assert refuted(certified(case, 300))


# Plans: the trial is a data set.


@pytest.mark.slow
def test_plans_overclaim_as_rarely_as_stated():
    """Would find a rate of 0.55 in six data sets; the full size one of 0.13."""
    assert dataset_overclaims.e_value_detects(6, 0.05) < 0.55
    assert not refuted(planned("planned joint", 6, 1200))


@pytest.mark.full
@pytest.mark.parametrize("name", dataset_overclaims.planned_methods())
def test_plans_overclaim_as_rarely_as_stated_in_full(name):
    row = planned(name, SETS, COUNT)
    assert not refuted(row)
    assert row.overclaims > 0


def test_the_e_value_is_one():
    """Its mean is 1 at the allowed rate, also if all inputs of a data set err together or none."""
    alpha = 0.05
    all_err, none_errs = (
        dataset_overclaims.e_value(np.array([share]), alpha) for share in (1.0, 0.0)
    )
    assert alpha * all_err + (1 - alpha) * none_errs == pytest.approx(1)
    least = dataset_overclaims.e_value_detects(SETS, alpha)
    assert least < 0.13
    assert dataset_overclaims.e_value_p(np.full(SETS, least * 1.001), alpha) < ERROR
    assert dataset_overclaims.e_value_p(np.full(SETS, least * 0.999), alpha) > ERROR


@pytest.mark.slow
def test_a_plan_with_uncounted_flips_is_caught(monkeypatch):
    true, plan, world = joint.lower, plans()[0], World.of([Law.of_class(0.8, 0.2)])
    assert plan.method == "joint"
    monkeypatch.setattr(joint, "lower", lambda k, n, flips, m, budget: true(k, n, 0, m, budget))
    with remembered():
        found = shares([plan], world, 6, 200)
    assert dataset_overclaims.e_value_p(found, dataset_overclaims.ALPHA) < ERROR


# Dataset certificates.


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.005, pytest.param(1.0, marks=pytest.mark.full)])
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_dataset_certificates_say_nothing_false_too_often(kind, part):
    row = screened(kind, round(COUNT * kind.part * part))
    assert not refuted(row)


def test_estimates_in_the_place_of_limits_are_caught(monkeypatch):
    def mean(flips, draws, alpha):
        return float(np.sum(flips) / (len(flips) * draws)) if draws else 1.0

    law = Law.of_class(0.97, lost(0.97, 1.0))
    kind = DataSet("all just lost", (law,), Screening(100, 0.05))
    assert not refuted(screened(kind, 150))
    monkeypatch.setattr("smoothcert.tries._here", {})  # the same seeds once more
    monkeypatch.setattr(adversary, "mean_flip_limit", mean)
    monkeypatch.setattr(
        Pool, "limits", lambda self, alpha: (np.array(self.k) - 0.1) / np.array(self.n)
    )
    assert refuted(screened(kind, 150))
