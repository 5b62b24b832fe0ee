"""Are decisions of a radius wrong too often, near the boundary? On classifiers with known truth.

As in test_coverage: each test counts wrong decisions among independent ones at ALPHA and rejects
if a count so high has probability below ERROR at that rate, so a sound rule fails with probability
at most ERROR; a deliberately wrong rule must be rejected. That a wrong rule with twice alpha is
seen too takes the enumeration in tests/bounds/test_betting.py.
"""

from functools import cache

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.bounds import betting, binomial
from smoothcert.certificate import Outcome, Settings, Votes
from smoothcert.data.inputs import Inputs
from smoothcert.methods import Case, sequential
from smoothcert.methods.sequential import Decision
from smoothcert.sampling.sampler import Sampler
from support.known_truth import LEVELS, PixelSum, probability_above

pytestmark = pytest.mark.slow

ERROR = 1e-6
SIGMA = 0.25
ALPHA = 0.05
DRAWS = 150
FULL = [pytest.param(t, 20_000, marks=pytest.mark.full) for t in (24, 26, 29)]


def rejected(wrong: int, trials: int, alpha: float) -> bool:
    """Whether so many wrong decisions show that their rate is above alpha."""
    return stats.binom.sf(wrong - 1, trials, alpha) < ERROR


def inputs(count: int) -> Inputs:
    return Inputs.from_arrays(np.full((count, 1, 2, 2), 8 / LEVELS), grid=1 / LEVELS)


def truth(threshold: int) -> float:
    """The largest radius that P[class 1] allows, for every input above."""
    return float(SIGMA * stats.norm.ppf(probability_above(threshold, np.full(4, 8), SIGMA)))


def decided(count: int, threshold: int, radius: float):
    """Decisions through the whole engine of inputs that all vote for class 1 in truth."""
    settings = Settings(SIGMA, LEVELS, n0=10, n=DRAWS, alpha=ALPHA, seed=11)
    classifier = PixelSum(threshold)
    sampler = Sampler(classifier, settings, 2, 256)
    records = Decision(radius).records(sampler, map(Case, inputs(count)))
    return [r.certificate for r in records if r.certificate.candidate == 1]


@pytest.mark.parametrize(("threshold", "count"), [(26, 2000), *FULL])
def test_just_above_the_truth_is_rarely_proven(threshold, count):
    certificates = decided(count, threshold, truth(threshold) + 1e-6)
    wrong = sum(c.outcome is Outcome.CERTIFIED for c in certificates)
    assert len(certificates) > 0.5 * count
    assert not rejected(wrong, len(certificates), ALPHA)
    assert wrong > 0  # it is near enough to the boundary to err at all


@pytest.mark.parametrize(("threshold", "count"), [(29, 2000), *FULL])
def test_just_below_the_truth_is_rarely_excluded(threshold, count):
    certificates = decided(count, threshold, truth(threshold) - 1e-6)
    wrong = sum(c.outcome is Outcome.EXCLUDED for c in certificates)
    assert not rejected(wrong, len(certificates), ALPHA)
    assert wrong > 0


@cache
def all_votes() -> tuple[np.ndarray, ...]:
    """1,000 inputs' estimation votes, none left out."""
    result = smoothcert.certify(PixelSum(27), inputs(1000), SIGMA, n0=1, n=DRAWS, seed=11)
    return tuple(record.votes.estimation for record in result.records)


def wrong_decisions(radius: float, wrong: Outcome) -> int:
    """How many of them the method decides wrongly at a radius next to the truth."""
    settings = Settings(SIGMA, LEVELS, n0=1, n=DRAWS, alpha=ALPHA)
    chosen = np.ones(1, np.int32)
    return sum(
        sequential.certificate(
            0, "c", Votes(chosen, labels), Decision(radius), settings, (1, 2, 2), 2
        ).outcome
        is wrong
        for labels in all_votes()
    )


def peeking(hits, draws, p, alpha, *seen):
    """A fixed-n test at every draw, which is the mistake that betting avoids."""
    return (binomial.lower(hits, draws, alpha) > p) | (binomial.upper(hits, draws, alpha) < p)


@pytest.mark.parametrize(("side", "wrong"), [(1e-6, Outcome.CERTIFIED), (-1e-6, Outcome.EXCLUDED)])
def test_looking_at_a_fixed_limit_at_every_draw_is_caught(side, wrong, monkeypatch):
    radius = truth(27) + side
    assert not rejected(wrong_decisions(radius, wrong), 1000, ALPHA)
    monkeypatch.setattr(betting, "rejects", peeking)
    assert rejected(wrong_decisions(radius, wrong), 1000, ALPHA)
