"""Run directories of strangers, sealed as well as ours: Damaged, and nothing of theirs is run."""

import json
import os
import shutil
import struct
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from smoothcert.certificate import Settings
from smoothcert.cli.data_source import recorded_model, recorded_source
from smoothcert.cli.main import app
from smoothcert.data.inputs import Inputs
from smoothcert.errors import Damaged, InvalidInput, SmoothcertError, StoreError
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Reuse
from smoothcert.runs import sealed
from smoothcert.runs import validation as untrusted
from smoothcert.runs import vote_codec as codec
from smoothcert.runs.plan_file import read_plan
from smoothcert.runs.sealed import is_sealed, json_bytes, seal, table_bytes
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=10, n=40, keep_margins=True)
DATA = Inputs.from_arrays(np.full((3, 1, 2, 2), 0.5), [1, 0, 1], grid=1 / 16)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine")
    how = RunOptions(batch_size=16, block_inputs=2)
    base = run_certify(folder / "base", PixelSum(28), DATA, SETTINGS, how)
    run_recertify(folder / "new", base, PixelSum(29), DATA, Reuse("uniform:30"), how)
    return folder


@pytest.fixture
def base(pristine, tmp_path):
    shutil.copytree(pristine / "base", tmp_path / "base")
    return Run.open(tmp_path / "base")


@pytest.fixture
def new(pristine, tmp_path):
    shutil.copytree(pristine / "new", tmp_path / "new")
    return Run.open(tmp_path / "new")


def resealed(run, change):
    """run.json with a change, sealed as its writer would."""
    body = json.loads((run.path / "run.json").read_text())
    change(body)
    data = json_bytes({key: body[key] for key in body if key != "seal"})
    (run.path / "run.json").write_bytes(seal(data, "run.json"))
    return run.path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        *(("identity", "block_inputs", value) for value in (0, -1, 2.0, True, "2", None, 10**12)),
        *(("identity", "batch_size", value) for value in (0, -5, 10**20)),
        *(("identity", "num_classes", value) for value in (0, -2, 2**31, 10**12, "2")),
        *(
            ("identity", "indices", value)
            for value in ([], [-1], [2**63], [0.5], "012", None, [True], [0, 0])
        ),
        *(
            ("identity", "shape", value)
            for value in ([], [0], [-4], [2**60], [10**5] * 3, [[1]], 4)
        ),
        *(("identity", "model", value) for value in (3, ["x"], "x" * 10**5)),
        *(("identity", "versions", value) for value in ("x", [1], {"a": 1})),
        *(("identity", "method", value) for value in ("irs", [1], {"kind": "x"}, {"kind": []}, {})),
        *(
            ("settings", "sigma", value)
            for value in (float("nan"), float("inf"), -1, 0, "x", 10**400)
        ),
        *(("settings", "levels", value) for value in (0, -255, 2**40, 0.5, None)),
        *(("settings", "n", value) for value in (0, -1, 10**12, 1.5, True, [1])),
        *(("settings", "alpha", value) for value in (float("nan"), 0, 1, 2, "x", None)),
        *(("settings", "seed", value) for value in (-1, 2**64, "0")),
        *(("settings", "keep_margins", value) for value in (2, "yes", None)),
        *(("settings", "surprise", value) for value in (1,)),
        *(
            ("origin", "files", value)
            for value in ([1], {"../../x": "0" * 64}, {"/etc/passwd": "0" * 64})
        ),
        *(
            ("origin", "files", value)
            for value in ({"a\\b": "0" * 64}, {"x": "short"}, {"x": 1}, "x")
        ),
        *(("origin", "model", value) for value in (1, ["x"], {"a": 1})),
        *(("origin", "pilot_evaluations", value) for value in (-1, "x", 0.5, None)),
        *(("origin", "data", value) for value in ("digits", [1], 3)),
        *(("origin", "classes", value) for value in ("cat", {"0": "cat"}, [1], 3)),
    ],
)
def test_absurd_values_in_a_sealed_run_json(base, part, name, value):
    def change(body):
        where = body["identity"]["settings"] if part == "settings" else body[part]
        where[name] = value

    with pytest.raises(Damaged, match="run.json is damaged"):
        Run.open(resealed(base, change))


@pytest.mark.slow
def test_a_sealed_run_json_of_another_form(base):
    resealed(base, lambda body: body.update(origin=[]))
    with pytest.raises(Damaged, match="its origin is not an object"):
        Run.open(base.path)
    texts = ["[" * 10**5, "[]", "3", '"x"', "{}", '{"format": 3}', "\xff", '{"format": 3}}}']
    for text in texts:
        (base.path / "run.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(StoreError):
            Run.open(base.path)


def test_a_mark_at_the_end_is_no_seal():
    data = b"{} smoothcert-sha256:"
    assert not is_sealed(data, "run.json")
    assert not is_sealed(data + b"\xff" * 64, "run.json")


@pytest.mark.slow
def test_methods_whose_arithmetic_would_never_end(base):
    """A growth of 1 is refused; above it there is at most a look per draw."""

    def change(body):
        body["identity"]["method"] = {
            "kind": "sequential",
            "radius": 0.0,
            "first": 1,
            "growth": 1.0,
        }

    with pytest.raises(Damaged, match="growth must be a finite factor above 1"):
        Run.open(resealed(base, change))


def rewritten(run, name, columns):
    """A table with other cells in its first row, or other columns, sealed with its notes."""
    file = parquet.ParquetFile(run.path / name)
    table = file.read()
    for column, value in columns.items():
        place = table.schema.get_field_index(column)
        values = table.column(place).to_pylist()
        changed = pa.array([value, *values[1:]], table.schema.field(place).type)
        table = table.set_column(place, table.schema.field(place), changed)
    notes = {k.decode(): v.decode() for k, v in file.metadata.metadata.items() if k == b"votes"}
    run.write(name, table_bytes(table, notes))


@pytest.mark.slow
@pytest.mark.parametrize(
    "columns",
    [
        *({"radius": value} for value in (float("nan"), float("inf"), -1.0, None)),
        *({"q": value} for value in (float("nan"), 1e300)),
        *({"k": value} for value in (-1, 2**62, None)),
        *({"cached_n": value} for value in (2**62, 41)),
        *({"candidate": value} for value in (-2, 2, 2**31 - 1)),
        *({"budget": value} for value in ("[]", "x", '{"a": "b"}', '{"a": NaN}', "[" * 4000, None)),
        *({"budget": value} for value in ('{"=cmd": 0.1}', '{"<b>": 0.1}', "1" * 5000)),
        *({"outcome": value} for value in ("x", "", None)),
        *({"method": value} for value in ("irs", "=1", "x" * 5000)),
        *({"content": value} for value in ("x", "0" * 17)),
        *({"index": value} for value in (7, None)),
        {"evaluations": -1},
    ],
)
def test_absurd_certificates(base, columns):
    rewritten(base, "certificates/00000.parquet", columns)
    with pytest.raises(Damaged, match="is not in this format"):
        base.read_certificates(0)
    assert verify(base).problems


@pytest.mark.slow
@pytest.mark.parametrize(
    "column", ["selection", "estimation", "original", "fresh", "margins", "roles"]
)
@pytest.mark.parametrize("labels", [[2**31 - 1], [300] * 40, [0] * 41, [-1] * 3, None])
def test_absurd_votes(base, new, column, labels):
    """Classes that there are not (counted, they took 16 GB), and parts that go with no others."""
    for run in (base, new):
        before = (run.path / "votes/00000.parquet").read_bytes()
        certificates = (run.path / "certificates/00000.parquet").read_bytes()
        blob = None if labels is None else codec.encode(np.array(labels, np.int32))
        rewritten(run, "votes/00000.parquet", {column: blob})
        fresh_seal = run.read("votes/00000.parquet")
        from smoothcert.runs.sealed import digest

        file = parquet.ParquetFile(run.path / "certificates/00000.parquet")
        run.write(
            "certificates/00000.parquet", table_bytes(file.read(), {"votes": digest(fresh_seal)})
        )
        assert verify(run).problems
        (run.path / "votes/00000.parquet").write_bytes(before)
        (run.path / "certificates/00000.parquet").write_bytes(certificates)
        assert verify(run).problems == ()


def test_another_number_of_draws_than_the_settings_say(base):
    """Fewer, well chosen draws prove less than n random ones: they are not what was claimed."""
    from smoothcert.certificate import Certificate, Record, Votes
    from smoothcert.methods import SCRATCH, Stored

    (first, second) = base.read_block(0)
    few = Votes(selection=first.votes.selection, estimation=first.votes.estimation[:30])
    facts = (base.identity.settings, base.identity.shape, base.identity.num_classes)
    certificate = SCRATCH.recheck(Stored(Record(first.certificate, few), *facts))
    assert isinstance(certificate, Certificate)
    base.write_block(0, [Record(certificate, few), second], 0.1)
    problems = verify(base).problems
    assert any("30 estimation draws are stored instead of 40" in problem for problem in problems)


READERS = {
    "inputs.parquet": lambda run: run.contents,
    "certificates/00000.parquet": lambda run: run.read_certificates(0),
    "plan.parquet": read_plan,
}


@pytest.mark.parametrize("name", READERS)
def test_tables_of_other_shapes(new, name):
    table = parquet.ParquetFile(new.path / name).read()
    for other in (
        table.slice(0, 1),
        pa.concat_tables([table] * 1000),
        table.drop_columns(["index"]),
        table.append_column("x", pa.array(range(len(table)))),
        table.set_column(0, "index", pa.array([[i] for i in range(len(table))])),
        table.set_column(0, "index", pa.array(["0"] * len(table))),
    ):
        new.write(name, table_bytes(other))
        with pytest.raises(Damaged):
            READERS[name](Run.open(new.path))


@pytest.mark.parametrize("count", [-1, 41, 10**15])
def test_plans_that_ask_for_more_than_there_is(new, count):
    rewritten(new, "plan.parquet", {"fresh": count})
    with pytest.raises(Damaged, match="plan.parquet is damaged"):
        read_plan(new)


def test_a_value_repeated_by_reference_is_not_copied(base):
    """A dictionary holds 4 MB once; as a column of texts it would be as many gigabytes as rows."""
    rewritten(base, "certificates/00000.parquet", {"method": "x" * (4 * 2**20)})
    assert (base.path / "certificates/00000.parquet").stat().st_size < 10**5
    with pytest.raises(Damaged, match="a value in 'method' of more than 4096 bytes"):
        base.read_certificates(0)


def test_tables_that_unpack_to_too_much(base, monkeypatch):
    monkeypatch.setattr(sealed, "MOST_BYTES", 100)
    data = base.storage.read("certificates/00000.parquet", 10**6)
    table = parquet.read_table(pa.BufferReader(data))
    with pytest.raises(ValueError, match="would unpack to more"):
        sealed.read_table(data, table.schema, len(table))


@pytest.mark.parametrize(
    "body", [[], "x", 3, {"seconds": "x"}, {"seconds": -1}, {"seconds": 1e300}, {"seconds": None}]
)
def test_events_and_ledgers_that_are_none(base, body):
    text = json.dumps(body if isinstance(body, dict) else {"x": body})
    sealed = text[:-1] + f', "seal": "smoothcert-sha256:{"0" * 64}"' + "}"
    sealed = sealed if isinstance(body, dict) else f"[{sealed}]"
    base.write("events/00000.json", sealed.encode())
    with pytest.raises(Damaged):
        _ = base.seconds
    assert verify(base).problems


def test_files_that_are_none_are_not_waited_for(base, monkeypatch):
    name = "votes/00000.parquet"
    (base.path / name).unlink()
    os.mkfifo(base.path / name)
    with pytest.raises(StoreError, match="is not a regular file"):
        base.read_block(0)
    (base.path / "run.json").unlink()
    (base.path / "run.json").symlink_to("/dev/zero")
    with pytest.raises(StoreError, match="is not a regular file"):
        Run.open(base.path)
    monkeypatch.setattr(untrusted, "MOST_MANIFEST_BYTES", 10)
    for bad in ("a\0b", "x" * 5000):
        with pytest.raises(StoreError):
            Run.open(bad)


def zstd(raw, size=None):
    size = len(raw) if size is None else size
    return struct.pack("<Q", size) + pa.Codec("zstd").compress(raw, asbytes=True)


@pytest.mark.parametrize(
    "blob",
    [
        zstd(bytes(10**8)),
        zstd(b"\1\1\0\0\0\0" + struct.pack("<Q", 2**62)),
        zstd(b"\1\1\0\0\0\0" + struct.pack("<Q", 8), 2**40),
        zstd(b"\1\1\0\0\0\0" + struct.pack("<Q", 8) + b"\xff", 10**6),
        zstd(b"\1\4\0\0\0\0" + struct.pack("<Q", 1) + b"\0" + b"\xff" * 4),
        zstd(b"\1\1\0\0\0\0" + struct.pack("<Q", 1) + b"\0" + b"\1"),
        zstd(b"\1\1\0\0\0\0" + struct.pack("<Q", 1) + b"\xff"),
        zstd(b"\1\1\xfe\xff\xff\xff" + struct.pack("<Q", 1) + b"\x80"),
        zstd(b"\1\1\0\0\0\0" + struct.pack("<Q", 0)),
        b"\0" * 7,
    ],
    ids=[
        *("bomb", "2^62 draws", "lying size", "short frame", "label of 33 bits", "winner twice"),
        *("bits behind the end", "winner -2", "no draws", "cut"),
    ],
)
def test_votes_that_are_none(blob):
    with pytest.raises(StoreError, match="Stored votes are damaged"):
        codec.decode(blob, 1000)


def test_the_largest_label_is_encoded():
    """Found by the fuzzer's seeds: 2^31 - 1, plus one, overflowed to a width of one byte."""
    labels = np.array([2**31 - 1, 0, -1, 2**31 - 1], np.int32)
    assert (codec.decode(codec.encode(labels)) == labels).all()


def test_a_run_that_could_not_be_read_again_is_not_begun(tmp_path):
    huge = Settings(0.25, 16, n0=10, n=10**9)
    with pytest.raises(InvalidInput, match="more than the 134217728 draws that a block may have"):
        run_certify(tmp_path / "x", PixelSum(28), DATA, huge, RunOptions(16))
    assert not (tmp_path / "x").exists()


@pytest.fixture
def recorded(base):
    """The run, as if by the command line on a model of this name."""

    def of(model, **data):
        source = {"data": "digits", "split": "test", "grid": None, "limit": 3, "every": 1, **data}
        path = resealed(base, lambda body: body["origin"].update(model=model, data=source))
        return Run.open(path)

    return of


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["evil_of_a_run:make", "compiled:evil_of_a_run:make", "os:getcwd", "evil_of_a_run:x.y"]
)
def test_no_code_that_a_run_names_is_imported(recorded, model, tmp_path, monkeypatch):
    """A stranger's archive, unpacked where the command is typed, has a module beside the run."""
    sprung = tmp_path / "sprung"
    (tmp_path / "evil_of_a_run.py").write_text(
        f"import pathlib\npathlib.Path({str(sprung)!r}).touch()\nmake = print\n"
    )
    monkeypatch.chdir(tmp_path)
    run = recorded(model)
    shown = CliRunner().invoke(app, ["verify", str(run.path), "--replay", "1%"])
    assert shown.exit_code == 2
    assert "which is Python code" in shown.output
    assert f"--model {model}" in shown.output
    assert not sprung.exists()
    monkeypatch.delitem(sys.modules, "evil_of_a_run", raising=False)
    given = CliRunner().invoke(app, ["verify", str(run.path), "--replay", "1%", "--model", model])
    assert given.exit_code != 0
    assert sprung.exists() == ("evil" in model), "the control: it is imported if the user says so"


def test_files_that_a_run_names_are_read_as_any_file_is(recorded):
    assert recorded_model(recorded("/elsewhere/x.onnx")) == "/elsewhere/x.onnx"
    with pytest.raises(InvalidInput, match="does not say which model"):
        recorded_model(recorded(""))
    shown = CliRunner().invoke(app, ["verify", str(recorded("../x.pkl").path), "--replay", "1%"])
    assert shown.exit_code == 2
    assert "x.pkl is a pickle" in shown.output


@pytest.mark.parametrize(
    "data",
    [
        *({"limit": value} for value in ("x", 0.5, [1])),
        *({"split": value} for value in (3, None)),
        *({"data": value} for value in (None, 5)),
        *({"every": value} for value in (None, "1")),
        {"surprise": 1},
    ],
)
def test_records_of_data_that_are_none(recorded, data):
    with pytest.raises(InvalidInput, match="record of its data is invalid"):
        recorded_source(recorded("x.onnx", **data), None)


def test_a_twin_that_the_run_does_not_have(base):
    path = resealed(base, lambda body: body["origin"].update(twin_of={}, model="a.b:c"))
    with pytest.raises(InvalidInput, match="Python code"):
        recorded_model(Run.open(path))


@pytest.mark.slow
def test_every_error_is_of_the_package(base):
    """A sweep: each byte range of each file overwritten and sealed again, then verified."""
    rng = np.random.default_rng(0)
    for file in sorted(p for p in base.path.rglob("*") if p.is_file()):
        name, whole = file.relative_to(base.path).as_posix(), file.read_bytes()
        for start in range(0, len(whole), max(1, len(whole) // 40)):
            raw = whole[:start] + rng.bytes(4) + whole[start + 4 :]
            if b"smoothcert-sha256:" in raw:
                sealed_as = name if name == "run.json" else f"{base.identity.hash}/{name}"
                raw = seal(raw, sealed_as)
            file.write_bytes(raw)
            try:
                assert all(isinstance(p, str) for p in verify(Run.open(base.path)).problems)
            except SmoothcertError as error:
                assert str(error)
        file.write_bytes(whole)
    assert verify(Run.open(base.path)).problems == ()
