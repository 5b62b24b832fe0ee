"""Shards of one run, in one directory or several, and merging: the same bytes as without."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from smoothcert.certificate import Settings
from smoothcert.errors import Damaged, InvalidInput, Mismatch, StoreError
from smoothcert.execution.block_tasks import Shard
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Reuse
from smoothcert.runs import ledger
from smoothcert.runs.merging import merge
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from smoothcert.tries import Try
from support.known_truth import PixelSum
from support.run_files import bytes_of

SETTINGS = Settings(0.25, 16, n0=20, n=200)
SMALL = RunOptions(batch_size=16, block_inputs=4)
TRY = Try("recertify", "0" * 32, "joint", 0, "0123456789abcdef")


def certify(out, inputs, shard=None, **how):
    how = replace(SMALL, **how)
    how = replace(how, shard=Shard(*shard)) if shard else how
    return run_certify(out, PixelSum(28), inputs, SETTINGS, how)


@pytest.fixture
def calm(tmp_path, tiny_inputs):
    return certify(tmp_path / "calm", tiny_inputs)


@pytest.fixture
def parts(tmp_path, tiny_inputs):
    return [certify(tmp_path / f"part{i}", tiny_inputs, (i, 3)) for i in (1, 2, 3)]


def test_shards_share_a_directory(calm, tmp_path, tiny_inputs):
    out = tmp_path / "r"
    with ThreadPoolExecutor(3) as pool:  # at once, so that all of them find no run
        list(pool.map(lambda i: certify(out, tiny_inputs, (i, 3)), (1, 2, 3)))
    assert bytes_of(out) == bytes_of(calm.path)
    assert verify(Run.open(out)).problems == ()
    assert not list(out.rglob("*.tmp"))


def test_a_shard_does_its_blocks_only(parts):
    assert Shard.parse("2/3") == Shard(2, 3)
    assert [part.finished for part in parts] == [(0, 3, 6), (1, 4, 7), (2, 5)]


def test_merged_parts_are_the_run(calm, parts, tmp_path):
    merged = merge(parts, tmp_path / "merged")
    assert bytes_of(merged.path) == bytes_of(calm.path)
    assert verify(merged).problems == ()
    assert len(merged.block_seconds) == 8
    assert not list(tmp_path.glob(".merged*"))


@pytest.mark.slow
def test_planned_shards(calm, tmp_path, tiny_inputs):
    def recertify(out, shard=None):
        how = replace(SMALL, shard=Shard(*shard)) if shard else SMALL
        method = Reuse("budget:0.5")
        return run_recertify(tmp_path / out, calm, PixelSum(29), tiny_inputs, method, how)

    whole = recertify("whole")
    merged = merge([recertify(f"p{i}", (i, 2)) for i in (1, 2)], tmp_path / "merged")
    assert bytes_of(merged.path) == bytes_of(whole.path)
    assert ledger.tries(calm).results == 1


def test_what_no_part_has_stays_missing(calm, parts, tmp_path, tiny_inputs):
    merged = merge(parts[:2], tmp_path / "merged")
    assert merged.missing == (2, 5)
    certify(merged.path, tiny_inputs, resume=True)
    assert bytes_of(merged.path) == bytes_of(calm.path)


def test_parts_may_overlap(calm, parts, tmp_path):
    ledger.enter(parts[0], TRY, "f", "somewhere")
    copy = tmp_path / "copy"
    shutil.copytree(parts[0].path, copy)
    merged = merge([calm, *parts, Run.open(copy)], tmp_path / "merged")
    assert bytes_of(merged.path) == bytes_of(calm.path)
    assert len(ledger.entries(merged)) == 1


def test_a_part_that_differs_in_a_block(calm, parts, tmp_path):
    records = list(parts[0].read_block(0))
    votes = records[0].votes
    records[0] = replace(records[0], votes=replace(votes, selection=votes.selection[::-1]))
    (parts[0].path / "certificates" / "00000.parquet").unlink()
    parts[0].write_block(0, records, 1.0)
    with pytest.raises(Mismatch, match="are of one run, but differ in block 0"):
        merge([calm, parts[0]], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_parts_of_different_runs(calm, tmp_path, tiny_inputs):
    other = run_certify(tmp_path / "o", PixelSum(29), tiny_inputs, SETTINGS, SMALL)
    with pytest.raises(Mismatch, match="made with another model"):
        merge([calm, other], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("name", ["votes/00004.parquet", "inputs.parquet", "ledger"])
def test_a_damaged_part(name, calm, parts, tmp_path):
    if name == "ledger":
        ledger.enter(parts[1], TRY, "f", "somewhere")
        name = ledger.names(parts[1])[0]
    file = parts[1].path / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(Damaged, match=file.name):
        merge([Run.open(part.path) for part in parts], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".merged*"))


def test_where_something_is_nothing_is_written(calm, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes").write_text("keep")
    with pytest.raises(StoreError, match="already exists"):
        merge([calm], tmp_path / "there")
    (tmp_path / "empty").mkdir()
    assert merge([calm], tmp_path / "empty").missing == ()
    with pytest.raises(InvalidInput, match="nothing to merge"):
        merge([], tmp_path / "none")


def test_an_attached_file_comes_along(tmp_path, tiny_inputs):
    parts = [
        certify(tmp_path / f"a{i}", tiny_inputs, (i, 2), files={"twin.onnx": b"a network"})
        for i in (1, 2)
    ]
    merged = merge(parts, tmp_path / "merged")
    assert (merged.path / "twin.onnx").read_bytes() == b"a network"
    assert verify(merged).problems == ()
    (parts[0].path / "twin.onnx").write_bytes(b"another")
    with pytest.raises(Damaged, match=r"twin\.onnx is missing or damaged"):
        merge(parts, tmp_path / "again")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_shards_that_there_are_not(text):
    with pytest.raises(InvalidInput, match="A shard must be I/N"):
        Shard.parse(text)


def test_of_two_that_start_a_run_at_once_one_chooses(tmp_path, tiny_inputs, monkeypatch):
    """The second has begun with another batch size when it finds the run there."""
    out, real = tmp_path / "r", Run.create

    def create(*arguments):
        monkeypatch.setattr(Run, "create", real)
        certify(out, tiny_inputs, (2, 2))
        return real(*arguments)

    monkeypatch.setattr(Run, "create", create)
    monkeypatch.setattr("smoothcert.sampling.prepare.first_size", lambda *_: 8)
    run = certify(out, tiny_inputs, (1, 2), batch_size=None)
    assert run.identity.batch_size == 16
    assert run.missing == ()
