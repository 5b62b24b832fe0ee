"""Runs in an object store: the bytes of a run in a folder, whatever becomes of the requests."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Damaged, StoreError
from smoothcert.execution.block_tasks import Shard
from smoothcert.execution.processes import Processes
from smoothcert.execution.runner import RunOptions, run_certify, run_decide, run_recertify
from smoothcert.methods import Decision, Irs, Reuse
from smoothcert.runs import ledger
from smoothcert.runs.merging import merge
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from smoothcert.storage import object_store as objects
from smoothcert.storage.opening import open_storage
from support.killable_process import KillableProcesses
from support.known_truth import PixelSum
from support.run_files import bytes_of
from support.worker_faults import LoadPixelSum, thirty_inputs

pytestmark = pytest.mark.slow

SETTINGS = Settings(0.25, 16, n0=20, n=60)
SMALL = RunOptions(batch_size=64, block_inputs=2)
RESUME = replace(SMALL, resume=True)
DATA = Inputs.from_arrays(np.full((5, 1, 2, 2), 0.5), grid=1 / 16)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(objects, "_RETRY_BACKOFF", ())


def certify(out, how=SMALL):
    return run_certify(out, PixelSum(28), DATA, SETTINGS, how)


def stored(run: Run) -> dict[str, bytes]:
    """As `bytes_of`."""
    names = [name for name in run.storage.files() if name.endswith(".parquet")]
    return {name: run.storage.read(name, 10**9) for name in names}


@pytest.fixture
def calm(tmp_path):
    return bytes_of(certify(tmp_path / "calm").path)


@pytest.mark.parametrize(
    "method", [Irs(30), Reuse("budget:0.3"), Decision(0.1)], ids=["irs", "reuse", "decide"]
)
def test_the_bytes_of_a_folder(method, bucket, tmp_path):
    found = []
    for where in (str(tmp_path), bucket.uri(tmp_path.name).partition("?")[0]):
        options = "?" + bucket.uri("").partition("?")[2] if "://" in where else ""
        base = certify(f"{where}/base{options}")
        if isinstance(method, Decision):
            facts = (PixelSum(28), DATA, SETTINGS, method, SMALL)
            new = run_decide(f"{where}/new{options}", *facts)
            assert verify(new).problems == ()
        else:
            new = run_recertify(f"{where}/new{options}", base, PixelSum(29), DATA, method, SMALL)
            assert verify(new, base).problems == ()
            assert ledger.tries(base).models == 1
        assert verify(base).problems == ()
        found.append((stored(base), stored(new), new.certificates))
    assert found[0] == found[1]


def test_every_request_can_be_the_last_that_is_answered(bucket, calm, tmp_path):
    """As with a store that is gone from some moment on, at each such moment."""
    for last in range(1000):
        out = bucket.uri(f"{tmp_path.name}/r{last}")
        bucket.forget()
        # A status that S3's client does not try again: with others it would for seconds each.
        bucket.trouble = lambda number, last=last: 409 if number > last else None
        try:
            certify(out)
            break
        except StoreError as error:
            assert "run again with --resume" in str(error)
        bucket.forget()
        assert stored(certify(out, RESUME)) == calm
        assert verify(Run.open(out)).problems == ()
    assert last > 40


@pytest.mark.parametrize("what", [503, 500, "drop", "cut"])
def test_requests_that_fail_now_and_then(what, bucket, calm, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "_RETRY_BACKOFF", (0.05, 0.1, 0.2))
    failed = []

    def trouble(number):
        reads = bucket.requests[number - 1][0] == "GET"
        if number % 3 == 0 and reads if what == "cut" else number % 5 == 0:
            failed.append(number)
            return what
        return None

    bucket.trouble = trouble
    run = certify(bucket.uri(f"{tmp_path.name}/r"))
    assert len(failed) > 5
    bucket.forget()
    assert stored(run) == calm
    assert verify(run).problems == ()


def test_a_store_that_was_gone_for_a_while(bucket, calm, tmp_path, monkeypatch):
    """Longer than its client waits by itself: that is not tried again here."""
    monkeypatch.setattr(objects, "_RETRY_BACKOFF", (0.05,) * 30)
    bucket.trouble = lambda number: 409 if 20 <= number < 40 else None
    assert stored(certify(bucket.uri(f"{tmp_path.name}/r"))) == calm


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_a_request(before, bucket, tmp_path):
    """The process is killed as the request comes, which may still be carried out."""
    long = {"model": "quick", "inputs": 5}
    with KillableProcesses() as children:
        assert children.run(tmp_path / "calm", **long) == 0
        calm = bytes_of(tmp_path / "calm")
        for at in range(2 if before else 3, 60, 5):
            out, pids = bucket.uri(f"{tmp_path.name}/r{at}"), []
            bucket.forget()

            def kill(number, pids=pids, at=at):
                if number == at:
                    while not pids:
                        pass
                    os.kill(pids[0], signal.SIGKILL)
                    return 500 if before else None
                return None

            bucket.trouble = kill
            err = str(tmp_path / "err")
            pids.append(children.start(out, err=err, **long))
            code = children.wait(pids[0])
            bucket.forget()
            assert children.run(out, err=err, **long) == 0, (tmp_path / "err").read_text()
            run = Run.open(out)
            assert stored(run) == calm
            assert verify(run).problems == ()
            if code == 0:
                break
    assert code == 0
    assert at > 30


def test_two_processes_on_one_prefix(bucket, tmp_path):
    long = {"model": "slow", "inputs": 20, "n": 300}
    with KillableProcesses() as children:
        assert children.run(tmp_path / "calm", **long) == 0
        for attempt in range(3):
            out = bucket.uri(f"{tmp_path.name}/r{attempt}")
            errors = [str(tmp_path / f"err{number}") for number in range(2)]
            both = [children.start(out, err=err, **long) for err in errors]
            assert [children.wait(pid) for pid in both] == [0, 0]
            assert stored(Run.open(out)) == bytes_of(tmp_path / "calm")
            assert verify(Run.open(out)).problems == ()


def test_several_workers(bucket, tmp_path):
    settings, small = Settings(0.25, 16, n0=20, n=200), RunOptions(16, 3)
    calm = run_certify(
        tmp_path / "c", LoadPixelSum(28).classifier(), thirty_inputs(), settings, small
    )
    how = replace(small, executor=Processes(LoadPixelSum(28, fault="none"), 2))
    out = bucket.uri(f"{tmp_path.name}/r")
    run = run_certify(
        out, LoadPixelSum(28, fault="none").classifier(), thirty_inputs(), settings, how
    )
    assert stored(run) == bytes_of(calm.path)


def test_shards_and_merging_between_folders_and_buckets(bucket, calm, tmp_path):
    certify(bucket.uri(f"{tmp_path.name}/a"), replace(SMALL, shard=Shard(1, 2)))
    certify(tmp_path / "b", replace(SMALL, shard=Shard(2, 2)))
    parts = [Run.open(bucket.uri(f"{tmp_path.name}/a")), Run.open(tmp_path / "b")]
    for out in (bucket.uri(f"{tmp_path.name}/m"), tmp_path / "m"):
        merged = merge(parts, out)
        assert stored(merged) == calm
        assert verify(merged).problems == ()


def test_a_damaged_object_is_seen_and_mended(bucket, calm, tmp_path):
    out = bucket.uri(f"{tmp_path.name}/r")
    where, name = certify(out).storage, "votes/00001.parquet"
    data = bytearray(where.read(name, 10**6))
    data[len(data) // 2] ^= 1
    where.write(name, bytes(data))
    assert any("is damaged: its checksum" in p for p in verify(Run.open(out)).problems)
    with pytest.raises(Damaged, match=r"s3://bucket/.*00001\.parquet"):
        Run.open(out).read_block(1)
    where.write("votes/7.parquet", b"x")
    assert any("not part of a run" in p for p in verify(Run.open(out)).problems)
    where.remove("votes/7.parquet")
    assert stored(certify(out, RESUME)) == calm


def test_there_is_no_run(bucket, tmp_path):
    with pytest.raises(StoreError, match="is not a run directory: it has no run.json"):
        Run.open(bucket.uri(f"{tmp_path.name}/none"))
    with pytest.raises(StoreError, match="is not a local directory"):
        _ = certify(bucket.uri(f"{tmp_path.name}/r")).path


def test_another_process_that_created_it_with_other_settings(bucket, tmp_path):
    """It wrote its run.json over this one's, after both had looked."""
    out = bucket.uri(f"{tmp_path.name}/r")

    def overwrite(work, stop):
        where = open_storage(out)
        for name in where.files():
            where.remove(name)
        certify(out, replace(SMALL, batch_size=32))

    with pytest.raises(Exception, match="batch size: 32 stored, 64 now"):
        certify(out, replace(SMALL, executor=overwrite))
