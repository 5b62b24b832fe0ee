"""Do certificates claim too much more often than they may? On classifiers with known truth.

Each test counts overclaims among independent certifications at alpha and rejects if a count so
high has probability below ERROR at the allowed rate; so a sound bound fails a test with
probability at most ERROR (seeds are fixed: it either fails always or never). Each has a
deliberately wrong bound that must be rejected.
"""

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.methods import irs
from smoothcert.methods.irs import Irs
from smoothcert.vocabulary import VARIANTS
from support.coverage_trials import ALPHA, ERROR, SIGMA, certify, inputs, truth
from support.known_truth import LEVELS, PixelSum, probability_above


def rejected(overclaims: int, trials: int, alpha: float) -> bool:
    """Whether so many overclaims show that their rate is above alpha."""
    return stats.binom.sf(overclaims - 1, trials, alpha) < ERROR


def overclaims(certificates, p: float) -> int:
    """Certificates of class 1 with a radius that the truth does not allow."""
    allowed = SIGMA * stats.norm.ppf(p)
    return sum(c.predicted == 1 and c.radius > allowed for c in certificates)


COUNTS = [2000, pytest.param(20_000, marks=pytest.mark.full)]


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("threshold", [24, 27, 29])
def test_from_scratch(threshold, count):
    """Independent certifications through the whole engine."""
    result = certify(count, 150, threshold)
    p = truth(threshold)
    assert 0.55 < p < 0.99
    assert not rejected(overclaims(result.certificates, p), count, ALPHA)


def test_the_votes_themselves_have_the_true_probability():
    """300,000 draws against the exact law; a law with 1 % more noise fails."""
    result = certify(2000, 150, 27)
    k = sum(c.k if c.candidate == 1 else c.n - c.k for c in result.certificates)
    p, wrong = truth(27), probability_above(27, np.full(4, 8), SIGMA * 1.02)
    assert stats.binomtest(k, 300_000, p).pvalue > 1e-4
    assert stats.binomtest(k, 300_000, wrong).pvalue < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["estimate", "twice alpha"])
def test_a_broken_bound_is_caught(broken):
    """The point estimate, and a bound at twice its alpha, must both be rejected."""
    threshold, p = 27, truth(27)
    result = certify(2000, 150, threshold, alpha=2 * ALPHA)
    if broken == "estimate":
        claims = [c.k / c.n for c in result.certificates if c.candidate == 1]
    else:
        claims = [c.q for c in result.certificates if c.candidate == 1]
    count = sum(q > p for q in claims)
    assert rejected(count, 2000, ALPHA)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["runner-up", "auto", "multiclass"])
def test_other_forms(form):
    data = inputs(2000)
    result = smoothcert.certify(
        PixelSum(28), data, SIGMA, n0=10, n=150, alpha=ALPHA, seed=5, form=form
    )
    assert not rejected(overclaims(result.certificates, truth(28)), 2000, ALPHA)


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("gamma", [0.75, 0.99])
@pytest.mark.parametrize("threshold", [26, 27])
def test_irs(gamma, threshold, count):
    """The original at 26, a new classifier that only loses draws; gammas on both branches."""
    data = inputs(count)
    base = smoothcert.certify(PixelSum(26), data, SIGMA, n0=10, n=300, alpha=ALPHA / 2, seed=3)
    new = smoothcert.recertify(
        base, PixelSum(threshold), data, per_input=100, alpha=ALPHA, gamma=gamma, method="irs"
    )
    assert not rejected(overclaims(new.certificates, truth(threshold)), count, ALPHA)
    if gamma == 0.75:
        assert {c.method for c in new.certificates} == {"irs", "irs-fresh"}


@pytest.mark.slow
def test_irs_without_its_disparity_is_caught():
    data = inputs(2000)
    base = smoothcert.certify(PixelSum(26), data, SIGMA, n0=10, n=300, alpha=ALPHA / 2, seed=3)
    claims = [float(c.q) for c in base.certificates]
    assert rejected(sum(q > truth(27) for q in claims), 2000, ALPHA)


def enumerate_irs(method: Irs, n: int, p: float, u: float, v: float, allowed: float) -> float:
    """The exact probability that IRS claims more than `allowed`, by enumeration.

    p: P[f = c]; u: P[f' != c | f = c]; v: P[f' = c | f != c]. Two classes.
    """
    m = method.per_input
    settings = Settings(SIGMA, LEVELS, n=n)
    shape, total = (1,), 0.0
    changed = p * (1 - u) + (1 - p) * v
    k_rest = stats.binom.pmf(np.arange(n - m + 1), n - m, p)
    k_replayed = stats.binom.pmf(np.arange(m + 1), m, p)
    for a in range(m + 1):
        lost = stats.binom.pmf(np.arange(a + 1), a, u)
        won = stats.binom.pmf(np.arange(m - a + 1), m - a, v)
        flips = np.convolve(lost, won)
        for b in range(n - m + 1):
            weight = k_replayed[a] * k_rest[b]
            if weight < 1e-12:
                continue
            total += weight * _claims_too_much(
                method, settings, shape, n, a, b, flips, changed, allowed
            )
    return total


def _claims_too_much(method, settings, shape, n, a, b, flips, changed, allowed):
    from smoothcert.bounds import binomial

    m, k = method.per_input, a + b
    if method.variant == "published":
        branch = float(binomial.lower(k, n, method.alpha_cache))
        share = method.alpha
    else:
        branch = float(binomial.lower(b, n - m, method.alpha_cache)) if n > m else 0.0
        share = method.alpha_flips
    cached = float(binomial.lower(k, n, method.alpha_cache))
    if cached <= 0.5:
        return 0.0
    if branch >= method.gamma:
        claims = binomial.lower(np.arange(m + 1), m, share)
        law = stats.binom.pmf(np.arange(m + 1), m, changed)
    else:
        claims = cached - binomial.upper(np.arange(m + 1), m, method.alpha_flips)
        law = flips
    return float(law[claims > max(allowed, 0.5)].sum())


GRID = [(p, u, v) for p in (0.7, 0.85, 0.92, 0.97) for u in (0, 0.05, 0.3) for v in (0, 0.5, 1.0)]


@pytest.mark.slow
@pytest.mark.parametrize("m", [10, 20])
def test_irs_exactly_by_enumeration(m):
    """Every outcome of 30 cached and m new draws: budget-exact never exceeds alpha."""
    worst = 0.0
    for gamma in (0.6, 0.75):
        method = Irs(m, alpha=0.1, gamma=gamma)
        for p, u, v in GRID:
            changed = p * (1 - u) + (1 - p) * v
            worst = max(worst, enumerate_irs(method, 30, p, u, v, changed))
    assert worst <= 0.1
    assert worst > 0.005  # the enumeration does see errors


def test_the_enumeration_is_the_code(pixel_sum):
    """The enumerated decision, against the package's own on every small outcome."""
    from smoothcert.certificate import Votes
    from smoothcert.data.inputs import Item
    from smoothcert.noise.law import Stream

    item = Item(0, np.zeros((1, 2, 2), np.int32))
    settings = Settings(SIGMA, LEVELS, n=30)
    for variant in VARIANTS:
        method = Irs(10, alpha=0.1, gamma=0.75, variant=variant)
        for a in range(11):
            for b in range(0, 21, 4):
                original = np.repeat([1, 0, 1, 0], [a, 10 - a, b, 20 - b]).astype(np.int32)
                cached = irs.Cached(0, item.content, 1, a + b, 30)
                request = irs.request(item, cached, original, method)
                new = np.where(np.arange(10) < 2, 0, original[:10]).astype(np.int32)
                fresh = request.stream is Stream.FRESH
                votes = Votes(original=original[:10], **{"fresh" if fresh else "estimation": new})
                if not len(request.draws):
                    votes = Votes()
                c = irs.certificate(cached, votes, method, settings, (1,))
                flips = np.zeros(11)
                flips[int((new != original[:10]).sum())] = 1.0
                hits = int((new == 1).sum())
                law = flips if not fresh else np.eye(11)[hits]
                claim = _claims_too_much_with(method, settings, a, b, law, c.q - 1e-9)
                assert claim == (1.0 if c.q > 0.5 and c.predicted == 1 else 0.0)


def _claims_too_much_with(method, settings, a, b, law, allowed):
    """`_claims_too_much` with the new draws' law given for whichever branch is taken."""
    original = stats.binom.pmf
    try:
        stats.binom.pmf = lambda k, n, p: law
        return _claims_too_much(method, settings, (1,), 30, a, b, law, 0.5, allowed)
    finally:
        stats.binom.pmf = original


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("method", "policy"),
    [("joint", "uniform:100"), ("stratified", "uniform:100"), ("auto", "budget:0.1")],
)
def test_planned_recertification(method, policy, count):
    """Pilot, plan and replay through the whole engine, for a classifier that only loses draws."""
    data = inputs(count)
    base = smoothcert.certify(PixelSum(26), data, SIGMA, n0=10, n=300, alpha=ALPHA / 2, seed=3)
    new = smoothcert.recertify(base, PixelSum(27), data, method=method, policy=policy, alpha=ALPHA)
    assert not rejected(overclaims(new.certificates, truth(27)), count, ALPHA)
    assert any(c.predicted == 1 for c in new.certificates)


def test_reused_votes_without_their_flips_are_caught():
    """The joint bound told that nothing flipped."""
    from smoothcert.bounds import joint

    data = inputs(2000)
    base = smoothcert.certify(PixelSum(26), data, SIGMA, n0=10, n=300, alpha=ALPHA / 2, seed=3)
    k = np.array([c.k for c in base.certificates if c.candidate == 1])
    claims = joint.lower(k, 300, 0, np.minimum(k, 200), ALPHA)
    assert rejected(int((claims > truth(29)).sum()), len(k), ALPHA)
