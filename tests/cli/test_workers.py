"""--workers: several processes on one run change no byte, and take the GPUs in turn."""

import json
import subprocess
import sys

import pytest
import torch

from smoothcert.cli.resources import Compute, Device
from smoothcert.errors import InvalidInput
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from support.command_line import run
from support.run_files import bytes_of

CERTIFY = ("--data", "digits", "--limit", 6, "--sigma", 0.25, "--n", 600, "--block-inputs", 2)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [(), ("--engine", "onnx")], ids=["as it is", "onnx"])
def test_workers_change_no_byte(engine, models, tmp_path):
    bytes_by_workers = []
    for workers in (1, 2):
        base, new = tmp_path / f"base{workers}", tmp_path / f"new{workers}"
        processes = ("--workers", workers, "--batch-size", 32)
        net = models / "net.safetensors"
        run("certify", net, *CERTIFY, *engine, "--out", base, *processes)
        run("recertify", models / "int8.onnx", "--base", base, "--out", new, *processes)
        run("verify", new)
        bytes_by_workers.append((bytes_of(base), bytes_of(new)))
    assert bytes_by_workers[0] == bytes_by_workers[1]
    assert len(bytes_by_workers[0][0]) == 1 + 2 * 3


def test_no_workers_at_all_are_refused(models, tmp_path):
    net = models / "net.safetensors"
    result = run("certify", net, *CERTIFY, "--out", tmp_path / "r", "--workers", 0, code=2)
    assert "Error: --workers must be at least 1; got 0" in result.output
    assert not (tmp_path / "r").exists()


def test_all_gpus_of_a_machine_are_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    every = Device("cuda")
    assert every.count == 4
    assert [every.for_worker(worker).name for worker in range(5)] == [
        *("cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:0"),
    ]
    assert Device("cuda:1").count == 1
    assert Device("cuda:1").for_worker(3).name == "cuda:1"


def test_the_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr("smoothcert.cli.resources.cores", lambda: 9)
    assert Device().divided(1).threads is None
    assert Device().divided(4).threads == 2
    assert Device().divided(20).threads == 1
    assert Device(threads=3).divided(4).threads == 3
    assert Device("cuda").divided(4).threads is None


@pytest.mark.slow
def test_screening_with_workers_proves_the_same(models, tmp_path):
    net, base = models / "net.safetensors", tmp_path / "base"
    run("certify", net, *CERTIFY, "--out", base)
    asked = ("screen", models / "int8.onnx", net, "--base", base, "--per-input", 20)
    one = run(*asked, "--json").stdout
    assert run(*asked, "--workers", 2, "--json").stdout == one
    names = [c["name"].rpartition("@")[2] for c in json.loads(one)]
    assert names == ["int8.onnx", "net.safetensors"]
    missing = run(*asked[:2], "no.onnx", *asked[3:], "--workers", 2, code=2)
    assert "no.onnx" in missing.output
    asked = ledger.tries(Run.open(base))
    assert (asked.results, asked.models) == (2, 2)  # with workers it was the same screening


@pytest.mark.slow
def test_a_run_can_be_finished_by_another_number_of_workers(models, tmp_path):
    net, out = models / "net.safetensors", tmp_path / "r"
    run("certify", net, *CERTIFY, "--out", out, "--workers", 2)
    before = bytes_of(out)
    (out / "certificates" / "00001.parquet").unlink()
    run("certify", net, *CERTIFY, "--out", out, "--resume")
    assert bytes_of(out) == before
    assert Run.open(out).missing == ()


@pytest.mark.slow
def test_shards_and_merge(models, tmp_path):
    net, batch = models / "net.safetensors", ("--batch-size", 32)
    run("certify", net, *CERTIFY, *batch, "--out", tmp_path / "whole")
    for i in (1, 2):
        said = run(
            "certify", net, *CERTIFY, *batch, "--out", tmp_path / f"p{i}", "--shard", f"{i}/2"
        )
        assert f"{3 - i} of 3 blocks finished" in said.output.replace("\n", " ")
    parts = (tmp_path / "p1", tmp_path / "p2")
    merged = json.loads(run("merge", parts[0], "--out", tmp_path / "half", "--json").stdout)
    assert merged == {"run": str(tmp_path / "half"), "blocks": 3, "finished": 2}
    whole = json.loads(run("merge", *parts, "--out", tmp_path / "both", "--json").stdout)
    assert (
        whole["certified"]
        == json.loads(
            run("report", tmp_path / "whole", "--out", tmp_path / "rep", "--json").stdout
        )["runs"][0]["certified"]
    )
    assert bytes_of(tmp_path / "both") == bytes_of(tmp_path / "whole")
    said = run("certify", net, *CERTIFY, "--out", tmp_path / "x", "--shard", "0/2", code=2)
    assert "A shard must be I/N with I from 1 to N, such as 1/8; got 0/2" in said.output
    assert not (tmp_path / "x").exists()


def test_a_cluster_is_named(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    named = {
        "ray": "",
        "ray://h:10001": "ray://h:10001",
        "ray:h:6379": "h:6379",
        "ray:auto": "auto",
    }
    for text, address in named.items():
        assert Compute(cluster=text).address == address
    assert Compute().address is None
    monkeypatch.setenv("RAY_ADDRESS", "h:1")
    assert Compute(cluster="ray").address == "h:1"
    for wrong in ("", "slurm", "ray:", "ray:/x"):
        with pytest.raises(InvalidInput, match="--cluster must be ray, ray://HOST:PORT or"):
            Compute(cluster=wrong)


IN_TURN = """
import json, sys
from smoothcert.cli.main import app
for words in json.loads(sys.argv[1]):
    app(words, standalone_mode=False)
"""


def apart(commands) -> None:
    """Commands that succeed, in a process of their own, as Ray stays connected for its life."""
    words = json.dumps([[*map(str, command)] for command in commands])
    program = [sys.executable, "-c", IN_TURN, words]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def certificates(file):
    """What a screening proved, without where its base run was."""
    return [{k: v for k, v in row.items() if k != "made"} for row in json.loads(file.read_text())]


@pytest.mark.slow
@pytest.mark.refused("169.254.169.254", "metadata.google.internal")  # see test_cluster.py
def test_the_command_line_on_a_cluster(models, tmp_path):
    pytest.importorskip("ray", reason="needs ray: pip install 'smoothcert[cluster]'")
    net = models / "net.safetensors"

    def commands(place, *more):
        base, new = tmp_path / f"base-{place}", tmp_path / f"new-{place}"
        more = ("--batch-size", 32, *more)
        yield "certify", net, *CERTIFY, "--out", base, *more
        yield "recertify", models / "int8.onnx", "--base", base, "--out", new, *more
        both = (models / "int8.onnx", net)
        options = ("--base", base, "--per-input", 20, "--out", tmp_path / f"{place}.json")
        yield "screen", *both, *options, *more

    for command in commands("one"):
        run(*command)
    apart(commands("ray", "--cluster", "ray", "--workers", 2))
    assert bytes_of(tmp_path / "base-one") == bytes_of(tmp_path / "base-ray")
    assert bytes_of(tmp_path / "new-one") == bytes_of(tmp_path / "new-ray")
    assert certificates(tmp_path / "one.json") == certificates(tmp_path / "ray.json")
    for place in ("one", "ray"):
        asked = ledger.tries(Run.open(tmp_path / f"base-{place}"))
        assert (asked.results, asked.models) == (3, 2)  # recertified, and two screened
