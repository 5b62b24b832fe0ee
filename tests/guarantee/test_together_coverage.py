"""How many certificates of one run are wrong: never more than stated, but for BETA.

A sound statement is rejected with probability at most ERROR (seeds are fixed); one for certificates
with half of their error must be. What a plan can do that looks at all caches is enumerated.
"""

import numpy as np
import pytest
from scipy import stats

from smoothcert.bounds import joint
from smoothcert.bounds.budget import Budget
from smoothcert.bounds.together import wrong_at_most
from support.coverage_trials import ALPHA, ERROR, GRID_P, GRID_U, SIGMA, certify, truth

BETA = 0.05
INPUTS = 40
RUNS = [200, pytest.param(2000, marks=pytest.mark.full)]


def wrong_counts(runs: int, threshold: int) -> np.ndarray:
    """Wrong certificates in each of so many runs of INPUTS inputs."""
    p = truth(threshold)
    certificates = certify(runs * INPUTS, 150, threshold).certificates
    wrong = [c.predicted == 1 and c.radius > SIGMA * stats.norm.ppf(p) for c in certificates]
    return np.reshape(wrong, (runs, INPUTS)).sum(axis=1)


def rejected(counts: np.ndarray, allowed: int) -> bool:
    """Whether so many runs with more than `allowed` wrong show that their rate is above BETA."""
    return stats.binom.sf((counts > allowed).sum() - 1, len(counts), BETA) < ERROR


@pytest.mark.slow
@pytest.mark.parametrize("runs", RUNS)
def test_a_runs_certificates_together(runs):
    counts = wrong_counts(runs, 27)
    assert counts.mean() > ALPHA * INPUTS / 2  # the certificates use most of their error
    assert not rejected(counts, wrong_at_most(INPUTS, ALPHA, BETA))
    assert rejected(counts, wrong_at_most(INPUTS, ALPHA / 2, BETA) - 1)


@pytest.mark.slow
def test_a_runs_limits_together_where_it_abstains(runs=100):
    """The distribution of probabilities counts these limits too (docs/theory.md, section 15)."""
    p = truth(32)
    certificates = certify(runs * INPUTS, 150, 32).certificates
    assert np.mean([c.radius == 0 for c in certificates]) > 0.9
    high = [c.q > (p if c.candidate == 1 else 1 - p) for c in certificates]
    counts = np.reshape(high, (runs, INPUTS)).sum(axis=1)
    assert counts.mean() > ALPHA * INPUTS / 2
    assert not rejected(counts, wrong_at_most(INPUTS, ALPHA, BETA))
    assert rejected(counts, wrong_at_most(INPUTS, ALPHA / 2, BETA) - 1)


def worst_when_planned_with_all_knowledge(n: int, alpha: float) -> float:
    """The largest mean of P[wrong | cache] when each cache gets the m that errs most there.

    Whatever a plan makes of other inputs' caches, it can do no worse; and given the caches
    inputs are independent, so that their errors multiply.
    """
    budget, worst = Budget(alpha), 0.0
    k, m, x = np.meshgrid(*[np.arange(n + 1)] * 3, indexing="ij")
    possible = (m <= k) & (x <= m)
    claims = np.zeros(k.shape)
    claims[possible] = joint.lower(k[possible], n, x[possible], m[possible], budget)
    for p in GRID_P[::3]:
        for u in GRID_U[::3]:
            wrong = possible & (claims > p * (1 - u))
            given = (stats.binom.pmf(x, m, u) * wrong).sum(axis=2).max(axis=1)
            worst = max(worst, float(stats.binom.pmf(np.arange(n + 1), n, p) @ given))
    return worst


def test_no_plan_makes_an_input_err_more_given_the_others():
    assert 0.005 < worst_when_planned_with_all_knowledge(30, 0.05) <= 0.05
    assert worst_when_planned_with_all_knowledge(30, 0.4) > 0.05  # it is not blind
