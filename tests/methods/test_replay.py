"""Which draws a share replays, and what its votes prove."""

import numpy as np
import pytest
from scipy import stats

import smoothcert
from smoothcert.bounds import binomial
from smoothcert.certificate import Settings, Votes
from smoothcert.errors import InvalidInput
from smoothcert.methods import margins
from smoothcert.methods.irs import Cached
from smoothcert.methods.replay import (
    FLOOR,
    SAMPLED,
    WHOLE,
    Allocation,
    Bound,
    Reuse,
    certificate,
    evaluated,
    roles,
    votes_of,
)
from smoothcert.sampling.answers import CONTEST
from support.known_truth import PixelSum

N = 400
RNG = np.random.default_rng(0)
LABELS = (RNG.random(N) < 0.3).astype(np.int32)  # class 0 wins about 280
MARGINS = RNG.integers(0, 255, N).astype(np.int32)
CACHE = Votes(estimation=LABELS, margins=MARGINS)
WON = LABELS == 0


def test_roles_by_hand():
    cache = Votes(
        estimation=np.array([0, 1, 0, 0, 1, 0, 0, 1]), margins=np.array([5, 9, 3, 8, 1, 0, 7, 2])
    )
    share = Allocation(Bound.STRATIFIED, winners=1, near_winners=1, near_losers=1, seen_winners=1)
    found = roles(cache, 0, share, 0, 0)
    assert found[6] == WHOLE  # the last winner, seen by the pilot
    assert found[5] == WHOLE  # the nearest of the others
    assert found[4] == WHOLE  # the nearest loser
    assert (found == SAMPLED).sum() == 1
    assert np.flatnonzero(found == SAMPLED)[0] in (0, 2, 3)
    plain = Allocation(Bound.STRATIFIED, winners=2, losers=1, seen_winners=1)
    assert roles(cache, 0, plain, 0, 0).tolist() == [1, 1, 1, 0, 0, 0, 2, 0]


def test_the_sample_beside_near_draws_is_uniform():
    """Ties among margins are broken by index, so the first by index would not be."""
    cache = Votes(estimation=np.zeros(30, np.int32), margins=np.zeros(30, np.int32))
    share = Allocation(Bound.STRATIFIED, winners=5, near_winners=10)
    counts = sum(roles(cache, 0, share, 0, index) == SAMPLED for index in range(2000))
    assert (counts[:10] == 0).all()  # these are the near ones
    assert stats.chisquare(counts[10:]).pvalue > 1e-6
    assert (roles(cache, 0, share, 0, 1) == roles(cache, 0, share, 0, 1)).all()
    assert (roles(cache, 0, share, 0, 1) != roles(cache, 0, share, 1, 1)).any()


def test_more_than_the_cache_has_is_refused():
    for share in (
        Allocation(Bound.JOINT, winners=N),
        Allocation(Bound.STRATIFIED, winners=200, near_winners=WON.sum() - 100),
    ):
        with pytest.raises(InvalidInput, match="fewer than are to be replayed"):
            roles(CACHE, 0, share, 0, 0)
    with pytest.raises(InvalidInput, match="and 0 margins"):
        share = Allocation(Bound.STRATIFIED, near_winners=1)
        roles(Votes(estimation=LABELS), 0, share, 0, 0)


def prove(share: Allocation, new: np.ndarray, method: str = "auto", cache: Votes = CACHE):
    """The certificate when the new classifier's labels on the cached draws are `new`."""
    cached = Cached(0, "c", 0, int(WON.sum()), N)
    parts = roles(cache, 0, share, 0, 0)
    votes = votes_of(new[evaluated(parts)], parts, cache, share)
    settings = Settings(0.5, n=N)
    return certificate(
        cached, votes, share.bound, Reuse("uniform:1", method), settings, (1, 1, 1)
    ), votes


def test_everything_replayed_is_from_scratch():
    """Whatever the strata: the new classifier's own votes, at the error where the budget begins."""
    new = np.where(RNG.random(N) < 0.1, 1 - LABELS, LABELS).astype(np.int32)
    k, won, lost = int((new == 0).sum()), int(WON.sum()), int((~WON).sum())
    for share in (
        Allocation(Bound.STRATIFIED, winners=won, losers=lost),
        Allocation(Bound.STRATIFIED, won - 60, lost - 30, 0, 50, 20, 10, 10),
    ):
        found, votes = prove(share, new)
        whole = Reuse("uniform:1", "stratified").budget.edges[0]
        assert found.q == pytest.approx(float(binomial.lower(k, N, whole)), abs=1e-9)
        assert (found.k, found.n, found.evaluations) == (k, N, N)
        assert found.flips == int((WON & (new != 0)).sum())
        assert found.losers == lost
        assert len(votes.original) == len(votes.roles) == N


def test_near_draws_pay_when_the_changes_are_there():
    """The nearest 40 winners all change over; a sample of the rest sees no change."""
    order = np.argsort(MARGINS + 1000 * ~WON, kind="stable")
    new = LABELS.copy()
    new[order[:20]] = 1
    plain, _ = prove(Allocation(Bound.STRATIFIED, winners=120), new)
    near, _ = prove(Allocation(Bound.STRATIFIED, winners=80, near_winners=40), new)
    assert near.evaluations == plain.evaluations
    assert near.flips == 20
    assert near.q > plain.q + 0.005


def test_fresh_draws_have_all_of_alpha_only_if_nothing_else_could_be_chosen():
    share = Allocation(Bound.FRESH, fresh=200)
    cached, settings = Cached(0, "c", 0, 380, N), Settings(0.5, n=N)
    votes = Votes(fresh=np.zeros(200, np.int32))
    auto = certificate(cached, votes, share.bound, Reuse("uniform:200"), settings, (1, 1, 1))
    only = Reuse("uniform:200", "fresh", fresh_seed=1)
    alone = certificate(cached, votes, share.bound, only, settings, (1, 1, 1))
    assert auto.q == pytest.approx((FLOOR * 0.002) ** (1 / 200), abs=1e-9)
    assert alone.q == pytest.approx(0.002 ** (1 / 200), abs=1e-9)


def test_margins_are_ranked_within_their_side():
    contests = np.zeros(6, dtype=CONTEST)
    contests["label"] = [0, 0, 0, 1, 2, 1]
    contests["second"] = [1, 2, 1, 0, 1, 2]
    contests["gap"] = [3.0, 1.0, 2.0, 5.0, 0.1, 0.2]
    found = margins.ranked(contests, 0)
    assert np.argsort(found[:3]).tolist() == [1, 2, 0]
    # Loser 3 has the class as runner-up; 4 and 5 are nearer to changing, but not to it.
    assert np.argsort(found[3:]).tolist() == [0, 1, 2]
    assert found.min() == 0
    assert found.max() <= 254
    shares = margins.shares(found)
    assert shares[[1, 2, 0]] == pytest.approx([0, 1 / 3, 2 / 3], abs=0.01)


@pytest.fixture(scope="module")
def with_margins(tiny):
    return smoothcert.certify(PixelSum(28), tiny, 0.25, n0=20, n=2000, keep_margins=True)


@pytest.fixture(scope="module")
def tiny():
    return smoothcert.Inputs.from_arrays(
        np.random.default_rng(0).integers(6, 11, (30, 1, 2, 2)) / 16, grid=1 / 16
    )


@pytest.mark.slow
def test_margins_change_no_certificate_and_serve_a_recertification(with_margins, tiny):
    plain = smoothcert.certify(PixelSum(28), tiny, 0.25, n0=20, n=2000)
    assert plain.certificates == with_margins.certificates
    assert all(len(r.votes.margins) == 2000 for r in with_margins.records)
    new = smoothcert.recertify(
        with_margins, PixelSum(29), tiny, policy="uniform:900", method="stratified"
    )
    whole = [(r.votes.roles == WHOLE).sum() for r in new.records]
    sampled = [(r.votes.roles == SAMPLED).sum() for r in new.records]
    assert max(whole) >= 150  # its changes lie next to the original's boundary, all of them
    assert max(sampled) > 0
    unaided = smoothcert.recertify(
        plain, PixelSum(29), tiny, policy="uniform:900", method="stratified"
    )
    means = [np.mean([c.radius for c in run.certificates]) for run in (new, unaided)]
    assert means[0] > means[1]


def test_a_fresh_seed_replays_nothing(with_margins, tiny):
    new = smoothcert.recertify(with_margins, PixelSum(29), tiny, per_input=200, fresh_seed=9)
    assert {r.certificate.method for r in new.records} <= {"fresh", "nothing"}
    other = smoothcert.recertify(with_margins, PixelSum(29), tiny, per_input=200, fresh_seed=10)
    assert any(
        (a.votes.fresh != b.votes.fresh).any()
        for a, b in zip(new.records, other.records, strict=True)
        if len(a.votes.fresh)
    )
    for seed, message in [(0, "differ from the base's; got 0"), (-1, "must be in 0..2")]:
        with pytest.raises(InvalidInput, match=message):
            smoothcert.recertify(with_margins, PixelSum(29), tiny, per_input=20, fresh_seed=seed)
    with pytest.raises(InvalidInput, match="so the method cannot be 'joint'"):
        smoothcert.recertify(
            with_margins, PixelSum(29), tiny, per_input=20, fresh_seed=9, method="joint"
        )
    with pytest.raises(InvalidInput, match="'fresh' needs a fresh_seed"):
        Reuse("uniform:1", "fresh")
