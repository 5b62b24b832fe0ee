"""certify --dry-run and plan without a base: what they show, and that they write nothing."""

import json

import pytest

from smoothcert.cli.resources import Compute, Device
from smoothcert.execution.estimate import Workers
from support.command_line import run_in

COMMON = ("--data", "digits", "--limit", 40, "--sigma", 0.25, "--n", 2000)


@pytest.mark.slow
def test_both_commands_say_the_same_and_write_nothing(models, tmp_path):
    model = models / "net.onnx"
    dry = ("certify", model, *COMMON, "--out", "runs/one", "--dry-run")
    shown, said = run_in(*dry, cwd=tmp_path)
    for part in ("n for all", "84,000", "retain:0.95", "ACR", "CA@0.5", "kB", "not proven"):
        assert part in shown
    assert "never counted as estimation draws" in said
    assert "if nothing is gained (McNemar's exact test" in said
    first = json.loads(run_in(*dry, "--json", cwd=tmp_path)[0])
    second = json.loads(run_in("plan", model, *COMMON, "--json", cwd=tmp_path)[0])
    times = {"seconds", "seconds_shared", "bytes"}  # another speed, other blocks
    for found in (first, second):
        del found["evaluations_per_second"], found["block_inputs"]
        found["policies"] = [
            {name: value for name, value in row.items() if name not in times}
            for row in found["policies"]
        ]
    assert first == second
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_costs_what_was_said(models, tmp_path):
    policy = ("--policy", "retain:0.9")
    run = ("certify", models / "net.onnx", *COMMON, *policy, "--out", "run", "--json")
    rows = json.loads(run_in(*run, "--dry-run", cwd=tmp_path)[0])["policies"]
    assert [row["policy"] for row in rows] == [None, "retain:0.9"]
    assert json.loads(run_in(*run, cwd=tmp_path)[0])["evaluations"] == rows[1]["evaluations"]


def test_workers_are_simulated_and_said_to_be(models, tmp_path):
    asked = ("plan", models / "net.onnx", *COMMON, "--policy", "retain:0.9", "--workers", 3)
    shown, said = run_in(*asked, cwd=tmp_path)
    assert "on 3 workers" in shown
    assert "an estimate by simulation" in said
    assert json.loads(run_in(*asked, "--json", cwd=tmp_path)[0])["workers"] == 3


def test_processes_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("smoothcert.cli.resources.cores", lambda: 8)
    assert Compute(workers=4).shared == Workers(4, 0.25)
    assert Compute(Device(threads=2), 4).shared == Workers(4, 1.0)
    assert Compute(Device(threads=2), 8).shared == Workers(8, 0.5)
    assert Compute(workers=16, cluster="ray").shared == Workers(16, 1.0)
    assert Compute(workers=16, cluster="ray").alone == Compute(Device(threads=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("certify", "m", *COMMON, "--out", "x", "--radius", 0.2, "--dry-run"), "radius:0.2"),
        (("plan", "m"), "needs --data and --sigma"),
        (("plan", "m", "--data", "digits"), "needs --sigma"),
        (("plan", "m", *COMMON, "--base", "b"), "got --sigma, --n, --limit"),
        (("plan", "m", *COMMON, "--method", "exact"), "--method is of recertifications"),
        (("plan", "m", *COMMON, "--workers", 0), "at least 1"),
    ],
)
def test_what_cannot_be_planned_is_refused(arguments, part, tmp_path):
    assert part in run_in(*arguments, cwd=tmp_path, code=2)[1]
