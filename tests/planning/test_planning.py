"""Plans: what a policy may spend, what it expects, and that it never sees a label."""

import time

import numpy as np
import pytest
from scipy import special

import smoothcert
from smoothcert.errors import InvalidInput
from smoothcert.methods.replay import Bound, Reuse
from smoothcert.planning import FlipRates, Policy, candidate_splits, expected_radii, plan
from support.known_truth import PixelSum, probability_above

N = 10_000


@pytest.fixture(scope="module")
def what():
    return expected_radii(N, FlipRates(away=0.05, back=0.05), Reuse("uniform:1"))


def caches(count: int, seed: int = 0):
    """Cached votes of a spread of inputs, and which of them are proven."""
    z = np.random.default_rng(seed).normal(1, 0.8, count)
    k = np.minimum((N * special.ndtr(z)).astype(np.int64), N)
    return k, k > 5200


@pytest.mark.parametrize(
    "text", ["", "most", "uniform", "uniform:0", "uniform:1.5", "budget:-1", "retain:2", "radius:x"]
)
def test_bad_policies(text):
    with pytest.raises(InvalidInput, match="A policy must be uniform:M, budget:B"):
        Policy.parse(text)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["budget:0.01", "budget:200000", "budget:0.1"])
def test_a_budget_is_kept_and_used(policy, what):
    k, proven = caches(2000)
    rule = Policy.parse(policy)
    made = plan(rule, k, np.full_like(k, N), proven, what)
    total = rule.total(len(k), N)
    assert 0.85 * total <= made.evaluations <= total


@pytest.mark.slow
def test_more_budget_is_never_worse_and_beats_uniform(what):
    k, proven = caches(2000)
    expected = []
    for fraction in (0.005, 0.01, 0.02, 0.05, 0.2):
        made = plan(Policy("budget", fraction), k, np.full_like(k, N), proven, what)
        expected.append(made.radius.mean())
        same = plan(
            Policy("uniform", made.evaluations // int(proven.sum())),
            k,
            np.full_like(k, N),
            proven,
            what,
        )
        assert made.radius.mean() >= same.radius.mean() - 1e-3
    assert (np.diff(expected) > 0).all()


@pytest.mark.slow
def test_the_unproven_get_nothing(what):
    k, proven = caches(500)
    for text in ("uniform:100", "budget:0.05", "retain:0.9", "radius:0.5"):
        made = plan(Policy.parse(text), k, np.full_like(k, N), proven, what)
        assert all(
            s.bound is Bound.NOTHING for s, p in zip(made.allocations, proven, strict=True) if not p
        )


@pytest.mark.slow
def test_retain_reaches_its_share_of_the_cached_radius(what):
    k, proven = caches(500)
    made = plan(Policy("retain", 0.8), k, np.full_like(k, N), proven, what)
    row = np.clip(np.searchsorted(what.z, special.ndtri(np.clip(k / N, 0.5, 1 - 3e-5))), 0, 159)
    spent = np.array([s.evaluations > 0 for s in made.allocations])
    assert (made.radius[spent] >= 0.8 * what.cached(row, N)[spent] - 1e-9).all()
    assert spent[proven].mean() > 0.8


def test_what_the_pilot_saw_is_not_asked_for_again(what):
    k, proven = caches(300)
    seen = (np.full(300, 40), np.minimum(20, N - k))
    made = plan(Policy("uniform", N), k, np.full_like(k, N), proven, what, seen)
    for share, votes, losers in zip(made.allocations, k, seen[1], strict=True):
        assert share.winners <= votes - 40
        assert share.losers <= N - votes - losers


def test_what_the_pilot_saw_is_counted_whole(what):
    """In strata the pilot's draws are known; left in the population, a plan that looked at them
    would sample the rest of it with a bias."""
    k, proven = caches(300)
    seen = (np.full(300, 40), np.minimum(20, N - k))
    made = plan(Policy("uniform", 2000), k, np.full_like(k, N), proven, what, seen)
    counted = 0
    for share, losers in zip(made.allocations, seen[1], strict=True):
        if share.bound is Bound.STRATIFIED:
            counted += 1
            assert (share.seen_winners, share.seen_losers) == (40, losers)
            assert share.evaluations <= 2000
    assert counted > 30


@pytest.mark.slow
def test_an_input_never_chooses_between_two_p_values():
    """The joint bound and the strata are each proven alone, with fresh draws as a way out."""
    flips = FlipRates(away=0.05, back=0.05)
    kinds = {
        name: {s.bound for s in expected_radii(N, flips, Reuse("uniform:1"), name, True).splits}
        for name in ("strata", "stratified", "joint")
    }
    assert kinds["strata"] == {Bound.STRATIFIED, Bound.FRESH}
    assert kinds["joint"] == {Bound.JOINT, Bound.FRESH}
    assert kinds["stratified"] == {Bound.STRATIFIED}


@pytest.mark.parametrize(
    ("policy", "method", "choice"),
    [
        ("uniform:999", "auto", "joint"),
        ("uniform:1000", "auto", "strata"),
        ("budget:0.05", "auto", "joint"),
        ("budget:200000", "auto", "strata"),
        ("retain:0.9", "auto", "strata"),
        ("uniform:5000", "joint", "joint"),
        ("uniform:5", "stratified", "stratified"),
    ],
)
def test_auto_decides_by_what_is_to_be_spent(policy, method, choice):
    assert candidate_splits(Reuse(policy, method), 100, N) == choice


@pytest.mark.slow
def test_near_draws_are_planned_for_where_changes_are_near():
    flips = FlipRates(away=0.05, back=0.05).with_depths(np.full(50, 0.02), np.full(50, 0.02))
    assert flips.away_depth == pytest.approx(0.03, abs=0.012)
    near, plain = (
        expected_radii(N, flips, Reuse("uniform:1"), "strata", margins) for margins in (True, False)
    )
    assert (near.radius >= plain.radius - 1e-12).all()
    assert (near.radius > plain.radius + 0.01).mean() > 0.1
    anywhere = FlipRates(0.05, 0.05).with_depths(np.linspace(0, 1, 50), np.linspace(0, 1, 50))
    assert np.isinf(anywhere.away_depth)


def test_flips_are_fitted_to_what_was_seen():
    p = np.linspace(0.55, 0.99, 40)
    truth = FlipRates(0.08, 0.03)
    u, v = truth.rates(p)
    winners, losers = np.full(40, 4000), np.full(40, 4000)
    found = FlipRates.fit(p, winners, np.rint(winners * u), losers, np.rint(losers * v))
    assert found.away == pytest.approx(0.08, rel=0.02)
    assert found.back == pytest.approx(0.03, rel=0.02)


@pytest.mark.slow
def test_expectations_are_near_what_comes(tiny_inputs, pixel_sum):
    """The planned mean radius against the proven one, on a pair with known truth."""
    data = smoothcert.Inputs.from_arrays(np.full((60, 1, 2, 2), 0.5), grid=1 / 16)
    base = smoothcert.certify(pixel_sum, data, 0.25, n=4000)
    new = smoothcert.recertify(base, PixelSum(29), data, policy="uniform:800")
    p = probability_above(29, np.full(4, 8), 0.25)
    radii = np.array([c.radius for c in new.certificates])
    assert 0.6 * 0.25 * special.ndtri(p) < radii.mean() < 0.25 * special.ndtri(p)


@pytest.mark.slow
def test_why_an_input_got_nothing_is_said(tiny_inputs, pixel_sum):
    """A radius that no replay reaches: the plan spends nothing, and that is not the original's."""
    base = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n=2000)
    new = smoothcert.recertify(base, PixelSum(29), tiny_inputs, policy="radius:2")
    assert {c.outcome for c in new.certificates} == {smoothcert.Outcome.UNSPENT}
    assert "Another budget" in new.certificates[0].explain(0.25)


@pytest.mark.slow
def test_fifty_thousand_inputs_take_seconds(what):
    """Measured in benchmarks; here only that it is vectorized."""
    k, proven = caches(50_000)
    start = time.perf_counter()
    assert (
        len(plan(Policy("budget", 0.02), k, np.full_like(k, N), proven, what).allocations) == 50_000
    )
    assert time.perf_counter() - start < 60
