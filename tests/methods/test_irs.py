"""Incremental randomized smoothing: the published algorithm, and where ours departs from it."""

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.certificate import Outcome, Settings, Votes
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.methods import Stored, irs
from smoothcert.methods.irs import Cached, Irs
from smoothcert.noise.law import Stream
from support.known_truth import PixelSum

SETTINGS = Settings(0.5, 255, n0=10, n=1000)
SHAPE = (1, 2, 2)


def labels(*counts):
    """labels((1, 90), (0, 10)): ninety ones, then ten zeros."""
    return np.repeat([c for c, _ in counts], [m for _, m in counts]).astype(np.int32)


def replayed(k, flips, m, method):
    original = labels((1, m))
    new = labels((0, flips), (1, m - flips))
    cached = Cached(0, "c", 1, k, 1000)
    return irs.certificate(
        cached, Votes(original=original, estimation=new), method, SETTINGS, SHAPE
    )


def test_theorem_two_of_the_paper():
    method = Irs(per_input=100)
    c = replayed(950, 2, 100, method)
    p = binomial.lower(950, 1000, 0.001)
    zeta = binomial.upper(2, 100, 0.001)
    assert (c.method, c.flips, c.n, c.evaluations) == ("irs", 2, 100, 100)
    assert c.zeta == zeta
    assert c.radius == pytest.approx(0.5 * stats.norm.ppf(p - zeta), abs=1e-9)
    assert c.alpha == pytest.approx(0.002)


def test_flips_between_two_wrong_classes_count_as_published():
    """The published disparity is of labels; flips that never touch the class count too."""
    method = Irs(per_input=100)
    cached = Cached(0, "c", 1, 950, 1000)
    v = Votes(
        original=labels((1, 90), (0, 10)).astype(np.int32),
        estimation=labels((1, 90), (2, 10)).astype(np.int32),
    )
    assert irs.certificate(cached, v, method, SETTINGS, SHAPE).flips == 10


def test_too_much_disparity_abstains():
    c = replayed(600, 40, 100, Irs(per_input=100))
    assert (c.outcome, c.radius) == (Outcome.UNDECIDED, 0.0)


def test_where_the_original_abstains_nothing_is_spent(tiny_inputs):
    item = tiny_inputs.item(0)
    cached = Cached(0, item.content, 1, 500, 1000)
    request = irs.request(item, cached, labels((1, 500), (0, 500)), Irs(100))
    assert len(request.draws) == 0
    c = irs.certificate(cached, Votes(), Irs(100), SETTINGS, SHAPE)
    assert (c.outcome, c.evaluations, c.radius) == (Outcome.ORIGINAL_ABSTAINED, 0, 0.0)


def test_published_branch_looks_at_the_whole_cache(tiny_inputs):
    item, method = tiny_inputs.item(0), Irs(100, gamma=0.99, variant="published")
    high, low = Cached(0, item.content, 1, 1000, 1000), Cached(0, item.content, 1, 990, 1000)
    assert irs.request(item, high, labels((1, 1000)), method).stream is Stream.FRESH
    assert irs.request(item, low, labels((1, 990), (0, 10)), method).stream is Stream.ESTIMATION


def test_exact_branch_looks_only_at_what_is_not_replayed(tiny_inputs):
    item, method = tiny_inputs.item(0), Irs(100, gamma=0.99)
    cached = Cached(0, item.content, 1, 990, 1000)
    lost_in_the_replayed_part = labels((0, 10), (1, 990))
    lost_in_the_rest = labels((1, 990), (0, 10))
    assert irs.request(item, cached, lost_in_the_replayed_part, method).stream is Stream.FRESH
    assert irs.request(item, cached, lost_in_the_rest, method).stream is Stream.ESTIMATION


@pytest.mark.parametrize(
    ("variant", "share", "total"), [("published", 0.002, 0.004), ("budget-exact", 0.001, 0.002)]
)
def test_fresh_draws_are_tested_at_their_share(variant, share, total):
    cached = Cached(0, "c", 1, 1000, 1000)
    votes = Votes(original=labels((1, 100)), fresh=labels((1, 99), (0, 1)))
    c = irs.certificate(cached, votes, Irs(100, variant=variant), SETTINGS, SHAPE)
    assert c.method == "irs-fresh"
    assert c.q == pytest.approx(float(binomial.lower(99, 100, share)), abs=1e-9)
    assert (c.alpha, irs.Irs(100, variant=variant).error(1000)) == (total, total)
    assert dict(c.budget)["fresh"] == share
    assert c.flips == 0


def test_as_published_both_branches_state_what_is_proven_of_them_together():
    """docs/theory.md, section 3: the cache chooses the branch, so the errors of both add up."""
    c = replayed(950, 2, 100, Irs(100, variant="published"))
    assert c.method == "irs"
    assert dict(c.budget) == {"cache": 0.001, "disparity": 0.001, "fresh": 0.002}
    assert "wrong with probability at most 0.004 (cache 0.001, disp" in c.explain(SETTINGS.sigma)
    assert c.q == replayed(950, 2, 100, Irs(100)).q


@pytest.mark.parametrize(
    ("gamma", "cached", "stream", "error"),
    [
        (1.0, 10**6, Stream.ESTIMATION, 0.002),
        (0.99, 687, Stream.ESTIMATION, 0.002),
        (0.99, 688, Stream.FRESH, 0.004),
    ],
)
def test_as_published_twice_alpha_is_stated_just_where_a_cache_can_take_fresh_draws(
    gamma, cached, stream, error, tiny_inputs
):
    method, item = Irs(100, gamma=gamma, variant="published"), tiny_inputs.item(0)
    unanimous = Cached(0, item.content, 1, cached, cached)
    assert irs.request(item, unanimous, labels((1, 100)), method).stream is stream
    assert method.error(cached) == error


@pytest.fixture
def base(tiny_inputs, pixel_sum):
    return smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n=400)


def test_the_same_model_again_never_flips(base, tiny_inputs, pixel_sum):
    result = smoothcert.recertify(base, pixel_sum, tiny_inputs, per_input=100, method="irs")
    assert all(c.flips == 0 for c in result.certificates)
    assert result.evaluations == 100 * sum(
        c.outcome is not Outcome.ORIGINAL_ABSTAINED for c in result.certificates
    )


def test_a_changed_model(base, tiny_inputs):
    result = smoothcert.recertify(base, PixelSum(29), tiny_inputs, per_input=100, method="irs")
    for old, new in zip(base.records, result.records, strict=True):
        c = new.certificate
        if c.outcome is Outcome.ORIGINAL_ABSTAINED:
            continue
        assert (c.cached_k, c.cached_n) == (old.certificate.k, old.certificate.n)
        assert (new.votes.original == old.votes.estimation[:100]).all()
        assert c.flips == (new.votes.original != new.votes.estimation).sum()
        # The threshold only went up, so a draw can only leave class 1.
        assert (new.votes.estimation <= new.votes.original).all()
        again = result.method.recheck(Stored(new, result.settings, result.shape, 2))
        assert again == c


def test_other_inputs_are_refused(base, tiny_inputs, pixel_sum):
    other = smoothcert.Inputs.from_arrays(np.full((30, 1, 2, 2), 9 / 16), grid=1 / 16)
    with pytest.raises(Mismatch, match="Input 0 has content .* but the original was certified on"):
        smoothcert.recertify(base, pixel_sum, other, per_input=10)
    grid = smoothcert.Inputs.from_arrays(np.full((30, 1, 2, 2), 8 / 16), grid=1 / 32)
    with pytest.raises(Mismatch, match="certified on the grid 1/16; the inputs are on 1/32"):
        smoothcert.recertify(base, pixel_sum, grid, per_input=10)
    with pytest.raises(Mismatch, match="30 inputs, and 5 were given.*leave them out"):
        smoothcert.recertify(base, pixel_sum, tiny_inputs.select(range(5)), per_input=10)


def test_other_classes_are_refused(base, tiny_inputs):
    class Three(PixelSum):
        def logits(self, images):
            return np.concatenate([super().logits(images), np.full((len(images), 1), -9)], axis=1)

    with pytest.raises(Mismatch, match="The original has 2 classes and the new classifier 3"):
        smoothcert.recertify(base, Three(28), tiny_inputs, per_input=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_input": 500}, "was certified with n = 400 draws, of which 500 cannot be replayed"),
        ({"per_input": 0}, "per_input must be a whole number"),
        ({"per_input": 10, "alpha": 2}, "alpha is an error probability"),
        (
            {"per_input": 10, "method": "irs", "gamma": 0.3},
            r"gamma must be a probability in \(0.5, 1\]; got 0.3",
        ),
        (
            {"per_input": 10, "method": "irs", "variant": "fast"},
            "variant must be one of budget-exact, published",
        ),
        (
            {"per_input": 10, "method": "irs", "variant": "published", "alpha": 0.5},
            "up to twice alpha, so alpha must be below 0.5; got 0.5. Give a smaller alpha",
        ),
        (
            {"per_input": 10, "method": "magic"},
            "method must be one of auto, exact, joint, stratified, fresh, irs; got 'magic'",
        ),
    ],
)
def test_bad_settings(options, message, base, tiny_inputs, pixel_sum):
    with pytest.raises(InvalidInput, match=message):
        smoothcert.recertify(base, pixel_sum, tiny_inputs, **options)
