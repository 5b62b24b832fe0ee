"""What a planner who knows the truth attains: never more than is proven, and wrong bounds more.

Every outcome is enumerated (experiments/oracle_planner.py, oracle_settings.py), so nothing here is
random and a sound method always passes. Laws are searched: a bound that errs above alpha only at
laws between those of the grid would pass too. Each family has a wrong bound, which must not pass.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import largest_errors
import numpy as np
import oracle_planner
import oracle_settings
import pytest
import worst_case
from largest_errors import ALPHAS, PAGE, RESULTS, every, stored
from oracle_planner import Joint, Sizes, Strata, Worst
from scipy.stats import binom
from worst_case import Case

from smoothcert.bounds import betting, binomial, joint, stratified
from smoothcert.methods.irs import Irs
from smoothcert.methods.replay import Reuse

SMALL = Sizes(
    joint=10,
    strata=4,
    parts=3,
    decide=60,
    radii=50,
    irs=16,
    replayed=(8,),
    points=7,
    kept=5,
    rounds=4,
)
FULL = Sizes()
BOTH = [
    *((SMALL, alpha) for alpha in (0.3, 0.05)),
    *(pytest.param(FULL, alpha, marks=pytest.mark.full) for alpha in ALPHAS),
]


def reuse(alpha: float) -> Reuse:
    return Reuse("uniform:1", "joint", alpha)


@pytest.mark.parametrize(("sizes", "alpha"), BOTH)
def test_no_method_errs_more_than_is_proven(sizes, alpha):
    """And the search is not blind: with fresh draws to choose it finds more than their level."""
    rows = {row.method: row for row in every(alpha, sizes)}
    for row in rows.values():
        assert row.error <= alpha * row.proven, row
        assert row.proven == 1 or row.method.startswith("irs published"), row
    floor = reuse(alpha).fresh_alpha / alpha
    for name in ("joint or fresh draws", "strata or fresh draws"):
        assert rows[name].share > floor + 0.05
    assert rows["joint"].share > 0.5
    assert rows["from scratch"].share > 0.999
    assert rows["irs published"].share <= 2 * rows["irs"].share + 1e-9


# Wrong bounds, of each family one or more.


def doubled_joint(alpha: float, sizes: Sizes) -> Worst:
    """The joint bound at twice alpha."""
    return Joint.of(sizes.joint, reuse(2 * alpha).budget).worst("", alpha, sizes)


def joint_beside_fresh_at_alpha(alpha: float, sizes: Sizes) -> Worst:
    """Fresh draws at all of alpha, chosen by the cache, instead of at the budget's floor."""
    return replace(Joint.of(sizes.joint, reuse(alpha).budget), fresh=alpha).worst("", alpha, sizes)


def strata_beside_fresh_at_alpha(alpha: float, sizes: Sizes) -> Worst:
    strata = Strata.of(sizes.strata, reuse(alpha).budget)
    return replace(strata, fresh=alpha).worst("", alpha, sizes)


def whole_at_alpha(alpha: float, sizes: Sizes) -> Worst:
    """A whole replay that the cache has chosen, at all of alpha, beside fresh draws."""
    some = reuse(alpha)
    strata = Strata.of(sizes.strata, some.budget, whole=alpha)
    return replace(strata, fresh=some.fresh_alpha).worst("", alpha, sizes)


def irs_without_disparity(alpha: float, sizes: Sizes) -> Worst:
    irs = Irs(sizes.replayed[0], alpha)
    return oracle_settings.Incremental.of(sizes.irs, irs, free=True).worst("", alpha, sizes)


def looking_at_a_fixed_limit(alpha: float, sizes: Sizes) -> Worst:
    """A decision by Clopper-Pearson limits after every draw."""

    def peeking(hits, draws, p, level):
        return (binomial.lower(hits, draws, level) > p) | (binomial.upper(hits, draws, level) < p)

    return oracle_settings.decided(sizes, alpha, peeking)[0]


def betting_at_twice_alpha(alpha: float, sizes: Sizes) -> Worst:
    """As in code released with the method's paper; all radii at once."""
    twice = oracle_settings.decided(sizes, 2 * alpha, betting.rejects)[1]
    return replace(twice, alpha=alpha)


def doubled_scratch(alpha: float, sizes: Sizes) -> Worst:
    return replace(oracle_planner.from_scratch(sizes.joint, 2 * alpha), alpha=alpha)


def pooled_out_of_range(alpha: float, sizes: Sizes) -> Worst:
    """A pooled count's plain limit, also where Hoeffding's inequality does not reach."""

    def plain(flips, draws, level):
        return float(binomial.upper(sum(flips), 2 * draws, level))

    return oracle_settings.mean_rate(2, alpha, sizes, plain)


WRONG: tuple[Callable[[float, Sizes], Worst], ...] = (
    doubled_joint,
    joint_beside_fresh_at_alpha,
    strata_beside_fresh_at_alpha,
    whole_at_alpha,
    irs_without_disparity,
    looking_at_a_fixed_limit,
    betting_at_twice_alpha,
    doubled_scratch,
    pooled_out_of_range,
)


@pytest.mark.parametrize("sizes", [SMALL, pytest.param(FULL, marks=pytest.mark.full)])
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_wrong_bounds_are_refused(wrong, sizes):
    alpha = 0.05
    assert wrong(alpha, sizes).error > alpha


@pytest.mark.full
@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_whole_replay_at_alpha_is_refused(alpha):
    assert whole_at_alpha(alpha, FULL).error > alpha


# The enumerations against plain loops, and against those of the guarantee tests' worst cases.


@pytest.mark.parametrize("fresh", [0.0, 0.2])
@pytest.mark.parametrize(("truth", "p"), [(0.2, 0.5), (0.5, 0.9), (0.3, 1.0), (0.4, 0.4)])
def test_joint_errors_by_loops(truth, p, fresh):
    n, budget, expected = 4, reuse(0.3).budget, 0.0
    for k in range(n + 1):
        worst = fresh
        for m in range(k + 1):
            claims = [float(joint.lower(k, n, x, m, budget)) for x in range(m + 1)]
            law = [binom.pmf(x, m, 1 - truth / p) for x in range(m + 1)]
            worst = max(worst, sum(w for w, q in zip(law, claims, strict=True) if q >= truth))
        expected += binom.pmf(k, n, p) * worst
    found = replace(Joint.of(n, budget), fresh=fresh).error(truth, np.array([p]))
    assert found[0] == pytest.approx(expected, abs=1e-12)


def strata_choice(k, shares, truth, keep, gain, n, budget) -> float:
    """P[limit >= truth] of a choice (winners and losers sampled, winners and losers whole)."""
    won, lost, near_won, near_lost = shares
    sizes, error = [k - near_won, n - k - near_lost, near_won + near_lost], 0.0
    for place in np.ndindex(*(share + 1 for share in shares)):
        rates = (keep, gain, keep, gain)
        law = np.prod([binom.pmf(*cell) for cell in zip(place, shares, rates, strict=True)])
        hits, replayed = [*place[:2], sum(place[2:])], [won, lost, near_won + near_lost]
        if law > 0 and stratified.lower(hits, replayed, sizes, n, budget) >= truth:
            error += float(law)
    return error


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize(("truth", "keep", "gain"), [(0.2, 0.6, 0.1), (0.4, 0.5, 0.4)])
def test_strata_errors_by_loops(truth, keep, gain, parts):
    n, budget, fresh, expected = 3, reuse(0.3).budget, 0.15, 0.0
    p = (truth - gain) / (keep - gain)
    for k in range(n + 1):
        worst = fresh
        for shares in np.ndindex(k + 1, n - k + 1, k + 1, n - k + 1):
            fits = shares[0] + shares[2] <= k and shares[1] + shares[3] <= n - k
            if fits and (parts or not any(shares[2:])):
                worst = max(worst, strata_choice(k, shares, truth, keep, gain, n, budget))
        expected += binom.pmf(k, n, p) * worst
    some = replace(Strata.of(n, budget, parts), fresh=fresh)
    found = some.error(truth, np.array([keep]), np.array([gain]))
    assert found[0, 0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("variant", ["budget-exact", "published"])
def test_irs_errors_are_those_of_the_worst_cases(variant):
    """The largest over gamma, at a law whose truth is just below a value of the limit."""
    name = "irs published" if variant == "published" else "irs"
    n, m, alpha, keep, gain = 30, 10, 0.3, 0.9, 0.1
    some = oracle_settings.Incremental.of(n, Irs(m, alpha, variant=variant))
    for truth in np.unique(some.fresh[some.fresh > 0])[:-1].tolist():
        p, limits = (truth - gain) / (keep - gain), binomial.lower(np.arange(n + 1), n, alpha / 2)
        others = binomial.lower(np.arange(n - m + 1), n - m, alpha / 2)
        gammas = [g for g in (*limits, *others, 1.0) if g > 0.5]
        cases = [
            worst_case.incremental(Case(name, alpha, n, p, 1 - keep + 1e-9, gain, m=m, gamma=g))
            for g in gammas
        ]
        error, _ = some.errors(truth, np.array([keep]), np.array([gain]))
        assert max(case.rate for case in cases) == pytest.approx(error.max(), abs=1e-6)


def test_decisions_err_as_in_the_worst_cases():
    sizes = replace(SMALL, radii=1)  # one radius, at p = 1/2
    one, every_radius = oracle_settings.decided(sizes, 0.3, betting.rejects)
    sides = [
        worst_case.sequential(Case("sequential", 0.3, sizes.decide, 0.5, u=u, n0=0)).rate
        for u in (0, 1)
    ]
    assert one.error == pytest.approx(max(sides))
    assert every_radius.error == pytest.approx(sum(sides))


# The table.


@cache
def planners(family: str, n: int, alpha: float) -> Joint | Strata:
    budget = reuse(alpha).budget
    if family.startswith("joint"):
        return Joint.of(n, budget)
    return Strata.of(n, budget, parts="parts" in family)


@pytest.mark.slow
def test_the_stored_errors_are_those_of_the_enumeration():
    """Of the joint bound and strata at their stored laws, at the largest and smallest alpha."""
    rows = [row for row in stored(RESULTS) if row.method.startswith(("joint", "strata"))]
    assert {row.alpha for row in rows} == set(ALPHAS)
    for row in rows:
        if row.alpha in (max(ALPHAS), min(ALPHAS)):
            family, _, fresh = row.method.partition(" or fresh")
            some = planners(family, row.n, row.alpha)
            some = replace(some, fresh=reuse(row.alpha).fresh_alpha if fresh else 0.0)
            axes = [row.p] if isinstance(some, Joint) else [1 - row.u, row.v]
            again = some.error(row.truth, *(np.array([x]) for x in axes))
            assert again.item() == pytest.approx(row.error, rel=1e-9), row


def test_the_page_has_the_stored_table():
    assert (
        f"<!-- attained -->\n\n{largest_errors.text(stored(RESULTS))}\n\n<!--" in PAGE.read_text()
    )


def test_shares_are_rounded_up():
    assert [largest_errors.upwards(x) for x in (0.5, 0.501, 0.9999999999, 1.00001)] == [
        "0.50",
        "0.51",
        "1.00",
        "1.01",
    ]


def test_what_was_found_stays_within_what_is_proven():
    rows = stored(RESULTS)
    assert len(rows) == len({row.method for row in rows}) * len(ALPHAS)
    assert all(row.error <= row.alpha * row.proven for row in rows)
    assert all(row.error <= row.alpha for row in rows)
