"""What the experiments look up is what the real functions evaluate; the accountings by hand."""

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
from collected_votes import Fresh, LookUp, Planner, Recorded, cut, incremental
from methods_compared import Comparison, Plan, Points, curve, interval, ratio

import smoothcert
from smoothcert.methods.irs import Irs
from smoothcert.noise.law import Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample
from support.known_truth import PixelSum

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
N, SIGMA, BATCH = 1000, 0.25, 64
OLD, NEW = PixelSum(28), PixelSum(29)


@pytest.fixture(scope="module")
def images():
    """Two dozen inputs from undecided to certain."""
    values = np.linspace(5, 15, 24).round().astype(int)
    return smoothcert.Inputs.from_arrays(
        np.broadcast_to(values[:, None, None, None], (24, 1, 2, 2)) / 16, grid=1 / 16
    )


def certified(classifier, images, n=N):
    return smoothcert.certify(classifier, images, SIGMA, n0=20, n=n, batch_size=BATCH)


@pytest.fixture(scope="module")
def base(images):
    return certified(OLD, images)


@pytest.fixture(scope="module")
def lookup(images):
    new = certified(NEW, images)
    requests = [Request(item, Stream.FRESH, range(N)) for item in images]
    noise, seed = new.settings.noise, new.settings.seed
    labels = sample(NEW, requests, noise, seed, BATCH)
    fresh: Fresh = dict(zip(images.indices, labels, strict=True))
    return LookUp({r.certificate.index: r.votes for r in new.records}, fresh)


@pytest.mark.parametrize("variant", ["published", "budget-exact"])
def test_irs_looked_up_is_irs(base, lookup, images, variant):
    for m in (10, 300):
        real = smoothcert.recertify(
            base, NEW, images, per_input=m, method="irs", variant=variant, batch_size=BATCH
        )
        found = incremental(base, lookup, Irs(m, variant=variant))
        assert found == real.records
        assert {c.method for c in real.certificates} == {"irs", "irs-fresh"}
        assert sum(c.flips for c in real.certificates) > 0 or m == 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "policies"),
    [
        ("joint", ["uniform:50", "budget:0.02", "budget:0.2", "retain:0.5"]),
        ("stratified", ["budget:0.2"]),
        ("exact", ["uniform:50", "budget:0.02", "retain:0.5"]),
    ],
)
def test_a_plan_looked_up_is_the_plan(base, lookup, images, method, policies):
    planner, kinds = Planner(base, lookup, 0.002), set()
    for policy in policies:
        real = smoothcert.recertify(
            base, NEW, images, policy=policy, method=method, batch_size=BATCH
        )
        records, pilot = planner.recertify(policy, method)
        assert records == real.records
        assert pilot == real.pilot_evaluations
        kinds |= {c.method for c in real.certificates}
    assert {"nothing", method} <= kinds
    assert "fresh" in kinds or method != "joint"
    assert len(planner.known) <= 2  # policies of one size have a pilot in common


def test_the_first_draws_are_a_smaller_certification(base, images):
    assert cut(base, 200).records == certified(OLD, images, 200).records
    assert cut(base, 200).settings == certified(OLD, images, 200).settings
    assert cut(base, N) is base


def test_fresh_draws_that_are_not_there_are_refused(base, lookup):
    irs = Irs(300, variant="published")
    whole = incremental(base, lookup, irs)
    fresh = [r.certificate.index for r in whole if r.certificate.method == "irs-fresh"]
    few = {index: lookup.fresh[index][:300] for index in fresh}
    assert incremental(base, LookUp(lookup.votes, few), irs) == whole
    few[fresh[-1]] = few[fresh[-1]][:299]
    for there, found in (
        (few, f"image {fresh[-1]} needs 300 fresh draws, and 299 were"),
        ({}, "0"),
    ):
        with pytest.raises(LookupError, match=found):
            incremental(base, LookUp(lookup.votes, there), irs)


def comparison(images, base, lookup, plan):
    new = certified(NEW, images)
    classes = np.array([r.certificate.candidate for r in new.records])
    classes[::5] = 1 - classes[::5]
    return Comparison(base, Recorded(new, classes, lookup.fresh, "new"), lookup, plan)


@pytest.fixture(scope="module")
def plan():
    settings = tomllib.loads((EXPERIMENTS / "tables.toml").read_text())
    return Plan(**settings)


def test_a_dataset_certificate_looked_up_is_that_of_screen(images, base, lookup, plan):
    there = comparison(images, base, lookup, plan)
    labels = tuple(there.new.classes.tolist())
    (real,) = smoothcert.screen(
        base, [NEW], dataclasses.replace(images, labels=labels), per_input=50, batch_size=BATCH
    )
    found = there.screened(50)
    assert sum(real.flips[0]) > 0
    assert found == dataclasses.replace(real, name=found.name)


def test_from_scratch_is_a_certification_with_so_many_draws(images, base, lookup, plan):
    there = comparison(images, base, lookup, plan)
    found = there.from_scratch([50, 400])
    for m, radius in zip([50, 400], found.radius, strict=True):
        real = smoothcert.certify(NEW, images, SIGMA, n0=20, n=m, alpha=0.002).certificates
        right = np.array([c.predicted for c in real]) == there.new.classes
        assert radius.tolist() == np.where(right, [c.radius for c in real], 0).tolist()
    assert found.extra.tolist() == [24 * 20] * 2
    assert (found.draws == [[50], [400]]).all()
    theirs = there.from_scratch([50, 400], authors=True)
    kept = 24 - there.wrong.sum()
    assert 0 < kept < 24
    assert theirs.extra.tolist() == [kept, 4 * kept]  # a class from one draw, or from four
    real = smoothcert.certify(NEW, images, SIGMA, n0=4, n=400, alpha=0.002).certificates
    right = np.array([c.predicted for c in real]) == there.new.classes
    assert theirs.radius[1].tolist() == np.where(right, [c.radius for c in real], 0).tolist()


def points(radius, draws, extra):
    sizes = np.arange(1, len(radius) + 1, dtype=float)
    return Points(sizes, np.array(radius, float), np.array(draws), np.array(extra))


def test_accountings_by_hand():
    base = points([[1, 0, 3], [2, 0, 4]], [[10] * 3, [20] * 3], [6, 6])
    one = curve(base)
    assert one.evaluations.tolist() == [36, 66]
    assert one.acr == pytest.approx([4 / 3, 2])
    assert curve(base.free_of_extra()).evaluations.tolist() == [30, 60]
    assert curve(base, radius=2.0).acr == pytest.approx([1 / 3, 2 / 3])
    skipping = curve(base.free_of_extra().skipping(np.array([False, True, True])))
    assert skipping.evaluations.tolist() == [10, 20]
    assert skipping.acr == pytest.approx([1 / 3, 2 / 3])
    cheap = points([[1, 0, 3], [2, 0, 4]], [[5] * 3, [10] * 3], [0, 0])
    assert ratio(base.free_of_extra(), cheap) == pytest.approx(2)
    assert ratio(base, cheap) == pytest.approx(51 / 22.5)
    doubled = curve(base.of(np.array([0, 1, 2, 0, 1, 2])))
    assert doubled.evaluations.tolist() == [72, 132]
    assert doubled.acr == pytest.approx(one.acr)
    # Resampled images change both alike: here every image costs the same, so nothing moves.
    assert interval(base, cheap, 20) == pytest.approx((51 / 22.5, 51 / 22.5))


def test_equal_costs_count_once_with_the_larger_radius():
    twice = points([[1, 0], [3, 0], [2, 0]], [[5, 5], [5, 5], [9, 9]], [0, 0, 0])
    assert curve(twice).evaluations.tolist() == [10, 18]
    assert curve(twice).acr.tolist() == [1.5, 1]
