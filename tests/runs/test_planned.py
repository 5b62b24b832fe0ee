"""Planned recertification on disk: the plan is stored, the run resumes to it, verify knows it."""

from dataclasses import replace

import pytest
from test_runner import bytes_of

import smoothcert
from known_truth import PixelSum
from smoothcert.certificate import Settings
from smoothcert.errors import Mismatch
from smoothcert.methods import Reuse
from smoothcert.methods.sequential import Decision
from smoothcert.report.tables import summarize_run
from smoothcert.runs import ledger
from smoothcert.runs.plans import read_plan
from smoothcert.runs.runner import How, run_certify, run_decide, run_recertify
from smoothcert.runs.store import Run
from smoothcert.runs.verify import replay, verify

SETTINGS = Settings(0.25, 16, n0=20, n=2000)
SMALL = How(batch_size=16, block_inputs=7)


@pytest.fixture
def base(tmp_path, tiny_inputs, pixel_sum):
    return run_certify(tmp_path / "base", pixel_sum, tiny_inputs, SETTINGS, SMALL)


@pytest.mark.parametrize("method", ["auto", "joint", "stratified"])
@pytest.mark.parametrize("policy", ["uniform:300", "budget:0.1", "retain:0.8", "radius:0.1"])
def test_a_planned_run(method, policy, base, tmp_path, tiny_inputs):
    reuse = Reuse(policy, method)
    run = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, reuse, SMALL)
    shares = read_plan(run.path)
    assert [s.evaluations for s in shares] == [c.evaluations for c in run.certificates]
    result = verify(run, base)
    assert (result.certificates, result.problems) == (30, ())
    assert replay(run, PixelSum(29), tiny_inputs, 0.2).problems == ()
    assert run.identity.method == reuse


def test_in_memory_and_on_disk_agree(base, tmp_path, tiny_inputs, pixel_sum):
    run = run_recertify(
        tmp_path / "new", base, PixelSum(29), tiny_inputs, Reuse("uniform:200"), SMALL
    )
    original = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=2000)
    again = smoothcert.recertify(original, PixelSum(29), tiny_inputs, per_input=200)
    assert run.certificates == again.certificates
    assert run.pilot_evaluations == again.pilot_evaluations > 0
    assert summarize_run(run, [0.0]).evaluations == again.evaluations


def test_resume_keeps_the_plan(base, tmp_path, tiny_inputs):
    reuse, out = Reuse("budget:0.1"), tmp_path / "new"
    run = run_recertify(out, base, PixelSum(29), tiny_inputs, reuse, SMALL)
    before = bytes_of(out)
    (out / "certificates" / "00002.parquet").unlink()
    run_recertify(out, base, PixelSum(29), tiny_inputs, reuse, replace(SMALL, resume=True))
    assert bytes_of(out) == before
    assert run.missing == ()


def test_the_ledger_counts_models(base, tmp_path, tiny_inputs):
    for number, threshold in enumerate((29, 30, 29)):
        out = tmp_path / f"new{number}"
        reuse = Reuse("uniform:50")
        run_recertify(out, base, PixelSum(threshold), tiny_inputs, reuse, SMALL)
    assert len(ledger.entries(base.path)) == 3
    assert ledger.models_served(base.path) == 2
    assert base.identity.hash == Run.open(base.path).identity.hash


def test_only_a_fixed_n_from_scratch_is_a_base(base, tmp_path, tiny_inputs, pixel_sum):
    new = run_recertify(
        tmp_path / "new", base, PixelSum(29), tiny_inputs, Reuse("uniform:50"), SMALL
    )
    decided = run_decide(
        tmp_path / "decided", pixel_sum, tiny_inputs, SETTINGS, Decision(0.1), SMALL
    )
    for other in (new, decided):
        with pytest.raises(Mismatch, match="only a certification from scratch leaves votes"):
            run_recertify(
                tmp_path / "x", other, PixelSum(30), tiny_inputs, Reuse("uniform:5"), SMALL
            )


def test_decided_runs_verify_and_replay(tmp_path, tiny_inputs, pixel_sum):
    run = run_decide(tmp_path / "d", pixel_sum, tiny_inputs, SETTINGS, Decision(0.1), SMALL)
    assert verify(run).problems == ()
    assert replay(run, pixel_sum, tiny_inputs, 0.2).problems == ()
    in_memory = smoothcert.decide(pixel_sum, tiny_inputs, 0.25, 0.1, n0=20, n=2000)
    assert run.certificates == in_memory.certificates
