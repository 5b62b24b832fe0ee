"""One changed bit anywhere in a run directory is seen, by verify and by what reads the file."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Damaged, StoreError
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Reuse
from smoothcert.runs import ledger, pilots
from smoothcert.runs import sealed as seal
from smoothcert.runs.plan_file import read_plan
from smoothcert.runs.sealed import table_bytes
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.known_truth import PixelSum
from support.run_files import bytes_of, edit

SETTINGS = Settings(0.25, 16, n0=20, n=60, keep_margins=True)
SMALL = RunOptions(batch_size=16, block_inputs=2)
DATA = Inputs.from_arrays(np.full((3, 1, 2, 2), 0.5), [1, 0, 1], grid=1 / 16)
JOINT = Reuse("uniform:30", "joint")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A base run with an entry in its ledger, and a planned one."""
    folder = tmp_path_factory.mktemp("pristine")
    base = run_certify(folder / "base", PixelSum(28), DATA, SETTINGS, SMALL)
    run_recertify(folder / "new", base, PixelSum(29), DATA, JOINT, SMALL)
    return folder


@pytest.fixture(params=["base", "new"])
def run(request, pristine, tmp_path):
    shutil.copytree(pristine / request.param, tmp_path / request.param)
    return Run.open(tmp_path / request.param)


def files_of(run: Run) -> list[Path]:
    return sorted(path for path in run.path.rglob("*") if path.is_file())


def found(path: Path) -> tuple[str, ...]:
    """What `smoothcert verify` says."""
    try:
        return verify(Run.open(path)).problems
    except StoreError as error:
        return (str(error),)


def use(path: Path, file: Path) -> None:
    """Read a run as one does who needs what that file holds."""
    run, name = Run.open(path), file.relative_to(path).as_posix()
    if name == "inputs.parquet":
        assert run.labels
        assert run.contents
    elif name == "plan.parquet":
        read_plan(run)
    elif name == pilots.NAME or pilots.is_shown(name):
        pilots.read_pilot(run, name)
    elif name.startswith("ledger"):
        ledger.tries(run)
    elif name.startswith("events"):
        assert run.seconds > 0
    elif name.startswith("certificates"):
        run.read_certificates(int(file.stem))
    elif name.startswith("votes"):
        run.read_block(int(file.stem))


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.slow
def test_nothing_flipped_nothing_found(run):
    assert found(run.path) == ()
    for file in files_of(run):
        use(run.path, file)
    kinds = {file.relative_to(run.path).parts[0] for file in files_of(run)}
    own = {"ledger"} if run.name == "base" else {"plan.parquet", "pilot.parquet"}
    assert kinds == {"run.json", "inputs.parquet", "votes", "events", "certificates"} | own


@pytest.mark.slow
def test_one_flipped_bit_anywhere_is_seen(run):
    """Random positions over all bytes, and some in every file; by verify and by a read."""
    rng = random.Random(run.name)
    files = files_of(run)
    sizes = [file.stat().st_size for file in files]
    chosen = rng.choices(files, sizes, k=200) + files * 8
    for file in chosen:
        data = file.read_bytes()
        bit = rng.randrange(8 * len(data))
        file.write_bytes(flip(data, bit))
        assert found(run.path), (file, bit)
        with pytest.raises(StoreError):
            use(run.path, file)
        file.write_bytes(data)
    assert found(run.path) == ()


@pytest.mark.slow
def test_every_byte_of_the_manifest_and_the_small_files(run):
    rng = random.Random(1)
    small = [file for file in files_of(run) if file.suffix == ".json"]
    assert len(small) >= 3
    for file in small:
        data = file.read_bytes()
        for byte in range(len(data)):
            file.write_bytes(flip(data, 8 * byte + rng.randrange(8)))
            with pytest.raises(StoreError):
                use(run.path, file)
        file.write_bytes(data)
    assert found(run.path) == ()


@pytest.mark.slow
def test_without_the_checksum_the_same_flips_are_missed(run, monkeypatch):
    """The tests above can fail: a bit that only the checksum sees goes unseen without it."""
    file = run.path / "votes" / "00000.parquet"
    position = file.read_bytes().rindex(b"parquet-cpp")
    file.write_bytes(flip(file.read_bytes(), 8 * position))
    assert found(run.path)
    monkeypatch.setattr(seal, "is_sealed", lambda data, name: True)
    assert found(run.path) == ()


@pytest.mark.slow
def test_a_cut_or_longer_file_is_seen(run):
    rng = random.Random(2)
    for file in files_of(run):
        data = file.read_bytes()
        for keep in (0, 1, len(data) - 1, *(rng.randrange(len(data)) for _ in range(5))):
            file.write_bytes(data[:keep])
            assert found(run.path), (file, keep)
            with pytest.raises(StoreError):
                use(run.path, file)
        file.write_bytes(data + b"\n")
        assert found(run.path), file
        file.write_bytes(data)
    assert found(run.path) == ()


@pytest.mark.slow
def test_a_changed_file_name_is_seen(run):
    """One flipped bit in the name of a file or folder, where a file system would take it."""
    rng = random.Random(3)
    for path in sorted(run.path.rglob("*")):
        for _ in range(6):
            raw = flip(path.name.encode(), rng.randrange(8 * len(path.name)))
            if b"/" in raw or b"\0" in raw or not raw.isascii():
                continue
            other = path.with_name(raw.decode())
            path.rename(other)
            if not path.exists():  # a file system may ignore case
                timing_only = path.name == "events"
                assert found(run.path) or timing_only, other
            other.rename(path)
    assert found(run.path) == ()


@pytest.mark.slow
def test_a_missing_file_is_seen(run):
    for file in files_of(run):
        if file.parent.name in ("events", "ledger"):
            continue  # timings are no evidence; that an entry was never made cannot be known
        data = file.read_bytes()
        file.unlink()
        assert found(run.path), file
        with pytest.raises(StoreError):
            use(run.path, file)
        file.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["votes", "certificates", "events"])
def test_one_block_over_another_is_seen(run, folder):
    first, second = sorted((run.path / folder).iterdir())
    shutil.copy(first, second)
    assert found(run.path)
    with pytest.raises(Damaged, match="renamed or taken from another run"):
        use(run.path, second)


def test_a_block_of_another_run_is_seen(pristine, tmp_path):
    """All three files of a block, from a run that differs in nothing but the seed."""
    other = Settings(0.25, 16, n0=20, n=60, keep_margins=True, seed=1)
    run = run_certify(tmp_path / "other", PixelSum(28), DATA, other, SMALL)
    for name in ("votes/00001.parquet", "certificates/00001.parquet", "events/00001.json"):
        shutil.copy(pristine / "base" / name, run.path / name)
    assert len(found(run.path)) == 2
    with pytest.raises(Damaged, match="taken from another run"):
        run.read_certificates(1)


def test_votes_and_certificates_of_two_workers_are_told_apart(run):
    """On a device that is not exact to the bit, two workers on one block may not agree."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.ParquetFile(run.path / "votes" / "00000.parquet").read()
    swapped = table.slice(0, 1).set_column(2, "estimation", table.slice(1, 1)["estimation"])
    run.write("votes/00000.parquet", table_bytes(pa.concat_tables([swapped, table.slice(1)])))
    with pytest.raises(Damaged, match="block 0 of .* do not match"):
        run.read_block(0)
    assert run.drop_damaged() == (0,)
    assert run.missing == (0,)


def test_rows_of_other_inputs_are_refused_however_well_sealed(run):
    from pyarrow import parquet

    for folder in ("votes", "certificates"):
        name = f"{folder}/00000.parquet"
        data = (run.path / name).read_bytes()
        file = parquet.ParquetFile(run.path / name)
        notes = {k.decode(): v.decode() for k, v in file.metadata.metadata.items() if k == b"votes"}
        run.write(name, table_bytes(file.read().take([1, 0]), notes))
        with pytest.raises(Damaged):
            run.read_block(0)
        (run.path / name).write_bytes(data)
    with pytest.raises(Damaged, match="is not in this format: it holds other inputs"):
        file = parquet.ParquetFile(run.path / name)
        run.write(name, table_bytes(file.read().take([1, 0]), notes))
        run.read_block(0)


def test_a_stray_file_is_named_and_a_half_written_one_is_not(run):
    (run.path / "votes" / ".00000.parquet.1234abcd.tmp").write_bytes(b"half")
    assert found(run.path) == ()
    (run.path / "votes" / "00009.parquet").write_bytes(b"")
    (problem,) = found(run.path)
    assert problem.endswith("votes/00009.parquet is not part of a run; it was renamed or added")


def test_resume_redoes_damaged_blocks_and_nothing_else(pristine, tmp_path):
    out = tmp_path / "base"
    shutil.copytree(pristine / "base", out)
    before = bytes_of(out)
    votes, event = out / "votes" / "00001.parquet", out / "events" / "00000.json"
    votes.write_bytes(flip(votes.read_bytes(), 999))
    event.write_bytes(event.read_bytes()[:9])
    done = []
    how = RunOptions(batch_size=16, block_inputs=2, resume=True, progress=done.append)
    run_certify(out, PixelSum(28), DATA, SETTINGS, how)
    assert sum(done) == 80  # the one input of block 1
    assert bytes_of(out) == before
    assert found(out) == ()


@pytest.mark.parametrize("name", ["inputs.parquet", "plan.parquet", "pilot.parquet"])
def test_resume_refuses_what_cannot_be_redone(pristine, tmp_path, name):
    out = tmp_path / "new"
    shutil.copytree(pristine / "new", out)
    (out / "votes" / "00000.parquet").unlink()
    (out / name).write_bytes((out / name).read_bytes()[:-1])
    how = RunOptions(batch_size=16, block_inputs=2, resume=True)
    base = Run.open(pristine / "base")
    with pytest.raises(Damaged, match=f"{name} is damaged.*Restore it from a copy"):
        run_recertify(out, base, PixelSum(29), DATA, JOINT, how)


def test_other_formats_are_named(run):
    edit(run.path, lambda body: body.update(format=5))
    with pytest.raises(StoreError, match="has run format 5; this .* reads formats 3 to 4. Upgrade"):
        Run.open(run.path)
    edit(run.path, lambda body: body.update(format=2))
    with pytest.raises(StoreError, match="has run format 2; .* the version that wrote it"):
        Run.open(run.path)
    (run.path / "run.json").write_text('{"format": 5, "whatever": "a later version needs"}')
    with pytest.raises(StoreError, match="has run format 5"):
        Run.open(run.path)
