"""The replay of published logs: a simulation, held to the real methods and to hand arithmetic."""

from pathlib import Path

import numpy as np
import pytest
from scipy import special

from smoothcert.bounds import binomial
from smoothcert.certificate import Settings, Votes
from smoothcert.errors import InvalidInput
from smoothcert.methods import irs as incremental
from smoothcert.methods import replay
from smoothcert.methods.irs import Cached, Irs
from smoothcert.methods.replay import Allocation, Bound, Reuse
from smoothcert.simulation.contenders import allocation_limits, irs_limits
from smoothcert.simulation.curves import Curve, area_ratio
from smoothcert.simulation.logs import read_log, vote_share
from smoothcert.simulation.simulate import METHODS, NOTICE, FlipModel, Study, simulate
from smoothcert.simulation.world import World

SIGMA = 0.5
QUICK = Study(FlipModel(0.01), 2000, screen=(50,), repetitions=1)


@pytest.fixture
def log_file(tmp_path):
    """Sixty images from hesitant to certain, six of which abstain and six of which are wrong."""
    z = np.linspace(0.2, 3.0, 60)
    lines = ["idx\tlabel\tpredict\tradius\tcorrect\ttime"]
    for i, radius in enumerate(SIGMA * z):
        predict = -1 if i % 10 == 3 else 2
        right = int(i % 10 not in (3, 7))
        shown = 0.0 if predict < 0 else radius
        lines.append(f"{i}\t{2 if right else 5}\t{predict}\t{shown:.3g}\t{right}\t0:00:01.5")
    path = tmp_path / "synthetic_sigma_0.50.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_log_is_read(log_file):
    log = read_log(log_file)
    assert (log.name, log.sigma, log.images) == ("synthetic_sigma_0.50", 0.5, 60)
    assert (log.correct.sum(), log.abstained.sum()) == (48, 6)
    assert (log.p[log.abstained] == 0.5).all()
    assert not (log.correct & log.abstained).any()
    assert read_log(log_file, sigma=0.25).p[0] > log.p[0]


def test_the_logged_radius_gives_back_the_votes():
    k = np.array([50_400, 80_000, 99_000, 100_000])
    z = special.ndtri(binomial.lower(k, 100_000, 0.001))
    # The median-unbiased estimate: near (k - 1/3) / n, and below 1 for unanimous votes.
    assert vote_share(z, 100_000, 0.001) == pytest.approx((k - 1 / 3) / 1e5, abs=5e-6)
    unanimous = vote_share([9.0, z[-1]], 100_000, 0.001)
    assert unanimous == pytest.approx(0.5**1e-5, abs=1e-12)


def curve(*points):
    evaluations, acr = np.array(points, float).T
    return Curve("x", evaluations, acr)


def test_area_ratio_by_hand():
    base = curve((100, 0.1), (200, 0.3), (400, 0.5))
    # On [0.3, 0.5] the other is 50 + 500 (a - 0.3): mean 100. The base's mean there is 300.
    other = curve((50, 0.3), (250, 0.7))
    assert area_ratio(base, other) == pytest.approx(3.0)
    assert area_ratio(base, base) == 1.0
    assert area_ratio(base, curve((10, 0.6), (20, 0.7))) is None
    # A point that proves less than a cheaper one does not count.
    assert area_ratio(base, curve((50, 0.3), (90, 0.2), (250, 0.7))) == pytest.approx(3.0)
    assert base.evaluations_for(0.4) == pytest.approx(300)
    assert base.evaluations_for(0.6) is None
    with pytest.raises(InvalidInput, match="increasing evaluations"):
        curve((2, 0.1), (1, 0.2))


@pytest.mark.parametrize("away", [0.0, 0.5, 1.0])
def test_the_flip_model_has_the_disparity_asked_for(log_file, away):
    log = read_log(log_file)
    u, v = FlipModel(0.01, away).rates(log.p)
    lost, won = log.p * u, (1 - log.p) * v
    assert (lost + won).mean() == pytest.approx(0.01)
    assert lost == pytest.approx(away * (lost + won))
    assert (lost + won)[log.p.argmax()] < (lost + won)[log.p.argmin()] / 20


@pytest.mark.parametrize("away", [0.2, 0.5])
def test_changes_that_an_image_has_no_room_for_go_to_the_others(away):
    p = np.array([0.999, 0.97, 0.9, 0.5, 0.4, 0.01])
    u, v = FlipModel(0.2, away).rates(p)
    changed = p * u + (1 - p) * v
    assert changed.mean() == pytest.approx(0.2)
    assert (u <= 1).all() and (v <= 1).all()
    full, free = np.maximum(u, v) == 1, np.maximum(u, v) < 1
    assert full[0] and free[3]
    density = np.exp(-(special.ndtri(p[free]) ** 2) / 2)
    assert changed[free] / density == pytest.approx((changed[free] / density)[0])


def test_settings_are_checked(log_file):
    for bad, message in [
        (lambda: FlipModel(0.7), "disparity must be a probability below 1/2; got 0.7"),
        (lambda: FlipModel(0.1, 2), "away must be a share from 0 to 1; got 2"),
        (lambda: Study(FlipModel(0.1), n=10), "n must be at least 1000"),
        (lambda: Study(FlipModel(0.1), methods=("sr",)), "methods must be among irs, .*; got sr"),
        (lambda: Study(FlipModel(0.1), accounting="x"), "accounting must be one of all, publ"),
        (lambda: Study(FlipModel(0.1), screen=(0,)), "screen must be counts from 1 to n/2"),
        (lambda: FlipModel(0.49, 0.0).rates(read_log(log_file).p), "allow. Ask for less"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            bad()


@pytest.mark.parametrize("variant", ["published", "budget-exact"])
@pytest.mark.parametrize("k", [505, 800, 999])
def test_irs_is_the_real_method(variant, k):
    irs = Irs(100, gamma=0.99 if k < 999 else 0.98, variant=variant)
    original = (np.arange(1000) >= k).astype(np.int32)  # the winners first: label 0
    cached, settings = Cached(0, "c", 0, k, 1000), Settings(SIGMA, n=1000)
    new = original[:100].copy()
    new[:3] = 1
    fresh = incremental._takes_fresh(cached, original, irs)
    votes = Votes(fresh=new) if fresh else Votes(original=original[:100], estimation=new)
    real = incremental.certificate(cached, votes, irs, settings, (1, 1, 1))
    q = irs_limits(*(np.array(x) for x in (k, 1000, 100, 100, 3, 97)), irs)
    assert q == pytest.approx(0 if k == 505 else real.q, abs=1e-9)


def test_shares_are_the_real_method(log_file):
    """No flips at all, so the counts are known; every kind of share."""
    log, n, reuse = read_log(log_file), 1000, Reuse("uniform:100")
    world = World.draw(log, n, FlipModel(0.0), np.random.default_rng(3))
    kinds = (
        Allocation(Bound.NOTHING),
        Allocation(Bound.JOINT, winners=100),
        Allocation(Bound.STRATIFIED, winners=90, losers=1, seen_winners=5),
    )
    shares = [kinds[i % 3] for i in range(log.images)]
    q = allocation_limits(world, shares, reuse, np.random.default_rng(4))
    settings = Settings(SIGMA, n=n)
    for i, share in list(enumerate(shares))[30:36]:
        k = int(world.k[i])
        original = (np.arange(n) >= k).astype(np.int32)
        cache, cached = Votes(estimation=original), Cached(i, "c", 0, k, n)
        parts = replay.roles(cache, 0, share, 0, i)
        votes = replay.votes_of(original[replay.evaluated(parts)], parts, cache, share)
        real = replay.certificate(cached, votes, share.bound, reuse, settings, (1, 1, 1))
        assert q[i] == pytest.approx(real.q, abs=1e-9)
    fresh = allocation_limits(
        world, [Allocation(Bound.FRESH, fresh=500)] * 60, reuse, np.random.default_rng(4)
    )
    assert (fresh[np.argsort(log.p)[-5:]] > 0.97).all()


def test_a_synthetic_log_end_to_end(log_file):
    found = simulate(read_log(log_file), QUICK)
    assert [c.method for c in found.curves] == list(METHODS[:4])
    assert found.baseline.evaluations.tolist() == [60 * (100 + m) for m in range(20, 201, 20)]
    assert (np.diff(found.baseline.acr) > 0).sum() >= 7
    ratios = found.ratios
    assert all(ratio is not None for ratio in ratios.values())
    assert ratios["joint-planned"] > ratios["joint-uniform"] > ratios["irs"] > 0.5
    (row,) = found.screened
    assert row.evaluations == 50 * 48
    assert 0 < row.acr < found.baseline.acr[-1] * 1.2
    plain = found.to_json()
    assert plain["notice"] == NOTICE
    assert "SIMULATION" in NOTICE
    assert len(plain["methods"]) == 5
    stated = {row["method"]: row["alpha"] for row in plain["methods"]}
    assert stated.pop("irs-published") == 0.004  # docs/theory.md, section 3
    assert set(stated.values()) == {0.002}


def test_the_seed_decides_and_methods_do_not_disturb_each_other(log_file):
    log = read_log(log_file)
    study = Study(FlipModel(0.01), 1000, ("irs", "joint-uniform"), (), repetitions=2)
    one, two = simulate(log, study).to_json(), simulate(log, study).to_json()
    assert one == two
    alone = simulate(log, Study(FlipModel(0.01), 1000, ("joint-uniform",), (), repetitions=2))
    assert alone.to_json()["methods"][1] == one["methods"][2]
    other = simulate(log, Study(FlipModel(0.01), 1000, ("irs",), (), repetitions=2, seed=1))
    assert other.to_json()["methods"][0] != one["methods"][0]


def test_the_published_accounting_charges_every_image_and_no_selection(log_file):
    study = Study(
        FlipModel(0.01), 1000, ("irs",), (), accounting="published", gamma=0.95, repetitions=1
    )
    found = simulate(read_log(log_file), study)
    sizes = [60 * m for m in range(10, 101, 10)]
    assert found.baseline.evaluations.tolist() == sizes
    assert found.curves[0].evaluations.tolist() == sizes


def test_on_a_published_log():
    """Where two labels in a hundred change, IRS loses to from scratch and the joint bound wins."""
    folder = Path(__file__).parents[3] / "shared" / "reference" / "cohen2019"
    if not folder.is_dir():
        pytest.skip("the published logs are not here")
    log = read_log(folder / "cifar10_resnet110_sigma_0.50.tsv")
    methods = ("irs-published", "joint-uniform")
    study = Study(FlipModel(0.02), methods=methods, screen=(20,), accounting="published")
    found = simulate(log, study)
    ratios = found.ratios
    assert ratios["irs-published"] < 0.95
    assert 1.1 < ratios["joint-uniform"] < 1.35
    assert log.images == 500
    assert found.screened[0].times > 50
