"""How far inputs are from their grid, against exact fractions; it comes off every radius."""

from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Damaged, InvalidInput
from smoothcert.execution.runner import RunOptions, run_certify, run_decide, run_recertify
from smoothcert.execution.screening_tasks import make_screener
from smoothcert.methods import Irs, Reuse
from smoothcert.methods import dataset as pooled
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.screening import Pool
from smoothcert.methods.sequential import Decision
from smoothcert.runs.manifest import Manifest, json_form
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.known_truth import PixelSum

GRID, SIGMA = 1 / 16, 0.25
COUNT = 12
PIXELS = np.full((COUNT, 1, 2, 2), 8)
SHIFT = 5e-5  # of each of four values, 0.0008 of a step: the distance is twice that
ON = Inputs.from_arrays(PIXELS / 16, np.ones(COUNT, int), GRID)
OFF = Inputs.from_arrays(PIXELS / 16 - SHIFT, np.ones(COUNT, int), GRID)
ORIGINAL, CHANGED = PixelSum(22), PixelSum(23)


def exact(images, levels: int) -> Decimal:
    """The largest distance of an input from the grid, to 60 digits."""
    squares = []
    for image in images.reshape(len(images), -1):
        values = [Fraction(*value.as_integer_ratio()) for value in image]
        off = [value - Fraction(round(value * levels), levels) for value in values]
        total = sum(o * o for o in off)
        squares.append(Decimal(total.numerator) / Decimal(total.denominator))
    return max(squares).sqrt()


@given(
    st.sampled_from([255, 256, 1023, 2**20 - 1, 7]),
    st.sampled_from([np.float32, np.float64, np.longdouble]),
    st.lists(st.tuples(st.integers(0, 2**20), st.floats(-9e-4, 9e-4)), min_size=1, max_size=12),
)
def test_the_distance_is_never_too_small_and_hardly_too_large(levels, dtype, values):
    steps, off = np.array(values, float).T
    wanted = (np.minimum(steps, levels) + off) / levels
    images = np.clip(wanted, 0, 1).astype(dtype)[None]
    scaled = images.astype(float) * levels
    assume(np.abs(scaled - np.rint(scaled)).max() < 1e-3)  # float32 is coarse for a fine grid
    with localcontext(prec=60):
        truth = exact(images, levels)
    found = Inputs.from_arrays(images, grid=1 / levels).off_grid
    assert found >= truth
    assert found <= float(truth) * 1.02


def test_values_on_the_grid_and_all_8_bit_data_are_at_no_distance(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 6, 5), dtype=np.uint8)
    Image.fromarray(images[0].transpose(1, 2, 0)).save(tmp_path / "a.png")
    for inputs in (
        Inputs.from_arrays(images),
        Inputs.from_arrays(images / 256, grid=1 / 256),
        smoothcert.load_inputs("digits", limit=3),
        smoothcert.load_inputs(str(tmp_path)),
        ON,
    ):
        assert inputs.off_grid == 0.0


def test_float_images_are_at_the_distance_of_their_last_bits(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32))
    single = Inputs.from_arrays((images / 255).astype(np.float32))
    assert 3e-7 < single.off_grid < 1.1e-6
    assert 0 < Inputs.from_arrays(images / 255).off_grid < 1e-14
    assert single.select([1]).off_grid == single.off_grid
    np.savez(tmp_path / "x.npz", x=(images / 255).astype(np.float32))
    loaded = smoothcert.load_inputs(str(tmp_path / "x.npz"), limit=2)
    assert (len(loaded), loaded.off_grid) == (2, single.off_grid)


def test_the_largest_distance_counts_and_is_found_in_every_part(monkeypatch):
    monkeypatch.setattr("smoothcert.data.inputs._AT_ONCE", 8)
    images = PIXELS / 16
    images[7] += SHIFT
    assert Inputs.from_arrays(images, grid=GRID).off_grid == pytest.approx(2 * SHIFT, rel=1e-2)


def test_settings_take_no_distance_that_would_enlarge_radii():
    for wrong in (-1e-9, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="off_grid"):
            Settings(SIGMA, 16, off_grid=wrong)
        with pytest.raises(InvalidInput, match="off_grid"):
            Pool(SIGMA, 0.0, 1, 1, (0,), (90,), (100,), wrong)


def test_a_radius_that_the_distance_uses_up_is_none():
    settings = Settings(SIGMA, 16)
    q = [0.4, 0.5001, 0.9]
    whole = settings.radius(q)
    left = replace(settings, off_grid=1e-3).radius(q)
    assert whole.tolist() == settings.noise.radius(q).tolist()
    assert (left[0], left[1]) == (0, 0)
    assert 0 < whole[1] < 1e-3
    assert left[2] < whole[2] - 1e-3 < left[2] + 1e-15


def radii(result) -> np.ndarray:
    return np.array([c.radius for c in result.certificates])


METHODS = {
    "certify": lambda base, data: smoothcert.certify(CHANGED, data, SIGMA, n0=20, n=300),
    "multiclass": lambda base, data: smoothcert.certify(
        CHANGED, data, SIGMA, n0=20, n=300, form="multiclass"
    ),
    **{
        method: partial(
            lambda method, base, data: smoothcert.recertify(
                base, CHANGED, data, per_input=100, method=method
            ),
            method,
        )
        for method in ("joint", "stratified", "irs")
    },
    "fresh": lambda base, data: smoothcert.recertify(
        base, CHANGED, data, per_input=200, fresh_seed=7
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_it_off(method):
    """Also where the original was certified on the grid points themselves."""
    base = smoothcert.certify(ORIGINAL, ON, SIGMA, n0=20, n=300)
    on, off = (METHODS[method](base, data) for data in (ON, OFF))
    assert [a.votes == b.votes for a, b in zip(on.records, off.records, strict=True)]
    whole, left = radii(on), radii(off)
    certified = whole > 3 * SHIFT
    assert certified.sum() > COUNT / 2
    assert (left[certified] <= whole[certified] - 2 * SHIFT).all()
    assert left[certified] == pytest.approx(whole[certified] - 2 * SHIFT, abs=1e-6)
    assert (on.settings.off_grid, off.settings.off_grid) == (0, OFF.off_grid)


def test_a_decision_needs_the_distance_more():
    """The radius asked for, or that much more at grid points: the same draws decide both."""
    decide = partial(smoothcert.decide, ORIGINAL, sigma=SIGMA, n0=20, n=2000)
    more = Settings(SIGMA, 16, off_grid=OFF.off_grid).from_grid_point(0.1)
    assert more >= 0.1 + 2 * SHIFT
    off, on = decide(OFF, radius=0.1), decide(ON, radius=more)
    assert [r.votes for r in off.records] == [r.votes for r in on.records]
    assert [c.outcome for c in off.certificates] == [c.outcome for c in on.certificates]
    proven = [c for c in off.certificates if c.radius]
    assert proven
    assert {c.radius for c in proven} == {0.1}
    assert all(off.settings.radius(c.q) >= 0.1 for c in proven)


def test_a_dataset_certificate_counts_beyond_the_distance():
    base = smoothcert.certify(ORIGINAL, ON, SIGMA, n0=20, n=1000)
    facts = {"per_input": 100}
    (on,), (off,) = (smoothcert.screen(base, [CHANGED], x, **facts) for x in (ON, OFF))
    grid = np.linspace(0, 0.3, 6001)
    # Where the count falls from one number to the next it does so earlier by the distance.
    assert (off.robust(grid) == on.robust(off.pool.from_grid_points(grid))).all()
    assert (off.robust(grid) < on.robust(grid)).any()
    assert off.pool.off_grid == OFF.off_grid
    assert off.pool.from_grid_points(0.1) >= 0.1 + 2 * SHIFT
    lost = off.pool.eligible * OFF.off_grid / COUNT
    assert on.acr - lost * (1 + 1e-9) < off.acr <= on.acr - lost
    again = DatasetCertificate.from_json(off.to_json())
    assert again == off == pooled.recheck(off)
    assert "off_grid" not in on.to_json()["pool"]  # as files have it that were written before


def test_evidence_at_named_radii_looks_beyond_the_distance():
    base = smoothcert.certify(ORIGINAL, ON, SIGMA, n0=20, n=1000)
    more = float(Pool(SIGMA, 0.0, 1, 1, (), (), (), OFF.off_grid).from_grid_points(0.05))
    (off,) = smoothcert.screen(base, [CHANGED], OFF, per_input=400, radii=(0.05,))
    (on,) = smoothcert.screen(base, [CHANGED], ON, per_input=400, radii=(more,))
    assert off.named[0].robust == on.named[0].robust > 0
    assert (off.named[0].radius, on.named[0].radius) == (0.05, more)


@pytest.mark.slow
def test_runs_keep_the_distance_of_the_inputs_that_they_were_given(tmp_path):
    settings = Settings(SIGMA, 16, n0=20, n=300)
    base = run_certify(tmp_path / "base", ORIGINAL, ON, settings, RunOptions())
    assert "off_grid" not in json_form(base.identity)["settings"]  # so that old hashes stay
    off = run_certify(tmp_path / "off", ORIGINAL, OFF, settings, RunOptions())
    assert off.identity.settings.off_grid == OFF.off_grid
    assert off.identity.data == base.identity.data
    assert off.identity.hash != base.identity.hash
    for name, method in (("irs", Irs(100)), ("planned", Reuse("uniform:100", "joint"))):
        run = run_recertify(tmp_path / name, base, CHANGED, OFF, method, RunOptions())
        assert run.identity.settings.off_grid == OFF.off_grid
        again = run_recertify(tmp_path / f"{name}-on", off, CHANGED, ON, method, RunOptions())
        assert again.identity.settings.off_grid == 0
        whole, left = radii(again), radii(run)
        assert left[whole > 0.01] == pytest.approx(whole[whole > 0.01] - 2 * SHIFT, abs=1e-6)
        assert not verify(run, base).problems
        assert not verify(again, off).problems
    decided = run_decide(tmp_path / "d", ORIGINAL, OFF, settings, Decision(0.05), RunOptions())
    assert decided.identity.settings.off_grid == OFF.off_grid
    assert not verify(decided).problems
    stage = make_screener(base, OFF, pooled.Screening(50), None)
    assert stage.pool.off_grid == OFF.off_grid


def test_a_planned_radius_is_aimed_at_beyond_the_distance():
    """As if the radius asked for were larger by the distance: the same draws are replayed."""
    base = smoothcert.certify(ORIGINAL, ON, SIGMA, n0=20, n=2000)
    far = replace(OFF, off_grid=0.02)
    found = smoothcert.recertify(base, CHANGED, far, policy="radius:0.05", method="joint")
    more = smoothcert.recertify(base, CHANGED, ON, policy="radius:0.07", method="joint")
    less = smoothcert.recertify(base, CHANGED, ON, policy="radius:0.05", method="joint")
    assert found.evaluations == more.evaluations > less.evaluations


def test_a_run_that_states_a_distance_below_nothing_is_refused(tmp_path):
    run = run_certify(tmp_path / "r", ORIGINAL, OFF, Settings(SIGMA, 16, n0=5, n=40), RunOptions())
    identity = run.identity
    for wrong in (-1.0, 2.0**21):
        object.__setattr__(identity.settings, "off_grid", wrong)
        forged = Manifest(identity, run.manifest.origin).to_bytes()
        with pytest.raises(Damaged, match="off_grid"):
            Manifest.from_bytes(forged, "r")
    assert Run.open(tmp_path / "r").identity.settings.off_grid == OFF.off_grid
