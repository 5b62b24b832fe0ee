"""Every command on runs in an object store, and a model that is there."""

import json
import re
import shutil
from pathlib import Path

import pytest
from pyarrow import fs
from typer.testing import CliRunner

from smoothcert.runs.store import Run


def run(*arguments, code=0):
    from smoothcert.cli.main import app

    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def there(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name: bucket.uri(f"{tmp_path.name}/{name}")


SIZES = ("--data", "digits", "--limit", 4, "--sigma", 0.25, "--n", 300, "--batch-size", 64)


@pytest.mark.slow
def test_every_command(there, models, tmp_path):
    base, new = there("base"), there("new")
    run("certify", models / "net.onnx", *SIZES, "--out", base, "--block-inputs", 1)
    run("certify", models / "net.onnx", *SIZES, "--out", "here", "--block-inputs", 1)
    assert Run.open(base).certificates == Run.open("here").certificates
    found = run("certify", models / "net.onnx", *SIZES, "--out", base, code=2)
    assert "already exists and is not empty. Pass --resume" in found.output
    run("certify", models / "net.onnx", *SIZES, "--out", base, "--block-inputs", 1, "--resume")
    run("plan", models / "int8.onnx", "--base", base)
    run("screen", models / "int8.onnx", "--base", base, "--per-input", 20)
    run("recertify", models / "int8.onnx", "--base", base, "--out", new)
    found = json.loads(run("verify", new, "--base", base, "--replay", "10%", "--json").stdout)
    assert (found["ok"], found["run"]) == (True, new)
    run("report", base, new, "--out", "page")
    assert {"base", "new"} <= set(re.findall(r"\w+", Path("page/index.html").read_text()))
    assert Path("page/base.tsv").exists()
    assert Path("page/new.tsv").exists()
    run("merge", base, "--out", there("merged"))
    run("verify", there("merged"))
    run("merge", base, "--out", "merged")
    run("verify", "merged")


def test_a_stranger_s_run_names_no_address_that_is_asked(there, models, bucket):
    base = there("base")
    run("certify", models / "net.onnx", *SIZES, "--out", base)
    run("recertify", models / "int8.onnx", "--base", base, "--out", "new")
    bucket.forget()
    run("verify", "new")
    assert bucket.requests == []


@pytest.mark.slow
def test_models_in_the_store(there, models, tmp_path):
    for name in ("net.onnx", "net.safetensors"):
        store, path = fs.FileSystem.from_uri(there(name))
        with store.open_output_stream(path) as file:
            file.write((models / name).read_bytes())
        model = there(name) if name == "net.onnx" else f"small_cnn@{there(name)}"
        run("certify", model, *SIZES, "--out", name)
        run("verify", name, "--replay", "10%", "--model", model)
        found = run("verify", name, "--replay", "10%", code=2)
        assert "name it yourself with --model" in found.output
    compiled = f"compiled:small_cnn@{there('net.safetensors')}"
    run("certify", compiled, *SIZES, "--out", "compiled")
    found = run("certify", there("none.onnx"), *SIZES, "--out", "none", code=2)
    assert "There is no model at s3://" in found.output


@pytest.mark.slow
def test_a_twin_in_the_store(there, models):
    weights = models / "net.safetensors"
    sizes = (f"small_cnn@{weights}", *SIZES, "--engine", "onnx", "--block-inputs", 2)
    run("certify", *sizes, "--out", there("twin"))
    storage = Run.open(there("twin")).storage
    assert storage.exists("twin.onnx")
    storage.remove("certificates/00001.parquet")
    run("certify", *sizes, "--out", there("twin"), "--resume")
    run("verify", there("twin"), "--replay", "20%")


def test_passwords_are_not_taken(there, models):
    found = run(
        "certify", models / "net.onnx", *SIZES, "--out", "s3://me:hidden@bucket/run", code=2
    )
    assert "leave them out of the s3 URI" in found.output
    assert "hidden" not in found.output


def test_folders_can_be_copied_to_the_store_and_back(there, models, tmp_path):
    """As `aws s3 cp --recursive` does: a run is its files."""
    run("certify", models / "net.onnx", *SIZES, "--out", "here")
    (store, path), disk = fs.FileSystem.from_uri(there("copy")), fs.LocalFileSystem()
    fs.copy_files("here", path, disk, store)
    run("verify", there("copy"))
    shutil.rmtree("here")
    Path("back").mkdir()
    fs.copy_files(path, "back", store, disk)
    run("verify", "back")
    assert Run.open("back").certificates == Run.open(there("copy")).certificates
