"""extend on disk: a run of its own that keeps the votes, checked against the run it extends."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.block_tasks import Shard
from smoothcert.execution.runner import RunOptions, execute, run_certify, run_recertify
from smoothcert.execution.start import RunRequest
from smoothcert.methods import Exact, Extended, Sized, Stored, method_of
from smoothcert.runs.merging import merge
from smoothcert.runs.store import Run
from smoothcert.runs.verify import evaluate_again, verify
from smoothcert.storage.opening import open_storage
from support.known_truth import PixelSum
from support.run_files import bytes_of

pytestmark = pytest.mark.slow

SETTINGS = Settings(0.25, 16, n0=20, n=400)
SMALL = RunOptions(batch_size=16, block_inputs=7)


def extend(out, base, inputs, n=2000, model=None, **how):
    old = base.identity
    method = Extended.to(n, old.settings, old.method)
    options = replace(SMALL, **how)
    settings = method.extended(old.settings)
    request = RunRequest(open_storage(out), settings, method, base, options)
    return execute(request, model or PixelSum(28), inputs)


@pytest.fixture
def base(tmp_path, tiny_inputs):
    return run_certify(tmp_path / "base", PixelSum(28), tiny_inputs, SETTINGS, SMALL)


@pytest.fixture
def run(tmp_path, base, tiny_inputs):
    return extend(tmp_path / "run", base, tiny_inputs)


def test_in_memory_and_on_disk_agree(run, base, tiny_inputs):
    memory = smoothcert.extend(base, PixelSum(28), tiny_inputs, 2000)
    assert run.certificates == memory.certificates
    assert run.certification().records[3].votes == memory.records[3].votes
    assert verify(run, base).problems == ()
    assert verify(run).problems == ()
    assert evaluate_again(run, PixelSum(28), tiny_inputs, 0.1).problems == ()
    assert Run.open(run.storage).identity == run.identity
    assert run.identity.batch_size == base.identity.batch_size


def test_by_plan_and_twice(tmp_path, tiny_inputs):
    options = replace(SMALL, block_inputs=9)
    method = Sized("retain:0.9")
    base = run_certify(tmp_path / "b", PixelSum(28), tiny_inputs, SETTINGS, options, method)
    once = extend(tmp_path / "once", base, tiny_inputs)
    twice = extend(tmp_path / "twice", once, tiny_inputs, 4000)
    assert twice.identity.method == Extended(10, 5)
    for new, old in ((once, base), (twice, once)):
        assert verify(new, old).problems == ()
    assert [c.n for c in twice.certificates] == [10 * c.n for c in base.certificates]


def test_it_resumes_to_the_same_bytes_and_in_shards(run, base, tmp_path, tiny_inputs):
    before = bytes_of(run.path)
    (run.path / "certificates" / "00002.parquet").unlink()
    extend(run.path, base, tiny_inputs, resume=True)
    assert bytes_of(run.path) == before
    parts = [extend(tmp_path / f"p{i}", base, tiny_inputs, shard=Shard(i, 2)) for i in (1, 2)]
    whole = merge(parts, tmp_path / "merged")
    assert whole.certificates == run.certificates
    with pytest.raises(Mismatch, match="other settings"):
        extend(run.path, base, tiny_inputs, 4000, resume=True)


def test_whoever_resumes_with_more_draws_is_told_how(base, tiny_inputs):
    resumed = replace(SMALL, resume=True)
    for settings, told in ((replace(SETTINGS, n=800), True), (replace(SETTINGS, n=300), False)):
        with pytest.raises(Mismatch) as error:
            run_certify(base.path, PixelSum(28), tiny_inputs, settings, resumed)
        assert ("smoothcert extend adds draws" in str(error.value)) == told


def test_the_first_run_stays_as_it_is(base, tmp_path, tiny_inputs):
    before = bytes_of(base.path)
    extend(tmp_path / "run", base, tiny_inputs)
    assert {k: v for k, v in bytes_of(base.path).items() if "ledger" not in k} == before
    assert verify(base).problems == ()


def with_votes(run, out, change):
    """A copy of a run whose first block has other votes, and certificates that they prove."""
    shutil.copytree(run.path, out)
    copy = Run.open(out)
    records = list(copy.read_block(0))
    record = records[0]
    votes = replace(record.votes, estimation=change(record.votes.estimation))
    identity = copy.identity
    facts = (identity.settings, identity.shape, identity.num_classes)
    method = method_of(identity.method)
    forged = replace(record, votes=votes)
    records[0] = replace(forged, certificate=method.recheck(Stored(forged, *facts)))
    for folder in ("certificates", "votes", "events"):
        (out / folder / f"00000.{'json' if folder == 'events' else 'parquet'}").unlink()
    copy.write_block(0, records, 0.0)
    return Run.open(out)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: np.concatenate([1 - e[:1], e[1:]]), "its first draws are not those of the run"),
        (lambda e: e[:1000], "1000 estimation draws are stored where 400 were extended"),
        (lambda e: e[:-1], "are not 5 times those of a first run"),
    ],
)
def test_verify_finds_other_draws(change, said, run, base, tmp_path):
    forged = with_votes(run, tmp_path / "forged", change)
    assert any(said in problem for problem in verify(forged, base).problems)


def test_verify_finds_a_recertification_that_spends_all(run, tmp_path, tiny_inputs):
    method = Exact("uniform:100", share=0.25)
    good = run_recertify(tmp_path / "good", run, PixelSum(29), tiny_inputs, method, SMALL)
    assert verify(good, run).problems == ()
    with pytest.raises(InvalidInput, match=r"leaves 0\.25 of alpha"):
        greedy = replace(method, share=1.0)
        run_recertify(tmp_path / "bad", run, PixelSum(29), tiny_inputs, greedy, SMALL)
    forged = replace(good.manifest, identity=replace(good.identity, method=greedy))
    text = "it cannot be made from the base run: The base leaves 0.25 of alpha"
    assert any(text in problem for problem in verify(Run(good.storage, forged), run).problems)


def test_what_an_extension_needs_of_its_base(base, tmp_path, tiny_inputs):
    with pytest.raises(Mismatch, match="made with another model"):
        extend(tmp_path / "m", base, tiny_inputs, model=PixelSum(29))
    with pytest.raises(Mismatch, match=r"made with another (noise, )?batch size"):
        extend(tmp_path / "b", base, tiny_inputs, batch_size=8)
    method = Extended(5)
    request = RunRequest(open_storage(tmp_path / "s"), SETTINGS, method, base, SMALL)
    with pytest.raises(Mismatch, match="made with another settings"):
        execute(request, PixelSum(28), tiny_inputs)
    assert not (tmp_path / "m").exists()
