"""--workers: several processes on one run change no byte, and take the GPUs in turn."""

import pytest
import torch
from test_runner import bytes_of
from test_threads import run

from smoothcert.cli.where import Processor
from smoothcert.runs.store import Run

CERTIFY = ("--data", "digits", "--limit", 6, "--sigma", 0.25, "--n", 600, "--block-inputs", 2)


@pytest.mark.parametrize("engine", [(), ("--engine", "onnx")], ids=["as it is", "onnx"])
def test_workers_change_no_byte(engine, models, tmp_path):
    bytes_by_workers = []
    for workers in (1, 2):
        base, new = tmp_path / f"base{workers}", tmp_path / f"new{workers}"
        crew = ("--workers", workers, "--batch-size", 32)
        net = models / "net.safetensors"
        run("certify", net, *CERTIFY, *engine, "--out", base, *crew)
        run("recertify", models / "int8.onnx", "--base", base, "--out", new, *crew)
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
    every = Processor("cuda")
    assert every.devices == 4
    assert [every.of(worker).device for worker in range(5)] == [
        *("cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:0"),
    ]
    assert Processor("cuda:1").devices == 1
    assert Processor("cuda:1").of(3).device == "cuda:1"


def test_the_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr("smoothcert.cli.where.cores", lambda: 9)
    assert Processor().shared(1).threads is None
    assert Processor().shared(4).threads == 2
    assert Processor().shared(20).threads == 1
    assert Processor(threads=3).shared(4).threads == 3
    assert Processor("cuda").shared(4).threads is None


def test_a_run_can_be_finished_by_another_number_of_workers(models, tmp_path):
    net, out = models / "net.safetensors", tmp_path / "r"
    run("certify", net, *CERTIFY, "--out", out, "--workers", 2)
    before = bytes_of(out)
    (out / "certificates" / "00001.parquet").unlink()
    run("certify", net, *CERTIFY, "--out", out, "--resume")
    assert bytes_of(out) == before
    assert Run.open(out).missing == ()
