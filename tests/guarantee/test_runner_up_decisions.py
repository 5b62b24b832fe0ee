"""How often is a radius decided wrongly by the runner-up? By recursion over all votes.

The draws vote for the class, for the rival, and for a third class or for none. The probability of
every pair of counts that nothing has stopped yet follows from draw to draw, so the probability of
a wrong decision within DRAWS draws is exact, for any law. A test with too large an error must
be seen: two are. (Half of alpha is not needed by far: with all of it on each limit
the error stays below alpha here, which is no proof.)
"""

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy import stats

from smoothcert.bounds import betting, binomial
from smoothcert.certificate import Settings
from smoothcert.methods import stopping
from smoothcert.methods.stopping import RunnerUp, Seen, Tally

pytestmark = pytest.mark.slow

SIGMA, DRAWS = 0.5, 100
RADII = (0.0, 0.1, 0.5)
SHAPE = (3, 32, 32)


def stops_at(radius: float, alpha: float) -> RunnerUp:
    return stopping.runner_up(radius, Settings(SIGMA, n=DRAWS, alpha=alpha), SHAPE)


def counts(draws: int, third: bool) -> tuple[Tally, tuple[np.ndarray, np.ndarray]]:
    """All votes after some draws: class 0, the rival 1, and a third class, or no class."""
    hits, rival = np.nonzero(np.add.outer(np.arange(draws + 1), np.arange(draws + 1)) <= draws)
    others = np.maximum(rival, draws - hits - rival) if third else rival
    return Tally(hits, others, rival, np.full(len(hits), draws)), (hits, rival)


def errors(test, laws, third: bool) -> np.ndarray:
    """P[proven] and P[excluded] within DRAWS draws, for each law (p of the class, of the rival)."""
    laws = np.array(laws)[:, :, None, None]
    alive = np.zeros((len(laws), DRAWS + 1, DRAWS + 1))
    alive[:, 0, 0] = 1
    total = np.zeros((2, len(laws)))
    for draws in range(1, DRAWS + 1):
        before, (p, q) = alive, (laws[:, 0], laws[:, 1])
        alive = before * (1 - p - q)
        alive[:, 1:] += before[:, :-1] * p
        alive[:, :, 1:] += before[:, :, :-1] * q
        tally, places = counts(draws, third)
        maybe = np.flatnonzero(np.logical_or(*test.foreseen(tally, 1e-6)))
        if not len(maybe):
            continue
        for number, stops in enumerate(test.crossings(tally[maybe])):
            at = tuple(place[maybe[stops]] for place in places)
            total[number] += alive[:, *at].sum(axis=1)
            alive[:, *at] = 0
    return total


def boundary(radius: float, third: bool) -> list[tuple[float, float]]:
    """Laws whose radius by the runner-up, which is class 1, is exactly that."""
    apart, laws = 2 * radius / SIGMA, []
    for q in np.arange(0.01, 0.5, 0.01):
        p = float(stats.norm.cdf(stats.norm.ppf(q) + apart))
        if p + q <= 1 and (not third or 1 - p - q <= q):
            laws.append((p, float(q)))
    if third:  # the two others are equally likely
        laws += [(p, (1 - p) / 2) for p in np.arange(0.3, 1, 0.001) if _near(p, apart)]
    return laws


def _near(p: float, apart: float) -> bool:
    gap = stats.norm.ppf(p) - stats.norm.ppf((1 - p) / 2) - apart
    return bool(-0.004 < gap <= 0)


@cache
def worst(radius: float, alpha: float, third: bool) -> tuple[float, float]:
    """The largest errors on the boundary, over alpha."""
    found = errors(stops_at(radius, alpha), boundary(radius, third), third) / alpha
    return float(found[0].max()), float(found[1].max())


@pytest.mark.parametrize(("radius", "third"), [*product(RADII, (True, False))])
@pytest.mark.parametrize("alpha", [0.3, pytest.param(0.1, marks=pytest.mark.full), 0.02])
def test_neither_decision_is_wrong_more_often_than_alpha(radius, alpha, third):
    """On the boundary itself a proof and an exclusion are both counted as wrong."""
    proven, excluded = worst(radius, alpha, third)
    print(f"radius {radius} alpha {alpha} third {third}: {proven:.3f} {excluded:.3f} of alpha")
    assert proven <= 1
    assert excluded <= 1


SEEN = (Seen(1, 0, 1), Seen(6, 3, 10), Seen(60, 30, 100), Seen(100, 0, 100), Seen(20, 70, 100))


@pytest.mark.parametrize("seen", SEEN)
def test_neither_decision_is_wrong_more_often_whatever_the_bets_start_from(seen):
    """Given selection votes that agree with the law, and such as mislead."""
    for radius, alpha in ((0.0, 0.3), (0.1, 0.1), (0.5, 0.3)):
        laws = boundary(radius, third=True)[::10]
        found = errors(replace(stops_at(radius, alpha), seen=seen), laws, third=True)
        found = found.max(axis=1) / alpha
        print(f"radius {radius} alpha {alpha} {seen}: {found.round(3)} of alpha")
        assert (found <= 1).all()


@pytest.mark.parametrize("alpha", [0.001, 0.3, 0.9])
@pytest.mark.parametrize("seen", [Seen(), *SEEN])
def test_what_the_most_votes_reject_fewer_do_too(seen, alpha):
    """One limit serves all other classes, since the bets on each start alike."""
    for draws in (1, 5, 30):
        votes = np.arange(draws + 1)
        test = replace(stops_at(0.1, alpha), slack=0.0, seen=seen)
        limit = test.lowest(Tally(np.zeros_like(votes), votes, votes, np.array(draws)))[1]
        for most in votes[limit < 1]:
            above = np.linspace(limit[most], 1, 50, endpoint=False)
            fewer = votes[: most + 1, None]
            start = (seen.rival, seen.draws)
            assert betting.rejects(fewer, draws, above, alpha / 2, *start).all()


def test_a_class_whose_bets_start_elsewhere_is_not_served_by_that_limit():
    """The negative control of the test above."""
    nine, draws = np.array(9), np.array(30)
    test = replace(stops_at(0.1, 0.3), slack=0.0, seen=Seen(60, 30, 100))
    above = np.linspace(test.lowest(Tally(nine * 0, nine, nine, draws))[1], 0.9, 50)
    fewer = np.arange(10)[:, None]
    assert betting.rejects(fewer, 30, above, 0.15, 30, 100).all()
    assert not betting.rejects(fewer, 30, above, 0.15, 100, 100).all()


@pytest.mark.parametrize("radius", RADII)
def test_a_rival_that_is_not_the_runner_up_excludes_less(radius):
    """The selection draws may name another class than the true runner-up."""
    laws = [(p, 1 - p - q) for p, q in boundary(radius, third=True)]
    assert errors(stops_at(radius, 0.1), laws, third=True)[1].max() <= 0.1


class SecondLargest(RunnerUp):
    """Wrong: the limit of the class third in the votes."""

    def crossings(self, tally):
        third = np.minimum(tally.rival, tally.draws - tally.hits - tally.rival)
        return super().crossings(Tally(tally.hits, third, tally.rival, tally.draws))

    def foreseen(self, tally, margin=0.0):
        third = np.minimum(tally.rival, tally.draws - tally.hits - tally.rival)
        return super().foreseen(Tally(tally.hits, third, tally.rival, tally.draws), margin)


@pytest.mark.parametrize("seen", [Seen(), Seen(50, 5, 100)])
def test_the_third_class_for_the_second_is_caught(seen):
    wrong = SecondLargest(**vars(replace(stops_at(0.1, 0.02), seen=seen)))
    assert errors(wrong, [(0.5, 0.45)], third=True)[0].max() > 10 * 0.02


def test_limits_for_a_fixed_number_of_draws_are_caught(monkeypatch):
    """At every draw, which is what betting avoids: both decisions are wrong too often."""
    test = stops_at(0.1, 0.3)
    for name in ("lower", "upper"):
        limit = getattr(binomial, name)
        monkeypatch.setattr(betting, name, lambda k, t, a, *seen, limit=limit: limit(k, t, a))
    monkeypatch.setattr(betting, "lower_near", lambda k, t, a, *seen: binomial.lower(k, t, a))
    found = errors(test, boundary(0.1, third=False), third=False).max(axis=1)
    assert (found > 0.3).all()
