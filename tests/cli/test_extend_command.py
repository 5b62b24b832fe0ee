"""smoothcert extend as a user runs it: a finished run, more draws, and what can follow."""

import json

import pytest

from smoothcert.runs.store import Run
from support.command_line import program, run_in


@pytest.mark.slow
def test_extend_verify_and_recertify(models, tmp_path):
    net = models / "net.safetensors"
    where = ("--data", "digits", "--limit", 8, "--sigma", 0.25, "--n", 300)
    run_in("certify", net, *where, "--out", "base", cwd=tmp_path)
    shown, _ = run_in(
        *("extend", net, "--base", "base", "--n", "3k", "--out", "more"),
        *("--accept", "acr>=base", "--workers", 2, "--json"),
        cwd=tmp_path,
    )
    found = json.loads(shown)
    assert (found["evaluations"], found["accepted"]) == (8 * 2700, True)
    run_in("verify", "more", "--base", "base", "--replay", "10%", cwd=tmp_path)
    run_in("recertify", net, "--base", "more", "--out", "new", cwd=tmp_path)
    assert Run.open(tmp_path / "new").identity.method.share == 0.125
    said, _ = run_in("model-card", "more", "new", cwd=tmp_path)
    assert "extended from n = 300 to 3000 estimation draws, at 0.125 of alpha" in said
    _, said = program(
        *("extend", net, "--base", "more", "--n", 5000, "--out", "x"), cwd=tmp_path, code=2
    )
    assert "The first run has n = 300" in said
    assert "Extend to 3,000 or 6,000" not in said
    assert "Extend to 6,000" in said
    assert not (tmp_path / "x").exists()
