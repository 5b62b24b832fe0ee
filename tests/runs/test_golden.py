"""Run directories as they were first written: readable, and written again, forever.

Those of format 3 are in `base` and `new`, those of the current one in `base-4`, `new-4`, `exact-4`,
`decided-4` (from before bets started from the selection votes) and `informed-4` (since), which
`python tests/runs/test_golden.py` writes anew; only a new format is a reason.
"""

import hashlib
import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import StoreError
from smoothcert.execution.runner import RunOptions, run_certify, run_decide, run_recertify
from smoothcert.methods import Decision, Exact, Reuse
from smoothcert.runs import ledger, manifest
from smoothcert.runs.bases import explore
from smoothcert.runs.manifest import FORMAT, Manifest
from smoothcert.runs.pilots import pilot_bytes, read_pilot
from smoothcert.runs.plan_file import plan_bytes, read_plan
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, evaluate_again, verify
from support.known_truth import PixelSum

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = Settings(0.25, 16, n0=20, n=60, keep_margins=True)
SMALL = RunOptions(batch_size=16, block_inputs=2)
DATA = Inputs.from_arrays(np.full((3, 1, 2, 2), 0.5), [1, 0, 1], grid=1 / 16)
NAMES = ("base", "new", "base-4", "new-4", "exact-4", "decided-4", "informed-4")
DECIDED = replace(SETTINGS, n=600, keep_margins=False)
FILES = {"new": 9, "new-4": 10, "exact-4": 10}


def write(folder: Path, plan: bool = True) -> None:
    """A run from scratch, and a planned one that is noted in the first one's ledger.

    A plan of the same model was shown before, but for those of format 3.
    """
    base = run_certify(folder / "base-4", PixelSum(28), DATA, SETTINGS, SMALL)
    if plan:
        explore(base, PixelSum(29), DATA, Reuse("uniform:20"), 16)
    run_recertify(folder / "new-4", base, PixelSum(29), DATA, Reuse("uniform:30"), SMALL)
    exact = Exact("uniform:20", form="runner-up")
    run_recertify(folder / "exact-4", base, PixelSum(29), DATA, exact, SMALL)
    for name, prior in (("decided-4", "none"), ("informed-4", "selection")):
        decision = Decision(0.02, prior=prior)
        run_decide(folder / name, PixelSum(28), DATA, DECIDED, decision, SMALL)


def base_of(name: str) -> Run | None:
    """The golden base run of a golden run."""
    known = GOLDEN / f"base{'-4' if name.endswith('-4') else ''}"
    return Run.open(known) if name.startswith(("new", "exact")) else None


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read_and_verified(name):
    run = Run.open(GOLDEN / name)
    result = verify(run, base_of(name))
    assert (result.certificates, result.problems) == (3, ())
    assert (Unchecked.PLAN in result.unchecked) == (name == "new")
    assert (Unchecked.PILOT in result.unchecked) == (name in ("new-4", "exact-4"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_is_replayed(name):
    """The plan of a run of format 3 is made again from a pilot of now."""
    model = PixelSum(28 if base_of(name) is None else 29)
    assert (
        evaluate_again(Run.open(GOLDEN / name), model, DATA, 1.0, base=base_of(name)).problems == ()
    )


@pytest.mark.parametrize("format_", ["", "-4"])
def test_its_content_is_what_it_was(format_):
    base, new = Run.open(GOLDEN / f"base{format_}"), Run.open(GOLDEN / f"new{format_}")
    assert base.identity.settings == SETTINGS
    assert base.labels == (1, 0, 1)
    assert base.contents == ("67763d1ac9261cad",) * 3
    assert [(c.k, c.n, c.outcome.name) for c in base.certificates] == COUNTS["base"]
    assert [(c.k, c.n, c.outcome.name) for c in new.certificates] == COUNTS[f"new{format_}"]
    assert base.read_block(0)[0].votes.selection.tolist() == SELECTION
    assert [s.evaluations for s in read_plan(new)] == [23 if format_ else 30, 0, 0]
    asked = ledger.tries(base)  # of an entry that earlier versions wrote
    assert (asked.results, asked.models, asked.of("pixel-sum-29")) == (1, 1, 1)
    assert new.identity.base == base.identity.hash


def test_the_exact_runs_content_is_what_it_was():
    run = Run.open(GOLDEN / "exact-4")
    (one, *_), base = run.read_block(0), base_of("exact-4")
    assert base is not None and run.identity.base == base.identity.hash
    assert (one.votes.plan.tolist(), one.votes.cached.tolist()) == EXACT
    assert [c.method for c in run.certificates] == ["exact", "nothing", "nothing"]


@pytest.mark.parametrize("name", ["decided-4", "informed-4"])
def test_what_was_decided_is_what_it_was(name):
    """A run that does not say what its bets start from means the rule of its time."""
    run = Run.open(GOLDEN / name)
    method, stored = run.identity.method, json.loads((run.path / "run.json").read_text())
    assert isinstance(method, Decision)
    assert method.prior == stored["identity"]["method"].get("prior", "none")
    assert (method.prior == "none") == (name == "decided-4")
    assert [(c.k, c.n, c.outcome.name) for c in run.certificates] == COUNTS[name]


COUNTS = {
    "decided-4": [(199, 302, "CERTIFIED"), (225, 345, "CERTIFIED"), (58, 162, "EXCLUDED")],
    "informed-4": [(200, 303, "CERTIFIED"), (162, 245, "CERTIFIED"), (53, 147, "EXCLUDED")],
    "base": [(45, 60, "CERTIFIED"), (39, 60, "UNDECIDED"), (26, 60, "UNDECIDED")],
    "new": [(21, 30, "UNDECIDED"), (0, 0, "ORIGINAL_ABSTAINED"), (0, 0, "ORIGINAL_ABSTAINED")],
    "new-4": [(22, 23, "UNDECIDED"), (0, 0, "ORIGINAL_ABSTAINED"), (0, 0, "ORIGINAL_ABSTAINED")],
}
EXACT = ([0, 14, 17, 0], [15, 45])
SELECTION = [1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_written_again_byte_for_byte(name, tmp_path):
    """From what was read. pyarrow names itself in its files, so only the same one can."""
    old = Run.open(GOLDEN / name)
    extra = {}
    if base_of(name) is not None:
        extra["plan.parquet"] = plan_bytes(
            read_plan(old), old.identity.indices, old.identity.method.plan_columns
        )
    if name in ("new-4", "exact-4"):
        extra["pilot.parquet"] = pilot_bytes(read_pilot(old), old.identity.indices)
    new = Run.create(tmp_path / name, old.manifest, old.contents, old.labels, extra)
    for block in range(2):
        new.write_block(block, old.read_block(block), old.block_seconds[block])
    assert verify(new).problems == ()
    assert list(new.records(range(3))) == list(old.records(range(3)))
    made_by = parquet.read_metadata(GOLDEN / name / "inputs.parquet").created_by
    same = parquet.read_metadata(new.path / "inputs.parquet").created_by == made_by
    names = [path.relative_to(new.path) for path in new.path.rglob("*") if path.is_file()]
    assert len(names) == FILES.get(name, 8)
    for file in names:
        if same or file.suffix == ".json":
            assert (new.path / file).read_bytes() == (old.path / file).read_bytes(), file


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_is_sampled_again(name, tmp_path, monkeypatch):
    """The same votes on every machine, since this classifier is exact."""
    old = Run.open(GOLDEN / name)
    monkeypatch.setattr(manifest, "library_versions", lambda: old.identity.versions)
    write(tmp_path, plan=name.endswith("-4"))
    new = Run.open(tmp_path / f"{name.removesuffix('-4')}-4")
    assert new.identity == old.identity
    for mine, theirs in zip(new.records(range(3)), old.records(range(3)), strict=True):
        assert mine.votes == theirs.votes
        assert mine.certificate.agrees(theirs.certificate)


@pytest.mark.parametrize("name", NAMES)
def test_a_newer_format_is_refused(name, tmp_path):
    shutil.copytree(GOLDEN / name, tmp_path / "r")
    path = tmp_path / "r" / "run.json"
    old = 4 if "4" in name else 3
    path.write_text(path.read_text().replace(f'"format": {old}', f'"format": {FORMAT + 1}'))
    with pytest.raises(StoreError, match=f"run format {FORMAT + 1}; .* Upgrade smoothcert"):
        Run.open(tmp_path / "r")


def test_the_manifest_survives_reading_and_writing():
    for name in NAMES:
        data = (GOLDEN / name / "run.json").read_bytes()
        parsed = Manifest.from_bytes(data, name)
        assert parsed.to_bytes() == data
        assert json.loads(data)["hash"] == parsed.identity.hash
        assert replace(parsed.identity, batch_size=17).hash != parsed.identity.hash


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_made_from_the_specification_alone(name):
    """docs/store-format.md, sections 2 and 6, with nothing of smoothcert."""
    run = Run.open(GOLDEN / name)
    about = json.loads((run.path / "run.json").read_text())
    for path in sorted(p for p in run.path.rglob("*") if p.is_file()):
        relative = path.relative_to(run.path).as_posix()
        context = relative if relative == "run.json" else f"{about['hash']}/{relative}"
        _check_seal(path.read_bytes(), context)
    for block in range(2):
        table = parquet.read_table(run.path / "votes" / f"{block:05d}.parquet").to_pylist()
        for row, record in zip(table, run.read_block(block), strict=True):
            for kind in (column for column in row if column != "index"):
                assert _decode(row[kind]) == getattr(record.votes, kind).tolist()


def _check_seal(data: bytes, context: str) -> None:
    start = data.rindex(b"smoothcert-sha256:") + 18
    blank = data[:start] + b"0" * 64 + data[start + 64 :]
    assert (
        hashlib.sha256(context.encode() + b"\n" + blank).hexdigest().encode()
        == (data[start : start + 64])
    )


def _decode(blob: bytes) -> list[int]:
    if not blob:
        return []
    (size,) = struct.unpack("<Q", blob[:8])
    raw = pa.Codec("zstd").decompress(blob[8:], decompressed_size=size, asbytes=True)
    version, width, common, n = struct.unpack("<BBiQ", raw[:14])
    assert version == 1
    mask, rest = raw[14 : 14 + -(-n // 8)], raw[14 + -(-n // 8) :]
    labels = []
    for draw in range(n):
        if mask[draw // 8] >> (7 - draw % 8) & 1:
            labels.append(common)
        else:
            labels.append(int.from_bytes(rest[:width], "little") - 1)
            rest = rest[width:]
    assert rest == b""
    return labels


if __name__ == "__main__":
    import os

    for written in ("base-4", "new-4"):
        shutil.rmtree(GOLDEN / written, ignore_errors=True)
    os.chdir(GOLDEN)  # so that the ledger holds no path of this machine
    write(Path())
