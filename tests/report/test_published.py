"""IRS as published is proven at twice alpha, and so it is stated wherever an error is stated."""

import csv
import io
from dataclasses import asdict

import pyarrow.parquet
import pytest

import smoothcert
from smoothcert.bounds.together import wrong_at_most
from smoothcert.certificate import Settings
from smoothcert.cli.run_request import show_run
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Irs
from smoothcert.methods.targets import Target
from smoothcert.report import page, tables
from smoothcert.report.acceptance import judge
from smoothcert.report.curves import of_all
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from smoothcert.watchers.base import Start
from smoothcert.watchers.final import final
from support.known_truth import PixelSum

ALPHA, PROVEN = 0.05, 0.1
METHOD = Irs(40, ALPHA, gamma=0.62, variant="published")
SETTINGS = Settings(0.25, 16, n0=20, n=200, alpha=ALPHA / 2)


@pytest.fixture
def base(tmp_path, tiny_inputs, pixel_sum):
    return run_certify(tmp_path / "base", pixel_sum, tiny_inputs, SETTINGS, RunOptions())


def recertified(path, base, inputs) -> Run:
    return run_recertify(path, base, PixelSum(29), inputs, METHOD, RunOptions())


@pytest.fixture
def run(tmp_path, base, tiny_inputs):
    return recertified(tmp_path / "new", base, tiny_inputs)


def test_certificates_and_tables(run, tmp_path):
    assert {c.method for c in run.certificates} == {"irs", "irs-fresh"}
    assert {c.alpha for c in run.certificates} == {PROVEN}
    table = smoothcert.export(run, tmp_path / "c.parquet")
    assert set(table["alpha"].to_pylist()) == {PROVEN}
    note = pyarrow.parquet.read_schema(tmp_path / "c.parquet").metadata[b"smoothcert"]
    assert f'"alpha": {PROVEN}'.encode() in note
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        smoothcert.export(run, tmp_path / f"c{suffix}")
        text = (tmp_path / f"c{suffix}").read_text()
        lines = csv.DictReader(io.StringIO(text), delimiter=delimiter)
        assert {line["alpha"] for line in lines} == {str(PROVEN)}
    field = csv.DictReader(io.StringIO(tables.tsv(run)), delimiter="\t")
    assert {line["alpha"] for line in field} == {str(PROVEN)}


def test_page_card_target_and_curve(run, tmp_path):
    inputs, wrong = len(run.certificates), wrong_at_most(30, PROVEN, PROVEN)
    assert wrong > wrong_at_most(30, ALPHA, ALPHA)
    together = f"with probability 1 − 0.1, at most {wrong} of the {inputs} certificates are wrong"
    page.report([run], tmp_path / "out", [0.0])
    shown = (tmp_path / "out" / "index.html").read_text()
    assert "σ = 0.25, α = 0.1 per input" in shown
    assert together in shown
    assert "α = 0.1" in (tmp_path / "out" / "certified_accuracy.svg").read_text()
    card = smoothcert.model_card([run])
    assert "α = 0.1 per input" in card
    assert together in card
    said = judge(run, Target(0.0, 0.5)).text
    assert "Each certificate is wrong with probability at most 0.1 on its own" in said
    assert together in said
    curve = of_all(run)[1]
    assert (curve.beta, curve.wrong) == (PROVEN, wrong)


def test_json_summaries_and_loggers(run, capsys):
    summary = tables.summarize_run(run, [0.0])
    assert summary.alpha == PROVEN
    assert final(summary)["final/alpha"] == PROVEN
    assert Start("a", "b", 1, SETTINGS, METHOD).facts["proven_alpha"] == PROVEN
    show_run(run, as_json=True)
    assert f'"alpha": {PROVEN}' in capsys.readouterr().out


def stored_before(self, cached, fresh):
    """The budget as it was stored before it was the one that is proven."""
    if fresh:
        return (("fresh", self.alpha),)
    return (("cache", self.alpha_cache), ("disparity", self.alpha_flips))


def test_runs_that_store_alpha_are_verified_and_show_what_is_proven(
    run, tmp_path, base, tiny_inputs, monkeypatch
):
    with monkeypatch.context() as before:
        before.setattr(Irs, "budget", stored_before)
        old = recertified(tmp_path / "old", base, tiny_inputs)
        assert {c.alpha for c in old.certificates} == {ALPHA}
    old = Run.open(tmp_path / "old")
    stored = [
        budget
        for file in sorted((tmp_path / "old" / "certificates").iterdir())
        for budget in pyarrow.parquet.read_table(file)["budget"].to_pylist()
    ]
    assert '{"fresh": 0.05}' in stored
    assert old.certificates == run.certificates
    assert verify(old, base).problems == ()
    assert asdict(tables.summarize_run(old, [0.0]))["alpha"] == PROVEN


def test_a_stored_budget_that_no_version_wrote_is_a_problem(
    tmp_path, base, tiny_inputs, monkeypatch
):
    with monkeypatch.context() as forged:
        forged.setattr(Irs, "budget", lambda self, cached, fresh: (("cache", 0.001),))
        recertified(tmp_path / "forged", base, tiny_inputs)
    assert len(verify(Run.open(tmp_path / "forged"), base).problems) == 30
