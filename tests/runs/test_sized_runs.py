"""certify with a policy on disk: the same bytes however it is computed, and a checked plan."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.block_tasks import Shard
from smoothcert.execution.runner import RunOptions, execute, run_recertify
from smoothcert.execution.start import RunRequest
from smoothcert.methods import Allocation, Bound, Exact, Irs, Sized
from smoothcert.planning.pilot import PilotVotes
from smoothcert.runs import pilots, plan_file
from smoothcert.runs.merging import merge
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, evaluate_again, verify
from smoothcert.storage.opening import open_storage
from support.known_truth import PixelSum
from support.run_files import bytes_of

SETTINGS = Settings(0.25, 16, n0=20, n=2000)
SMALL = RunOptions(batch_size=16, block_inputs=7)


def certify(out, inputs, policy="retain:0.9", settings=SETTINGS, **how):
    options = replace(SMALL, **how)
    request = RunRequest(open_storage(out), settings, Sized(policy), options=options)
    return execute(request, PixelSum(28), inputs)


@pytest.fixture
def run(tmp_path, tiny_inputs):
    return certify(tmp_path / "run", tiny_inputs)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["budget:0.2", "retain:0.9", "loss:0.03", "radius:0.15"])
def test_in_memory_and_on_disk_agree(policy, tmp_path, tiny_inputs):
    run = certify(tmp_path / "r", tiny_inputs, policy)
    again = smoothcert.certify(PixelSum(28), tiny_inputs, 0.25, n0=20, n=2000, policy=policy)
    assert run.certificates == again.certificates
    assert run.certification().records[3].votes == again.records[3].votes
    assert [a.estimation for a in plan_file.read_plan(run)] == [c.n for c in run.certificates]
    assert verify(run).problems == ()
    assert evaluate_again(run, PixelSum(28), tiny_inputs, 0.1).problems == ()
    assert Run.open(run.storage).identity == run.identity


def test_a_resumed_run_keeps_its_plan(run, tiny_inputs):
    before = bytes_of(run.path)
    (run.path / "certificates" / "00002.parquet").unlink()
    certify(run.path, tiny_inputs, resume=True)
    assert bytes_of(run.path) == before
    with pytest.raises(Mismatch, match=r"retain:0\.9"):
        certify(run.path, tiny_inputs, "retain:0.95", resume=True)


@pytest.mark.slow
def test_shards_in_one_directory_and_in_several(run, tmp_path, tiny_inputs):
    out = tmp_path / "shared"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda i: certify(out, tiny_inputs, shard=Shard(i, 3)), (1, 2, 3)))
    assert bytes_of(out) == bytes_of(run.path)
    parts = [certify(tmp_path / f"p{i}", tiny_inputs, shard=Shard(i, 3)) for i in (1, 2, 3)]
    merged = merge(parts, tmp_path / "merged")
    assert bytes_of(merged.path) == bytes_of(run.path)
    assert verify(merged).problems == ()


def forged(run, allocations):
    """A run whose plan somebody wrote anew, and whose blocks follow it."""
    name, columns = plan_file.NAME, run.identity.method.plan_columns
    run.write(name, plan_file.plan_bytes(allocations, run.identity.indices, columns))
    return Run.open(run.storage)


def test_numbers_chosen_after_seeing_the_votes_are_found_out(run):
    """Prefixes at which the class leads most are true votes, and false certificates."""
    plan, chosen = plan_file.read_plan(run), []
    records = [run.stored_records[i] for i in range(len(plan))]
    for record in records:
        won = record.votes.estimation == record.certificate.candidate
        lead = np.cumsum(np.where(won, 1, -1)) if len(won) else np.zeros(1)
        chosen.append(Allocation(Bound.SCRATCH, estimation=min(len(won), int(lead.argmax()) + 1)))
    new = forged(run, chosen)
    assert any("its plan gives" in problem for problem in verify(new).problems)
    assert any("stored where its plan has" in problem for problem in verify(new).problems)


def test_selection_votes_of_another_plan_are_found_out(run):
    stored = pilots.read_pilot(run).votes
    labels = tuple(np.roll(one, 1) for one in stored.labels)
    other = tuple(1 - one for one in stored.labels)
    for some, said in ((labels, "selection votes of"), (other, "selection votes of")):
        votes = pilots.StoredPilot(PilotVotes(stored.positions, some))
        run.write(pilots.NAME, pilots.pilot_bytes(votes, run.identity.indices))
        assert any(said in problem for problem in verify(Run.open(run.storage)).problems)


def test_a_pilot_of_fewer_inputs_is_found_out(run):
    stored = pilots.read_pilot(run).votes
    fewer = PilotVotes(stored.positions[:5], stored.labels[:5])
    run.write(pilots.NAME, pilots.pilot_bytes(pilots.StoredPilot(fewer), run.identity.indices))
    (problem, *_) = verify(Run.open(run.storage)).problems
    assert "cannot be recomputed" in problem


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["uniform:100", "budget:0.2", "retain:0.8"])
@pytest.mark.parametrize("form", ["binary", "auto"])
def test_recertified_runs_of_it_verify(policy, form, run, tmp_path, tiny_inputs):
    method = Exact(policy, form=form, stages=Exact.usual_stages(policy))
    new = run_recertify(tmp_path / "new", run, PixelSum(29), tiny_inputs, method, SMALL)
    assert verify(new, run).problems == ()
    assert {c.cached_n for c in new.certificates} == {c.n for c in run.certificates}
    again = smoothcert.recertify(
        run.certification(), PixelSum(29), tiny_inputs, policy=policy, form=form
    )
    assert again.certificates == new.certificates
    assert Unchecked.BASE not in verify(new, run).unchecked


def test_irs_is_refused_before_anything_is_written(run, tmp_path, tiny_inputs):
    with pytest.raises(InvalidInput, match="Use the method auto"):
        run_recertify(tmp_path / "new", run, PixelSum(29), tiny_inputs, Irs(50), SMALL)
    assert not (tmp_path / "new").exists()


def test_more_selection_than_estimation_draws(tmp_path, tiny_inputs):
    settings = replace(SETTINGS, n0=300, n=200)
    run = certify(tmp_path / "r", tiny_inputs, "budget:0.8", settings)
    assert verify(run).problems == ()
