"""Planned recertification on disk: the plan is stored, the run resumes to it, verify knows it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput, Mismatch, StoreError
from smoothcert.execution.runner import RunOptions, run_certify, run_decide, run_recertify
from smoothcert.execution.screening_tasks import make_screener
from smoothcert.methods import Exact, Irs, Reuse, replay
from smoothcert.methods.screening import Screening
from smoothcert.methods.sequential import Decision
from smoothcert.planning.pilot import pilot_draws
from smoothcert.report.tables import summarize_run
from smoothcert.runs import ledger, pilots
from smoothcert.runs.bases import explore
from smoothcert.runs.plan_file import read_plan
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, evaluate_again, verify
from support.known_truth import PixelSum
from support.run_files import bytes_of

SETTINGS = Settings(0.25, 16, n0=20, n=2000)
SMALL = RunOptions(batch_size=256, block_inputs=7)


@pytest.fixture(scope="module")
def certified(tmp_path_factory, tiny_inputs):
    folder = tmp_path_factory.mktemp("certified") / "base"
    return run_certify(folder, PixelSum(28), tiny_inputs, SETTINGS, SMALL).path


@pytest.fixture
def base(certified, tmp_path):
    """A copy, as every use of a base is entered in it."""
    return Run.open(shutil.copytree(certified, tmp_path / "base"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "joint", "stratified"])
@pytest.mark.parametrize("policy", ["uniform:300", "budget:0.1", "retain:0.8", "radius:0.1"])
def test_a_planned_run(method, policy, base, tmp_path, tiny_inputs):
    reuse = Reuse(policy, method)
    run = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, reuse, SMALL)
    shares = read_plan(run)
    assert [s.evaluations for s in shares] == [c.evaluations for c in run.certificates]
    result = verify(run, base)
    assert (result.certificates, result.problems) == (30, ())
    assert evaluate_again(run, PixelSum(29), tiny_inputs, 0.2).problems == ()
    assert run.identity.method == reuse


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "runner-up", "auto"])
@pytest.mark.parametrize("policy", ["uniform:200", "budget:0.1", "retain:0.8", "radius:0.1"])
def test_the_exact_method_in_memory_and_on_disk(
    policy, form, base, tmp_path, tiny_inputs, pixel_sum
):
    method = Exact(policy, form=form, stages=Exact.usual_stages(policy))
    agree(method, base, tmp_path, tiny_inputs, pixel_sum)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["joint", "stratified"])
def test_in_memory_and_on_disk_agree(method, base, tmp_path, tiny_inputs, pixel_sum):
    agree(Reuse("uniform:200", method), base, tmp_path, tiny_inputs, pixel_sum)


def agree(method, base, tmp_path, tiny_inputs, pixel_sum):
    form = getattr(method, "form", None)
    run = run_recertify(tmp_path / "new", base, PixelSum(29), tiny_inputs, method, SMALL)
    original = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=20, n=2000)
    name = "exact" if isinstance(method, Exact) else method.method
    again = smoothcert.recertify(
        original, PixelSum(29), tiny_inputs, policy=method.policy, method=name, form=form
    )
    assert run.certificates == again.certificates
    assert run.pilot_evaluations == again.pilot_evaluations > 0
    assert summarize_run(run, [0.0]).evaluations == again.evaluations


@pytest.mark.slow
def test_resume_keeps_the_plan(base, tmp_path, tiny_inputs):
    reuse, out = Reuse("budget:0.1"), tmp_path / "new"
    run = run_recertify(out, base, PixelSum(29), tiny_inputs, reuse, SMALL)
    before = bytes_of(out)
    (out / "certificates" / "00002.parquet").unlink()
    run_recertify(out, base, PixelSum(29), tiny_inputs, reuse, replace(SMALL, resume=True))
    assert bytes_of(out) == before
    assert run.missing == ()


def counted_draws(run):
    """By input: the cached draws of its samples."""
    return [
        set(np.flatnonzero(r.votes.roles == replay.SAMPLED).tolist()) for r in run.stored_records
    ]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["joint", "stratified"])
def test_what_a_plan_has_shown_is_not_counted(method, base, tmp_path, tiny_inputs):
    """`plan` shows what a pilot saw; a policy chosen by that counts none of the pilot's draws."""
    new = PixelSum(28)  # flips nothing, so that replaying pays
    asked, few = Reuse("uniform:1800", method), Reuse("uniform:1800", method, pilot=4)
    before = run_recertify(tmp_path / "before", base, new, tiny_inputs, few, SMALL)
    explore(base, new, tiny_inputs, asked, 16)
    (name,) = pilots.shown(base)
    votes = pilots.read_pilot(base, name).votes
    run = run_recertify(tmp_path / "after", base, new, tiny_inputs, few, SMALL)
    positions = votes.positions.tolist()
    seen = {p: set(pilot_draws(base.stored_records[p])[0].tolist()) for p in positions}
    assert len(seen) >= 4
    own = set(pilots.read_pilot(run).votes.positions.tolist())
    assert set(positions) - own, "the plan's pilot looked at other inputs than the run's own"
    counted, unaware = counted_draws(run), counted_draws(before)
    assert not any(seen[p] & counted[p] for p in positions)
    if method == "stratified":  # joint takes fresh draws before its samples reach that far
        assert any(seen[p] & unaware[p] for p in positions), "it would count them otherwise"
    assert pilots.read_pilot(run).shown == (name,)
    assert verify(run, base).problems == ()
    assert verify(base).problems == ()
    assert Unchecked.SHOWN in verify(before, base).unchecked
    assert Unchecked.SHOWN not in verify(run, base).unchecked


def test_what_a_plan_has_shown_is_counted_by_no_other_method(base, tmp_path, tiny_inputs):
    """IRS counts a prefix and a screening the first winners; both end before what was shown."""
    new = PixelSum(29)
    explore(base, new, tiny_inputs, Reuse("uniform:1800"), 16)
    (name,) = pilots.shown(base)
    positions = pilots.read_pilot(base, name).votes.positions.tolist()
    first = min(int(pilot_draws(base.stored_records[p])[0].min()) for p in positions)
    with pytest.raises(InvalidInput, match=f"Ask for at most {first} per input"):
        run_recertify(tmp_path / "a", base, new, tiny_inputs, Irs(first + 1), SMALL)
    found = run_recertify(tmp_path / "a", base, new, tiny_inputs, Irs(first), SMALL)
    assert found.missing == ()
    assert Unchecked.SHOWN in verify(found, base).unchecked
    seen = pilots.seen_of(base)[0]
    left = min(c.k - seen[p] for p, c in enumerate(base.certificates) if seen[p])
    make_screener(base, tiny_inputs, Screening(int(left)), 16)
    with pytest.raises(InvalidInput, match="whose outcome no plan has shown"):
        make_screener(base, tiny_inputs, Screening(int(left) + 1), 16)


@pytest.mark.slow
def test_once_a_plan_was_shown_auto_is_one_family(base, tmp_path, tiny_inputs):
    """Between families nobody may choose by what the cache says, which a plan shows."""
    new, much = PixelSum(29), Reuse("uniform:600")
    before = run_recertify(tmp_path / "before", base, new, tiny_inputs, much, SMALL)
    assert "stratified" in {c.method for c in before.certificates}
    planner = explore(base, new, tiny_inputs, much, 16)
    after = run_recertify(tmp_path / "after", base, new, tiny_inputs, much, SMALL)
    methods = {c.method for c in after.certificates}
    assert methods <= {"joint", "fresh", "nothing"}
    assert {share.bound.value for share in planner.plan("uniform:600").allocations} == methods
    assert verify(after, base).problems == verify(before, base).problems == ()


@pytest.mark.slow
def test_the_ledger_counts_results_and_models(base, tmp_path, tiny_inputs):
    for number, (threshold, draws) in enumerate([(29, 50), (30, 50), (29, 50), (29, 60)]):
        out = tmp_path / f"new{number}"
        reuse = Reuse(f"uniform:{draws}")
        run_recertify(out, base, PixelSum(threshold), tiny_inputs, reuse, SMALL)
    asked = ledger.tries(base)
    assert (asked.results, asked.models, asked.of("pixel-sum-29")) == (3, 2, 2)  # one repeated
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
    assert evaluate_again(run, pixel_sum, tiny_inputs, 0.2).problems == ()
    in_memory = smoothcert.decide(pixel_sum, tiny_inputs, 0.25, 0.1, n0=20, n=2000)
    assert run.certificates == in_memory.certificates


@pytest.mark.slow
def test_margins_and_fresh_seeds_are_kept_and_verified(tmp_path, tiny_inputs, pixel_sum):
    settings = replace(SETTINGS, keep_margins=True)
    base = run_certify(tmp_path / "base", pixel_sum, tiny_inputs, settings, SMALL)
    assert all(len(r.votes.margins) == 2000 for r in base.records(range(30)))
    assert verify(base).problems == ()
    assert evaluate_again(base, pixel_sum, tiny_inputs, 0.1).problems == ()
    near = run_recertify(
        tmp_path / "near", base, PixelSum(29), tiny_inputs, Reuse("uniform:900"), SMALL
    )
    fresh = run_recertify(
        tmp_path / "fresh",
        base,
        PixelSum(29),
        tiny_inputs,
        Reuse("uniform:300", "fresh", fresh_seed=5),
        SMALL,
    )
    for run in (near, fresh):
        assert verify(run, base).problems == ()
        result = evaluate_again(run, PixelSum(29), tiny_inputs, 0.5)
        assert (result.differing, result.problems) == (0, ())
    assert any(share.near_winners for share in read_plan(near))
    with_other = run_recertify(
        tmp_path / "other",
        base,
        PixelSum(29),
        tiny_inputs,
        Reuse("uniform:300", "fresh", fresh_seed=6),
        SMALL,
    )
    assert bytes_of(with_other.path / "votes") != bytes_of(fresh.path / "votes")


def test_a_taken_directory_is_refused_before_the_pilot(base, tmp_path, tiny_inputs):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("...")
    with pytest.raises(StoreError, match="already exists and is not empty"):
        run_recertify(
            tmp_path / "taken", base, Unusable(29), tiny_inputs, Reuse("uniform:50"), SMALL
        )


class Unusable(PixelSum):
    """Answers the load-time probe, and fails at the pilot, which comes after."""

    def logits(self, images):
        assert len(calls) < 40, "the pilot ran"
        calls.append(len(images))
        return super().logits(images)


calls: list[int] = []


@pytest.mark.slow
def test_pilots_that_were_shown_are_named_by_verify_for_the_exact_test(base, tmp_path, tiny_inputs):
    """It sets no draws aside; its own pilot, on selection draws, may be shown to anyone."""
    explore(base, PixelSum(29), tiny_inputs, Exact("uniform:100"), 64)
    unseen = run_recertify(
        tmp_path / "unseen", base, PixelSum(29), tiny_inputs, Exact("uniform:100"), SMALL
    )
    assert Unchecked.SHOWN not in verify(unseen, base).unchecked
    assert not pilots.shown(base)
    explore(base, PixelSum(29), tiny_inputs, Reuse("uniform:100", "joint"), 64)
    seen = run_recertify(
        tmp_path / "seen", base, PixelSum(29), tiny_inputs, Exact("uniform:100"), SMALL
    )
    found = verify(seen, base)
    assert found.problems == ()
    assert Unchecked.SHOWN in found.unchecked
    aside = run_recertify(
        tmp_path / "aside", base, PixelSum(29), tiny_inputs, Reuse("uniform:100", "joint"), SMALL
    )
    assert Unchecked.SHOWN not in verify(aside, base).unchecked
