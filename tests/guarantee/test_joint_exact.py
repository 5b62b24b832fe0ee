"""The joint and stratified bounds by exact enumeration of every outcome: never above alpha."""

import numpy as np
import pytest
from scipy import stats

from smoothcert.bounds import binomial, joint, stratified
from smoothcert.bounds.budget import Budget
from smoothcert.methods.replay import Reuse
from support.coverage_trials import GRID_P, GRID_U


def worst_error(claim, n: int, replayed) -> float:
    """The largest P[claim > p'] over the grid, v = 0 so that p' = p (1 - u) exactly.

    claim(k, x, m): the limit; replayed(k): how many winners are replayed when k were won.
    """
    k = np.arange(n + 1)
    m = np.array([replayed(int(won)) for won in k])
    x = np.arange(m.max() + 1)
    possible = x[None, :] <= m[:, None]
    claims = claim(k[:, None], np.minimum(x[None, :], m[:, None]), m[:, None])
    worst = 0.0
    for p in GRID_P:
        cached = stats.binom.pmf(k, n, p)
        for u in GRID_U:
            flips = stats.binom.pmf(x[None, :], m[:, None], u)
            wrong = possible & (claims > p * (1 - u))
            worst = max(worst, float((cached[:, None] * flips * wrong).sum()))
    return worst


REPLAYED = {
    "all": lambda k: k,
    "ten": lambda k: min(k, 10),
    "half": lambda k: k // 2,
    "more when unsure": lambda k: min(k, 60 - k) if k > 20 else 0,
    "only when sure": lambda k: k if k > 50 else 3 * (k > 5),
}
SIZES = [40, pytest.param(60, marks=pytest.mark.full)]


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("alpha", [0.05, 0.002])
@pytest.mark.parametrize("name", REPLAYED)
def test_joint_never_errs_more_than_alpha(name, alpha, n):
    assert len(GRID_P) * len(GRID_U) >= 1000
    budget = Budget(alpha)
    error = worst_error(lambda k, x, m: joint.lower(k, n, x, m, budget), n, REPLAYED[name])
    assert error <= alpha


def test_the_enumeration_sees_errors():
    """It is not blind: the bound is within a factor of a few of its budget somewhere."""
    error = worst_error(lambda k, x, m: joint.lower(k, 40, x, m, 0.05), 40, REPLAYED["all"])
    assert error > 0.01


def test_twice_the_budget_is_caught():
    """The joint bound at four times alpha must be found out."""
    error = worst_error(lambda k, x, m: joint.lower(k, 40, x, m, 0.2), 40, REPLAYED["all"])
    assert error > 0.05


def test_the_union_bound_with_too_large_shares_is_caught():
    """Both shares at four times alpha, claimed as alpha. (Shares at alpha each, which a union
    bound does not allow, never exceeded alpha in any case tried here: the product form is that
    conservative; but nothing proves it.)"""

    def claim(k, x, m):
        p, u = binomial.lower(k, 40, 0.2), binomial.upper(x, m, 0.2)
        return p * (1 - u)

    assert worst_error(claim, 40, REPLAYED["all"]) > 0.05


def error_when_stopping_at_will(alpha: float, u: float, m: int = 400) -> float:
    """P[any prefix of m flips gives a limit above the truth], all of 10,000 cached draws won."""
    n, p = 10_000, 1.0
    lengths = np.arange(1, m + 1)
    most = 60
    limit = joint.lower(n, n, np.minimum(np.arange(most)[:, None], lengths), lengths, alpha)
    alive, error = np.zeros(most), 0.0
    alive[0] = 1.0
    for length in lengths:
        alive = alive * (1 - u) + np.concatenate([[0.0], alive[:-1]]) * u
        wrong = limit[:, length - 1] > p * (1 - u)
        error += float(alive[wrong].sum())
        alive[wrong] = 0.0
    return error


@pytest.mark.slow
def test_a_planner_that_looks_at_the_flips_is_caught():
    """Replaying on until it looks good errs more than alpha; a length fixed before does not."""
    assert max(error_when_stopping_at_will(0.05, u) for u in (0.03, 0.05, 0.1)) > 0.05


def worst_stratified(n: int, alpha: float, winners, losers) -> float:
    """The largest error over (p, u, v): winners flip with u, losers are gained with v."""
    budget = Budget(alpha)
    worst = 0.0
    table = {}
    for k in range(n + 1):
        mw, ml = winners(k), losers(n - k)
        hw, hl = np.meshgrid(np.arange(mw + 1), np.arange(ml + 1), indexing="ij")
        hits = np.stack([hw, hl], axis=-1)
        table[k] = stratified.lower(hits, [mw, ml], [k, n - k], np.full(hw.shape, n), budget)
    for p in np.linspace(0.05, 0.99, 15):
        for u in (0.0, 0.02, 0.1, 0.3, 0.6):
            for v in (0.0, 0.1, 0.5, 1.0):
                changed, error = p * (1 - u) + (1 - p) * v, 0.0
                for k, claims in table.items():
                    kept = stats.binom.pmf(np.arange(claims.shape[0]), claims.shape[0] - 1, 1 - u)
                    won = stats.binom.pmf(np.arange(claims.shape[1]), claims.shape[1] - 1, v)
                    law = stats.binom.pmf(k, n, p) * np.outer(kept, won)
                    error += law[claims > changed].sum()
                worst = max(worst, float(error))
    return worst


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.05, 0.002])
def test_stratified_never_errs_more_than_alpha(alpha):
    assert worst_stratified(24, alpha, lambda k: k // 2, lambda k: k // 3) <= alpha
    assert worst_stratified(24, alpha, lambda k: min(k, 6), lambda k: k) <= alpha
    assert worst_stratified(24, alpha, lambda k: k, lambda k: k) <= alpha


def test_stratified_at_eight_times_alpha_is_caught():
    assert worst_stratified(24, 0.4, lambda k: k, lambda k: k) > 0.05


def whole_or_few(budget: Budget, n: int, p: float, u: float, few: dict[int, int]) -> float:
    """The error, v = 0, of replaying all winners, or only so many where the cache says `few`."""
    error, truth = 0.0, p * (1 - u)
    for k in range(n + 1):
        m = few.get(k, k)
        hits = np.arange(m + 1)
        claims = stratified.lower(hits[:, None], [m], [k], np.full(m + 1, n), budget)
        wrong = claims > max(truth, 0.5)
        error += float(stats.binom.pmf(k, n, p) * stats.binom.pmf(hits, m, 1 - u)[wrong].sum())
    return error


@pytest.mark.slow
def test_replaying_everything_where_the_cache_says_so_costs_its_share():
    """A plan by the cache; it errs with 0.3005 at 0.3 if whole replays are tested at all of it."""
    n, alpha, few = 40, 0.3, {27: 9, 28: 7, 29: 6}
    worst = 0.0
    for p in (0.7, 0.8, 0.865, 0.95):
        limits = [alpha, Reuse("uniform:1", "stratified", alpha).budget.edges[0]]
        levels = np.concatenate([binomial.lower(np.arange(n + 1), n, a) for a in limits])
        for value in np.unique(levels[(levels > 0.5) & (levels < p)]) - 1e-9:
            budget = Reuse("uniform:1", "stratified", alpha).budget
            worst = max(worst, whole_or_few(budget, n, p, 1 - value / p, few))
    assert 0.01 < worst <= alpha
