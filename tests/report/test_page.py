"""The report folder."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from known_truth import PixelSum
from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput
from smoothcert.methods import Irs
from smoothcert.report.page import report
from smoothcert.runs.runner import How, run_certify, run_recertify

SETTINGS = Settings(0.25, 16, n0=20, n=300)


@pytest.fixture
def runs(tmp_path, tiny_inputs, pixel_sum):
    base = run_certify(tmp_path / "base", pixel_sum, tiny_inputs, SETTINGS, How())
    new = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, Irs(100), How())
    return base, new


def test_everything_is_written(runs, tmp_path):
    summaries = report(runs, tmp_path / "out", (0.0, 0.1))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("index.html", "certified_accuracy.png", "certificates.csv", "base.tsv", "new.tsv")
    }
    assert [s.name for s in summaries] == ["base", "new"]
    png = (tmp_path / "out" / "certified_accuracy.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    page = (tmp_path / "out" / "index.html").read_text()
    assert base64.b64encode(png).decode() in page


def test_the_page_is_self_contained_and_well_formed(runs, tmp_path):
    report(runs, tmp_path / "out", (0.0, 0.1))
    page = (tmp_path / "out" / "index.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    open_tags = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Check().feed(page)
    assert open_tags == []
    assert page.count("<tr") == 1 + 2 + 2 * (1 + 30)


def test_the_page_says_how_many_models_a_cache_has_served(runs, tmp_path, tiny_inputs):
    base, _ = runs
    report([base], tmp_path / "one", (0.0,))
    assert "changed models" not in (tmp_path / "one" / "index.html").read_text()
    run_recertify(tmp_path / "more", base, PixelSum(30), tiny_inputs, Irs(50), How())
    report([base], tmp_path / "two", (0.0,))
    assert "has served 2 changed models" in (tmp_path / "two" / "index.html").read_text()


def test_names_are_escaped(tmp_path, tiny_inputs, pixel_sum):
    run = run_certify(tmp_path / "<b>&x", pixel_sum, tiny_inputs, SETTINGS, How())
    report([run], tmp_path / "out", (0.0,))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;x" in page


def test_unlabelled_runs_have_no_tsv(tmp_path, tiny_inputs, pixel_sum):
    run = run_certify(tmp_path / "r", pixel_sum, replace(tiny_inputs, labels=None), SETTINGS, How())
    report([run], tmp_path / "out", (0.0,))
    assert not (tmp_path / "out" / "r.tsv").exists()


def test_two_runs_of_one_name(runs, tmp_path):
    with pytest.raises(InvalidInput, match="in directories of different names; got"):
        report([runs[0], runs[0]], tmp_path / "out", (0.0,))
    with pytest.raises(InvalidInput, match="A report needs one run or more"):
        report([], tmp_path / "out", (0.0,))
