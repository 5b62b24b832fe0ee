"""Coverage of the strata by margin, with changes that live at small margins, and of wrong ones."""

import numpy as np
import pytest
from scipy import stats

from smoothcert.bounds import stratified
from smoothcert.bounds.budget import Budget

N, P, ALPHA = 200, 0.8, 0.1
BUDGET = Budget(ALPHA, floor=0.05, cells=16)
TRIALS = [2000, pytest.param(20_000, marks=pytest.mark.full)]


def away(depth):
    """P[a winner at this depth (0: about to change) is lost]: nearly all of it near 0."""
    return 0.9 * np.exp(-depth / 0.2)


TRUTH = P * float(np.mean(away(np.linspace(0, 1, 100_001))))


def trial(rng, choose) -> bool:
    """Whether one cache and replay claim more than the truth."""
    won = rng.random(N) < P
    depth = np.where(won, rng.random(N), 1.0)
    kept = won & (rng.random(N) >= away(depth))
    winners = np.flatnonzero(won)
    near, sample = choose(rng, winners[np.argsort(depth[winners])])
    hits = [kept[sample].sum(), kept[near].sum()]
    drawn = [len(sample), len(near)]
    sizes = [len(winners) - len(near), len(near)]
    q = float(stratified.lower(hits, drawn, sizes, N, BUDGET))
    return q > P - TRUTH


def uniform(rng, ordered):
    """The method: the nearest ones whole, a random sample of the rest."""
    return ordered[:30], rng.permutation(ordered[30:])[:40]


def farthest(rng, ordered):
    """Wrong: the sample is where changes are rarest."""
    return ordered[:0], ordered[-60:]


def errors(choose, count: int) -> int:
    rng = np.random.default_rng(0)
    return sum(trial(rng, choose) for _ in range(count))


@pytest.mark.slow
@pytest.mark.parametrize("count", TRIALS)
def test_near_strata_hold(count):
    """Rejected with probability 1e-6 if the error were exactly alpha."""
    assert errors(uniform, count) <= stats.binom.isf(1e-6, count, ALPHA)


def test_a_sample_that_is_not_uniform_is_caught():
    assert errors(farthest, 500) > stats.binom.isf(1e-6, 500, ALPHA)
