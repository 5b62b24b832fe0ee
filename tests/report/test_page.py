"""The report folder."""

import base64
import csv
import re
import shutil
from dataclasses import replace
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from smoothcert import screen
from smoothcert.bounds.together import wrong_at_most
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Irs
from smoothcert.report import html
from smoothcert.report.citations import citations
from smoothcert.report.claims import CLAIM
from smoothcert.report.curves import of_all, per_input
from smoothcert.report.page import report
from smoothcert.runs.store import Run
from smoothcert.text import floor_to
from smoothcert.vocabulary import RESULTS
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=300)


@pytest.fixture
def runs(tmp_path, tiny_inputs, pixel_sum):
    base = run_certify(tmp_path / "base", pixel_sum, tiny_inputs, SETTINGS, RunOptions())
    new = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, Irs(100), RunOptions())
    return base, new


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two runs, what `report` returned, and its folder, to be looked at."""
    folder = tmp_path_factory.mktemp("written")
    images = np.full((30, 1, 2, 2), 8 / 16)
    data = Inputs.from_arrays(images, np.ones(30, int), 1 / 16)
    base = run_certify(folder / "base", PixelSum(28), data, SETTINGS, RunOptions())
    new = run_recertify(folder / "new", base, PixelSum(29), data, Irs(100), RunOptions())
    return (base, new), report([base, new], folder / "out", (0.0, 0.1)), folder / "out"


def page_of(written) -> str:
    return (written[2] / "index.html").read_text()


VOID = ("line", "path", "circle", "use")  # of SVG, closed in their own tag

FIGURES = {
    f"{n}.{kind}" for n in ("certified_accuracy", "acr_evaluations") for kind in ("png", "svg")
}


@pytest.mark.slow
def test_everything_is_written(written):
    _, summaries, out = written
    names = {path.name for path in out.iterdir()}
    assert names == {*FIGURES, "index.html", "certificates.csv", "base.tsv", "new.tsv"}
    assert [s.name for s in summaries] == ["base", "new"]
    png = (out / "certified_accuracy.png").read_bytes()
    assert png.startswith(b"\x89PNG")


@pytest.mark.slow
def test_equal_runs_give_equal_bytes(written, tmp_path):
    """The vector figures too, which would otherwise hold the time and random names."""
    runs, _, out = written
    report(runs, tmp_path / "two", (0.0, 0.1))
    for file in out.iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_the_vector_figure_has_its_text_as_text(written):
    figure = (written[2] / "certified_accuracy.svg").read_text()
    for text in ("base (σ = 0.25)", "new (σ = 0.25)", "certified accuracy", "ℓ₂ radius"):
        assert f">{text}</text>" in figure


def test_the_page_is_self_contained_and_well_formed(written):
    page = page_of(written)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert not re.search(r"https?://|url\((?!data:)", page)
    open_tags = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in (*VOID, "meta", "img", "br", "input"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            if tag not in VOID:
                assert open_tags.pop() == tag

    Check().feed(page)
    assert open_tags == []


def test_only_its_own_script_may_run(written):
    """The policy names the script by its hash."""
    page = page_of(written)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashed = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'\"" in page


def test_every_fragment_that_is_linked_is_there(written):
    page = page_of(written)
    for name in re.findall(r'href="#([\w-]+)"', page):
        assert f'id="{name}"' in page


def test_what_the_page_says_of_all_inputs_together(written):
    page = page_of(written)
    for run, alpha in zip(written[0], (0.001, 0.002), strict=True):
        curve, together = of_all(run)
        assert together.wrong == wrong_at_most(30, alpha, alpha) == 1
        assert f"with probability 1 − {alpha:g}, at most 1 of the 30 certificates is wrong" in page
        assert f"<td>1 (1 − {alpha:g})</td><td>{floor_to(together.acr, 4)}</td>" in page
        # One certificate less than are there, at every radius.
        alone = per_input(run)
        assert curve.y[0] == pytest.approx(alone.y[0] - 1 / 30)
    words = " ".join(page.split())
    assert "all 2 statements hold at once with probability at least 1 − 0.003, by the" in words


def test_the_page_states_the_claim(written):
    assert CLAIM in unescape(page_of(written))


def test_candidates_and_their_verdicts(runs, tmp_path, tiny_inputs):
    models = [PixelSum(28), PixelSum(33)]
    base = runs[0].certification()
    found = screen(base, models, tiny_inputs, per_input=100, accept="ca@0.01>=0.2")
    assert [c.verdict.name for c in found] == ["ACCEPTED", "UNREACHABLE"]
    report(runs, tmp_path / "out", (0.05,), found)
    page = (tmp_path / "out" / "index.html").read_text()
    assert '<span class="verdict accepted">accepted</span>' in page
    assert '<span class="verdict unreachable">not accepted (unreachable)</span>' in page
    assert "CA@0.01 ≥ 0.2" in page


@pytest.mark.slow
def test_a_page_of_many_runs_stays_small(runs, tmp_path):
    copies = []
    for number in range(50):
        shutil.copytree(runs[0].path, tmp_path / f"run-{number:02}")
        copies.append(Run.open(tmp_path / f"run-{number:02}"))
    report(copies, tmp_path / "out", (0.0, 0.1))
    page = (tmp_path / "out" / "index.html").read_bytes()
    assert 100_000 < len(page) < 1_000_000
    assert page.count(b'<path class="area') == 2 * 50


@pytest.mark.slow
def test_a_page_that_would_be_too_large_has_fewer_rows(runs, tmp_path, monkeypatch):
    report(runs, tmp_path / "whole", (0.0,))
    whole = (tmp_path / "whole" / "index.html").stat().st_size
    monkeypatch.setattr(html, "MOST_BYTES", whole - 300)
    report(runs, tmp_path / "some", (0.0,))
    page = (tmp_path / "some" / "index.html").read_text()
    assert len(page.encode()) < whole - 300
    assert "of 30 inputs, evenly chosen" in page


@pytest.mark.slow
def test_citations_are_of_what_was_used(runs, tmp_path):
    report(runs[:1], tmp_path / "one", (0.0,))
    one = (tmp_path / "one" / "index.html").read_text()
    assert "cohen2019certified" in one
    assert "ugare2024incremental" not in one
    report(runs, tmp_path / "two", (0.0,))
    assert "ugare2024incremental" in (tmp_path / "two" / "index.html").read_text()


def test_every_method_is_cited():
    """A method whose theorem is none of the first two needs a source of its own."""
    usual = citations(["rs"])
    for name, result in RESULTS.items():
        assert (citations([name]) == usual) == (result.section == 2)


@pytest.mark.slow
def test_the_page_says_how_often_a_cache_was_asked(runs, tmp_path, tiny_inputs):
    base, _ = runs
    report([base], tmp_path / "one", (0.0,))
    once = (tmp_path / "one" / "index.html").read_text()
    assert "has given 1 result for 1 model." in once
    assert "is chosen among several" not in once
    run_recertify(tmp_path / "more", base, PixelSum(30), tiny_inputs, Irs(50), RunOptions())
    report([base], tmp_path / "two", (0.0,))
    twice = (tmp_path / "two" / "index.html").read_text()
    assert "has given 2 results for 2 models. A result that is chosen among several" in twice


def test_names_are_escaped(tmp_path, tiny_inputs, pixel_sum):
    run = run_certify(tmp_path / "<b>&x", pixel_sum, tiny_inputs, SETTINGS, RunOptions())
    report([run], tmp_path / "out", (0.0,))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;x" in page
    assert "\\u003cb\\u003e\\u0026x" in page


def test_unlabelled_runs_have_no_tsv(tmp_path, tiny_inputs, pixel_sum):
    run = run_certify(
        tmp_path / "r", pixel_sum, replace(tiny_inputs, labels=None), SETTINGS, RunOptions()
    )
    report([run], tmp_path / "out", (0.0,))
    assert not (tmp_path / "out" / "r.tsv").exists()


def test_two_runs_of_one_name(runs, tmp_path):
    with pytest.raises(InvalidInput, match="in directories with different names; got"):
        report([runs[0], runs[0]], tmp_path / "out", (0.0,))
    with pytest.raises(InvalidInput, match="A report needs one or more runs"):
        report([], tmp_path / "out", (0.0,))


@pytest.mark.slow
def test_csv_names_the_classes_where_the_data_does(runs, tmp_path, tiny_inputs):
    named = replace(tiny_inputs, classes=("cat", "=dog"))
    report(runs, tmp_path / "named", (0.0,), pictures=[named])
    table = (tmp_path / "named" / "certificates.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    names = {-1: "", 0: "cat", 1: "'=dog"}
    assert {row["label_name"] for row in rows} == {"'=dog"}
    assert all(row["predicted_name"] == names[int(row["predicted"])] for row in rows)
    report(runs, tmp_path / "plain", (0.0,))
    assert "_name" not in (tmp_path / "plain" / "certificates.csv").read_text()


def test_the_vector_figure_has_the_pages_colours_and_bands_and_no_dashes(written):
    figure = (written[2] / "certified_accuracy.svg").read_text()
    style = page_of(written)
    for number in (0, 1):
        (colour,) = set(re.findall(rf"--s{number}: (#\w+)", style)) & {"#111", "#0060b0"}
        long = f"#{colour[1:] * 2}" if len(colour) == 4 else colour
        assert f"stroke: {long}" in figure, colour
        areas = figure.split("FillBetweenPolyCollection_")[1:]
        assert any(f"fill: {long}" in area.split("</g>")[0] for area in areas), colour
    assert "stroke-dasharray" not in figure.split('id="legend_1"')[0]
    assert "all inputs together" not in figure


def test_figures_leave_screened_models_out_unless_there_is_nothing_else():
    from smoothcert.report.axes import Line
    from smoothcert.report.plots import _shown

    run, screened = (Line(k, 0, False, "", (0.0,), (1.0,), k) for k in ("alone", "screened"))
    assert _shown([run, screened]) == [run]
    assert _shown([screened]) == [screened]
