"""One table of all certificates, the same in every form, and exact."""

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import smoothcert
from smoothcert.certificate import Outcome, Settings
from smoothcert.cli.main import app
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, StoreError
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Reuse
from smoothcert.report.tables import csv_table
from support.known_truth import PixelSum

IMAGES = np.full((30, 1, 2, 2), 8 / 16)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run from scratch and one recertified from it."""
    path, data = tmp_path_factory.mktemp("export"), Inputs.from_arrays(IMAGES, [1] * 30, 1 / 16)
    base = run_certify(
        path / "base", PixelSum(28), data, Settings(0.25, 16, n0=20, n=300), RunOptions()
    )
    run_recertify(
        path / "new", base, PixelSum(28), data, Reuse("uniform:60", "joint"), RunOptions()
    )
    return path


@pytest.fixture
def runs(made, tmp_path):
    """Copies that a test may change."""
    for name in ("base", "new"):
        shutil.copytree(made / name, tmp_path / name)
    return smoothcert.Run.open(tmp_path / "base"), smoothcert.Run.open(tmp_path / "new")


def rows_of(path, delimiter=","):
    return list(csv.DictReader(io.StringIO(path.read_text()), delimiter=delimiter))


@pytest.mark.slow
def test_parquet_holds_what_the_certificates_say(runs, tmp_path):
    smoothcert.export(runs, tmp_path / "made" / "all.parquet")
    table = parquet.read_table(tmp_path / "made" / "all.parquet")
    certificates = [c for run in runs for c in run.certificates]
    rows = table.to_pylist()
    assert [row["run"] for row in rows] == ["base"] * 30 + ["new"] * 30
    for row, c in zip(rows, certificates, strict=True):
        for name in ("index", "predicted", "candidate", "radius", "q", "method", "k", "n"):
            assert row[name] == getattr(c, name)  # floats too: bit by bit
        assert Outcome[row["outcome"]] is c.outcome
        assert (row["label"], row["alpha"], row["evaluations"]) == (1, c.alpha, c.evaluations)
    types = {field.name: field.type for field in table.schema}
    assert (types["index"], types["radius"]) == (pa.int64(), pa.float64())
    assert (types["label"], types["outcome"]) == (pa.int32(), pa.string())


@pytest.mark.slow
def test_parquet_says_what_the_runs_were(runs):
    table = smoothcert.certificates_table(*runs)
    facts = json.loads(table.schema.metadata[b"smoothcert"])
    assert facts["format"] == 1
    base, new = facts["runs"]
    assert (base["sigma"], base["alpha"], base["method"]) == (0.25, 0.001, None)
    assert (new["alpha"], new["method"]["kind"]) == (0.002, "reuse")
    assert new["fingerprint"] == runs[1].identity.model
    assert base["settings"]["n"] == 300


@pytest.mark.slow
def test_every_form_agrees_with_the_reports(runs, tmp_path):
    written = smoothcert.export(runs, tmp_path / "a.csv")
    smoothcert.export(runs, str(tmp_path / "a.tsv"))
    text = (tmp_path / "a.csv").read_text()
    assert text == csv_table(runs)
    rows = rows_of(tmp_path / "a.csv")
    tabbed = rows_of(tmp_path / "a.tsv", "\t")
    assert rows == tabbed
    assert [float(row["radius"]) for row in rows] == written["radius"].to_pylist()
    assert list(rows[0]) == written.column_names


def test_tables_have_sigma_and_the_names_that_a_run_recorded(tiny_inputs, pixel_sum, tmp_path):
    named = replace(tiny_inputs, classes=("cat", "=\x1bdog"))
    found = smoothcert.certify(pixel_sum, named, 0.25, n=100)
    run = found.save(tmp_path / "run")
    again = smoothcert.Run.open(run.path)
    for result in (found, again, smoothcert.load(again)):
        frame = smoothcert.certificates_table(result).to_pandas()
        assert set(frame["sigma"]) == {0.25}
        assert list(frame["label_name"]) == [("cat", "=\\x1bdog")[k] for k in named.labels]
        certified = frame["predicted"] >= 0
        names = frame["predicted"].map({0: "cat", 1: "=\\x1bdog"})
        assert frame["predicted_name"][certified].equals(names[certified])
        assert frame["predicted_name"][~certified].isna().all()
    smoothcert.export(again, tmp_path / "x.csv")
    assert {row["label_name"] for row in rows_of(tmp_path / "x.csv")} <= {"cat", "'=\\x1bdog"}
    plain = smoothcert.certificates_table(smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n=100))
    assert plain.column_names[-1] == "sigma"


def test_a_result_in_memory_and_unknown_labels(tiny_inputs, pixel_sum, tmp_path):
    unknown = replace(tiny_inputs, labels=None)
    found = smoothcert.certify(pixel_sum, unknown, 0.25, n=100)
    table = smoothcert.certificates_table(found)
    assert table["label"].null_count == 30
    known = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n=100)
    assert smoothcert.certificates_table(known)["label"].to_pylist() == list(tiny_inputs.labels)
    assert set(table["run"].to_pylist()) == {found.model}
    labels = [None, *[1] * 29]
    smoothcert.export(found, tmp_path / "x.csv", labels=labels)
    rows = rows_of(tmp_path / "x.csv")
    assert [row["label"] for row in rows] == ["", *["1"] * 29]
    with pytest.raises(InvalidInput, match="30 certificates and 2 labels. Give one label"):
        smoothcert.certificates_table(found, labels=[1, 0])


@pytest.mark.slow
def test_it_is_a_data_frame(runs):
    pytest.importorskip("pandas")
    frame = smoothcert.certificates_table(*runs).to_pandas()
    assert frame["radius"].tolist() == [c.radius for run in runs for c in run.certificates]
    assert (frame.groupby("run")["evaluations"].sum()["base"]) == 30 * 320


def test_a_formula_in_a_name_is_text_in_tables_and_itself_in_parquet(runs, tmp_path):
    runs[0].path.rename(tmp_path / "=1+1")
    named = smoothcert.Run.open(tmp_path / "=1+1")
    smoothcert.export(named, tmp_path / "x.tsv")
    assert (tmp_path / "x.tsv").read_text().splitlines()[1].startswith("'=1+1\t0\t1\t")
    assert smoothcert.certificates_table(named)["run"][0].as_py() == "=1+1"
    bad = tmp_path / os.fsdecode(b"\xff\n")
    named.path.rename(bad)
    smoothcert.export(smoothcert.Run.open(bad), tmp_path / "y.parquet")
    assert parquet.read_table(tmp_path / "y.parquet")["run"][0].as_py() == "\\udcff\\n"


def test_what_cannot_be_written(runs, tmp_path):
    with pytest.raises(InvalidInput, match=r"ends in .parquet, .csv, .tsv; got .*x.xlsx"):
        smoothcert.export(runs, tmp_path / "x.xlsx")
    with pytest.raises(InvalidInput, match="written to a local file"):
        smoothcert.export(runs, "s3://bucket/x.csv")
    with pytest.raises(InvalidInput, match="with different names; got"):
        smoothcert.export([runs[0], runs[0]], tmp_path / "x.csv")
    with pytest.raises(InvalidInput, match="one or more results"):
        smoothcert.export([], tmp_path / "x.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Cannot make the folder"):
        smoothcert.export(runs, tmp_path / "file" / "x.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StoreError, match="Cannot write"):
        smoothcert.export(runs, tmp_path / "folder.csv")
    Path(runs[0].path / "certificates" / "00000.parquet").unlink()
    with pytest.raises(StoreError, match="unfinished: 1 of 1 blocks"):
        smoothcert.export(smoothcert.Run.open(runs[0].path), tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_the_command(runs, tmp_path):
    where = [str(run.path) for run in runs]
    result = CliRunner().invoke(app, ["export", *where, "--out", str(tmp_path / "a.csv")])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "60 certificates of 2 runs" in " ".join(result.stderr.split())
    assert (tmp_path / "a.csv").read_text() == csv_table(runs)
    out = tmp_path / "a.parquet"
    result = CliRunner().invoke(app, ["export", *where, "--out", str(out), "--json"])
    assert json.loads(result.stdout) == {"file": str(out), "runs": 2, "certificates": 60}
    result = CliRunner().invoke(app, ["export", *where, "--out", str(tmp_path / "a.txt")])
    assert result.exit_code == 2
    assert ".parquet, .csv, .tsv" in result.stderr
