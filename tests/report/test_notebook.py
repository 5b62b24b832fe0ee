"""What a REPL, a notebook and matplotlib show of a result."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

import smoothcert
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.report.plots import add_curve
from smoothcert.watchers import bars
from support import linear
from support.known_truth import PixelSum


@pytest.fixture(scope="module")
def result():
    return smoothcert.certify(
        linear.good(), smoothcert.load_inputs("digits", limit=20), 0.25, n=500
    )


def test_nothing_prints_votes_or_many_lines(result, tmp_path):
    run = result.save(tmp_path / "run")
    shown = [result, run, run.certification(), smoothcert.load(run), *result.records[:1]]
    shown += [result.records[0].votes, smoothcert.load_inputs("digits"), run.stored_records]
    shown += [
        smoothcert.load_inputs("digits").item(0),
        run.identity,
        result.summary(),
        result.tries,
    ]
    shown += [smoothcert.check(linear.good(), "digits", 0.25)]
    for one in shown:
        text = repr(one)
        assert len(text) < 1500 and "\n" not in text, text
        assert "array(" not in text and "object at 0x" not in text, text
    assert "good: " in repr(result) and "20 inputs" in repr(result)
    assert "0.25, n = 500; 12,000 evaluations" in repr(result)
    assert repr(result.records[0].votes) == "Votes(selection: 100, estimation: 500)"


def parsed(html):
    """The HTML, which is XML here, as an element."""
    return ElementTree.fromstring(html)


def test_a_notebook_shows_a_table_and_the_curve(result):
    shown = result._repr_html_()
    cells = [cell.text for cell in parsed(shown).iter("td")]
    assert cells[:3] == ["good", "20", str(result.summary().certified)]
    assert cells[-1] == "12,000"
    assert "20 inputs of digits (test): certified from scratch with 100 selection and" in shown
    assert "500 estimation draws, at σ = 0.25, α = 0.001." in shown
    assert "section 2" in shown and "1 − α" in shown
    assert "http://" not in shown.replace("http://www.w3.org/2000/svg", "") and "https" not in shown
    svg = next(parsed(shown).iter("{http://www.w3.org/2000/svg}svg"))
    assert svg.get("aria-label") == "Certified accuracy of good"
    assert len(shown) < 10_000


def test_a_recertified_result_shows_its_own_cost_and_says_what_its_alpha_is(result):
    digits = smoothcert.load_inputs("digits", limit=20)
    changed = smoothcert.recertify(
        result, linear.of(0.99 * linear.WEIGHTS, "changed"), digits, per_input=100
    )
    assert "n = 500" not in repr(changed)
    shown = changed._repr_html_()
    cells = [cell.text for cell in parsed(shown).iter("td")]
    assert cells[-1] == f"{changed.evaluations:,}" and "500" not in cells
    assert "from an original with 100 selection and 500 estimation draws" in shown
    assert "α is 0.002 for each certificate, on cached and new draws together" in shown
    assert "0.001 is for its own" in shown


def test_a_hostile_name_stays_text(result):
    evil = replace(result, model='<script>alert(1)</script>"&\x1b[31m')
    shown = evil._repr_html_()
    assert "<script>" not in shown and "\x1b" not in shown
    assert parsed(shown).find(".//td").text.startswith("<script>alert(1)")
    assert "\x1b" not in repr(evil)


def test_results_without_certificates_or_labels_are_shown(tiny_inputs):
    none = smoothcert.certify(PixelSum(32), tiny_inputs, 0.25, n0=5, n=5)
    assert none.summary().certified == 0
    assert parsed(none._repr_html_()) is not None
    plain = smoothcert.certify(PixelSum(28), replace(tiny_inputs, labels=None), 0.25, n=100)
    shown = plain._repr_html_()
    assert "share certified" in shown and "accuracy<" not in shown and "no labels" in shown
    assert plain.plot().get_ylabel() == "share certified"
    with pytest.raises(InvalidInput, match="has no labels"):
        plain.accept("ca@0.1>=0.1")


def test_labels_need_not_be_given_again(result):
    labels = smoothcert.load_inputs("digits", limit=20).labels
    assert result.summary().acr == smoothcert.summarize(result.certificates, labels).acr
    assert smoothcert.summarize(result) == smoothcert.summarize(result.certificates, labels)
    assert result.to_pandas()["label"].tolist() == list(labels)
    right = sum(
        c.predicted == y and c.radius >= 0.3
        for c, y in zip(result.certificates, labels, strict=True)
    )
    assert result.accept(f"ca@0.3>={right / 20}")
    refused = result.accept(f"ca@0.3>={(right + 1) / 20}")
    assert not refused and f"{right} of 20 inputs" in refused.text


def test_pandas_is_named_where_it_is_missing(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"'pandas'.*pip install 'smoothcert\[data\]'"):
        result.to_pandas()


def test_curves_share_axes(result):
    axes = result.plot(label="one")
    assert result.plot(axes, label="two") is axes
    first, second = axes.get_lines()
    assert first.get_color() != second.get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    x, y = first.get_xdata(), first.get_ydata()
    radii = smoothcert.summarize(result, radii=x[:-1].tolist()).accuracy
    assert np.allclose(y[:-1], [share for _, share in radii], atol=1e-6)
    assert add_curve(result, axes, None) is axes


def test_a_bar_in_a_notebook(monkeypatch):
    """By the protocol of IPython: display() gives a handle that is updated."""
    drawn, handle = [], SimpleNamespace(update=lambda html: drawn.append(html))
    display = ModuleType("IPython.display")
    display.HTML, display.display = str, lambda html, display_id: handle
    shell = ModuleType("IPython")
    shell.get_ipython = lambda: SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    inputs = Inputs.from_arrays(np.full((3, 1, 2, 2), 0.5), None, 1 / 16)
    smoothcert.certify(PixelSum(28), inputs, 0.25, n0=5, n=50, progress=True)
    assert "0 of 165 evaluations" in drawn[0] and "165 of 165 evaluations" in drawn[-1]
    assert "<progress" in drawn[0]
    drawn.clear()
    base = smoothcert.certify(PixelSum(28), inputs, 0.25, n0=5, n=50)
    assert drawn == []
    smoothcert.recertify(base, PixelSum(29), inputs, per_input=20, progress=True)
    assert drawn[0].startswith("Pilot <progress") and drawn[-1].startswith("Certifying")
    counted, counts = [], smoothcert.certify(PixelSum(28), inputs, 0.25, n=100)
    changed = smoothcert.recertify(
        counts, PixelSum(29), inputs, per_input=20, progress=counted.append
    )
    assert changed.pilot_evaluations > 0 and sum(counted) == changed.evaluations


def test_true_draws_nothing_where_nobody_sees_it_move(capsys):
    with bars.shown(True, "Certifying", 10) as tick:
        assert tick is None
    assert capsys.readouterr() == ("", "")
    with bars.shown(len, "Certifying", 10) as tick:
        assert tick is len
