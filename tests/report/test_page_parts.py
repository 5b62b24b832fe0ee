"""What the page is made of: packed rows, axes, spending, pictures."""

import base64
import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smoothcert.api import sanity
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.execution.runner import RunOptions, run_certify, run_decide, run_recertify
from smoothcert.methods import Exact, Irs, Reuse
from smoothcert.report import spending
from smoothcert.report.axes import Axis
from smoothcert.report.comparison import pairs
from smoothcert.report.curves import per_input
from smoothcert.report.html import fitting
from smoothcert.report.page import report
from smoothcert.report.rows import COLUMNS, even, pack, rows
from smoothcert.report.tables import summarize_run
from smoothcert.report.thumbnails import SIDE, Sheet, sheet
from smoothcert.summary import correct_radii
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=300)


@pytest.fixture(scope="module")
def data() -> Inputs:
    images = np.random.default_rng(0).integers(4, 13, (60, 1, 2, 2)) / 16
    return Inputs.from_arrays(images, np.ones(60, int), 1 / 16)


@pytest.fixture(scope="module")
def base(data, tmp_path_factory):
    return run_certify(
        tmp_path_factory.mktemp("b") / "base", PixelSum(28), data, SETTINGS, RunOptions()
    )


@pytest.fixture(scope="module")
def changed(data, base, tmp_path_factory):
    """A run by every method that reuses."""
    folder = tmp_path_factory.mktemp("c")
    methods = {
        "irs": Irs(100),
        "joint": Reuse("uniform:50", "joint"),
        "stratified": Reuse("uniform:100", "stratified"),
        "fresh": Reuse("uniform:100", "fresh", fresh_seed=3),
    }
    return {
        name: run_recertify(folder / name, base, PixelSum(29), data, method, RunOptions())
        for name, method in methods.items()
    }


def unpack(packed: str, columns: int) -> np.ndarray:
    """What `pack` packed, as page.js puts it together."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)
    values = planes.reshape(columns, 8, -1).transpose(0, 2, 1)
    return np.ascontiguousarray(values).view("<u8")[..., 0].astype(np.int64) - 1


@given(st.lists(st.tuples(*[st.integers(-1, 2**53)] * 3), min_size=1, max_size=20))
def test_packed_columns_come_back(lines):
    columns = np.array(lines, np.int64).T
    assert (unpack(pack(columns), 3) == columns).all()


@pytest.mark.slow
def test_rows_hold_limits_cut_to_the_safe_side(base, changed):
    for run in (base, *changed.values()):
        found = rows(run, {})
        values = dict(zip(COLUMNS, unpack(found.facts["packed"], len(COLUMNS)), strict=True))
        for number, c in enumerate(run.certificates):
            assert 0 <= c.radius - values["radius"][number] / 1e6 < 1.0001e-6
            assert 0 <= c.q - values["q"][number] / 1e6 < 1.0001e-6
            assert 0 <= values["zeta"][number] / 1e6 - c.zeta < 1.0001e-6
            case = found.cases[values["case"][number]]
            assert case["argument"] == c.argument


@given(st.integers(1, 500), st.integers(0, 600))
def test_even_positions(count, most):
    found = even(count, most)
    assert len(found) == min(count, max(1, most))
    assert found[0] == 0
    assert sorted(set(found)) == list(found)
    assert found[-1] < count


@pytest.mark.slow
def test_rows_that_do_not_fit_are_thinned_out(base, changed):
    found = [rows(base, {}), rows(changed["irs"], {})]
    assert [r.count for r in fitting(found, 10**6)] == [60, 60]
    some = fitting(found, 3600)
    assert 1 < some[0].count < 60
    assert some[0].columns[0].tolist() == list(even(60, some[0].count))
    assert [r.count for r in fitting(found, 10)] == [1, 1]


@pytest.mark.slow
def test_what_was_spent_adds_up(base, changed, data, tmp_path):
    from smoothcert.methods import Decision

    decided = run_decide(tmp_path / "d", PixelSum(28), data, SETTINGS, Decision(0.1), RunOptions())
    for run in (base, decided, *changed.values()):
        parts = spending.parts(run)
        assert sum(parts.values()) == summarize_run(run, (0.0,)).evaluations
        bins = spending.by_share(run.certificates)
        assert sum(b.inputs for b in bins) == 60
        assert sum(b.evaluations for b in bins) + run.pilot_evaluations == sum(parts.values())
        assert sum(b.flips for b in bins) == sum(c.flips for c in run.certificates)
    assert spending.parts(base) == {"selection": 60 * 20, "estimation": 60 * 300}
    assert "pilot" in spending.parts(changed["joint"])
    assert set(spending.parts(changed["fresh"])) <= {"fresh", "pilot"}


@pytest.mark.slow
def test_bins_hold_the_shares_they_name(changed):
    run = changed["irs"]
    for b in spending.by_share(run.certificates):
        inside = [c for c in run.certificates if b.low <= c.cached_k / c.cached_n < b.high]
        if b.high < 1:
            assert len(inside) == b.inputs
        replayed = [c for c in inside if c.method == "irs" and c.n]
        assert (b.zeta is None) == (not replayed)


def test_a_changed_model_is_paired_with_its_original(base, changed):
    runs = [base, changed["irs"]]
    summaries = [summarize_run(run, (0.0,)) for run in runs]
    (pair,) = pairs(runs, summaries)
    assert (pair.original, pair.run, pair.base, pair.changed) == (*runs, *summaries)
    assert pairs(runs[1:], summaries[1:]) == ()


def test_a_curve_is_never_above_the_certificates(base):
    curve = per_input(base)
    radii = correct_radii(base.certificates, base.labels)
    for x, y in zip(curve.x, curve.y, strict=True):
        assert y == (radii >= x).mean()


@given(st.floats(1e-3, 1e3), st.floats(1.01, 1e4), st.booleans())
def test_ticks_are_round_and_inside(low, ratio, log):
    axis = Axis("x", low, low * ratio, 0, 100, log)
    places = [place for place, _ in axis.ticks]
    assert all(-0.01 <= place <= 100.01 for place in places)
    assert places == sorted(places)
    assert len(places) <= 15


def test_pictures_are_of_the_content_that_was_certified(data):
    wanted = [(i, data.item(i).content) for i in (3, 1, 2)]
    found = sheet([*wanted, (4, "0" * 16), (99, "f" * 16)], [data], 10**6)
    assert list(found.places) == [content for _, content in wanted]
    image = Image.open(io.BytesIO(base64.b64decode(found.uri.partition(",")[2])))
    tile = np.asarray(image.convert("L"))[:SIDE, SIDE : 2 * SIDE].astype(int)
    pixels = data.item(1).pixels[0] * 255 / 16
    assert np.abs(tile[::SIDE, ::SIDE] - pixels[:1, :1]).max() < 40  # JPEG
    assert np.abs(tile[4, 4] - pixels[0, 0]) < 40
    assert np.abs(tile[-4, -4] - pixels[1, 1]) < 40


def test_pictures_that_do_not_fit_are_left_out():
    images = np.random.default_rng(1).integers(0, 256, (64, 3, 40, 50)).astype(np.uint8)
    data = Inputs.from_arrays(images)
    wanted = [(i, data.item(i).content) for i in range(64)]
    whole = sheet(wanted, [data], 10**6)
    some = sheet(wanted, [data], len(whole.uri) // 2)
    assert len(whole.places) == 64
    assert list(some.places) == [content for _, content in wanted][: len(some.places)]
    assert 0 < len(some.places) < 64
    assert len(some.uri) <= len(whole.uri) // 2 * 4 / 3 + 100  # base64
    assert sheet(wanted, [data], 10) == Sheet()


def test_tensors_have_no_pictures(data):
    flat = replace(data, shape=(4,), read=lambda index: data.read(index).reshape(4))
    assert sheet([(0, flat.item(0).content)], [flat], 10**6) == Sheet()


@pytest.mark.slow
@pytest.mark.parametrize("method", [Reuse("uniform:20", "joint"), Exact("uniform:20", form="auto")])
@pytest.mark.parametrize("form", ["auto", "binary"])
def test_certificates_with_and_without_runner_ups_are_not_compared_in_silence(
    form, method, data, tmp_path
):
    """The changed model's radii are smaller for that alone: said by the command and on the page."""
    settings = replace(SETTINGS, form=form)
    base = run_certify(tmp_path / "base", PixelSum(28), data, settings)
    new = run_recertify(tmp_path / "new", base, PixelSum(28), data, method)
    report([base, new], tmp_path / "page", [0.0])
    said = "certificates bound" in (tmp_path / "page" / "index.html").read_text()
    hints = sanity.of_settings(settings, 0.002, method.form_of(settings))
    hinted = any("runner-ups are bounded" in hint for hint in hints)
    assert said == hinted == (form == "auto" and method.form_of(settings) == "binary")
