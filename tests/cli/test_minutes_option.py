"""--minutes and minutes:M as a user runs them: what is said, the exit code, and how to go on."""

import json

import pytest

from smoothcert.runs.store import Run
from support.command_line import run, run_in
from support.run_files import bytes_of

DATA = ("--data", "digits", "--limit", 12, "--sigma", 0.25, "--batch-size", 32)


@pytest.fixture
def net(models):
    return models / "net.safetensors"


@pytest.mark.slow
def test_a_stop_says_what_is_left_and_how_to_go_on(net, tmp_path):
    """A real clock: however fast the machine is, each command ends, and all of it is done once."""
    certify = ("certify", net, *DATA, "--n", 5000, "--block-inputs", 1)
    run(*certify, "--out", tmp_path / "calm")
    out, stops = tmp_path / "r", 0
    command = (*certify, "--out", out)
    while stops < 100:
        resume = ("--resume",) if stops else ()
        minutes = 0.0005 * (1 + stops)
        _, said = run_in(*command, *resume, "--minutes", minutes, cwd=tmp_path, code=5)
        stops += 1
        done = len(Run.open(out).finished)
        assert f"The {minutes:g} minutes are over: {done} of 12 inputs are done" in said
        if done:
            break
        assert "none of them in this time, as a block of 1 input takes longer" in said
    assert f"Repeat the command with --resume --minutes {minutes:g} to go on." in said
    run(*command, "--resume", "--minutes", 600)
    assert bytes_of(out) == bytes_of(tmp_path / "calm")


def test_in_json_a_stopped_run_is_an_unfinished_one(net, tmp_path):
    command = ("certify", net, *DATA, "--n", 50_000, "--block-inputs", 1, "--out", "r", "--json")
    said, _ = run_in(*command, "--minutes", 0.0005, cwd=tmp_path, code=5)
    found = json.loads(said)
    assert (found["run"], found["blocks"]) == ("r", 12)
    assert found["finished"] < 12


@pytest.mark.slow
def test_a_plan_by_minutes_is_computed_kept_and_resumed(net, tmp_path):
    command = ("certify", net, *DATA, "--n", 2000, "--policy", "minutes:2", "--out", "base")
    run_in(*command, cwd=tmp_path)
    before = bytes_of(tmp_path / "base")
    (block, *_) = sorted((tmp_path / "base" / "certificates").iterdir())
    block.unlink()
    run_in(*command, "--resume", cwd=tmp_path)
    assert bytes_of(tmp_path / "base") == before
    again = ("recertify", net, "--base", "base", "--out", "new", "--policy", "minutes:2")
    run_in(*again, cwd=tmp_path)
    shown, _ = run_in("verify", "new", "--replay", "100%", "--minutes", 5, cwd=tmp_path)
    assert "draws replayed in 5 minutes (about 100 % of the draws of 12 of 12 inputs)" in shown
    assert "all as stored" in shown


def test_before_the_plan_is_made_nothing_is_kept(net, tmp_path):
    command = ("certify", net, *DATA, "--n0", 50_000, "--policy", "retain:0.9", "--out", "r")
    _, said = run_in(*command, "--minutes", 0.0001, cwd=tmp_path, code=5)
    assert "so nothing is kept. Allow more minutes." in said
    assert not (tmp_path / "r").exists()


def test_a_plan_that_the_machine_is_too_slow_for_stops_too(net, tmp_path, monkeypatch):
    """As if the speed had been measured a thousand times too large."""
    from smoothcert.planning.timed import Timing

    monkeypatch.setattr(Timing, "fits", lambda self, per_second, done=0: 10**7)
    command = ("certify", net, *DATA, "--n0", 20, "--n", 100_000, "--policy", "minutes:0.005")
    _, said = run_in(*command, "--out", "r", cwd=tmp_path, code=5)
    assert "The 0.005 minutes are over: " in said
    assert "Allow more minutes" in said or "with --resume" in said


@pytest.mark.slow
def test_a_plan_that_was_stopped_is_finished_by_resuming(net, tmp_path, monkeypatch):
    """However long that takes: nothing is planned or measured again, unless --minutes stops it."""
    from smoothcert.planning.timed import Timing

    monkeypatch.setattr(Timing, "fits", lambda self, per_second, done=0: 10**7)
    few = ("--n0", 20, "--n", 50_000, "--block-inputs", 1, "--out", "r")
    minutes = 0.002
    while not (tmp_path / "r").exists():
        minutes *= 2
        command = ("certify", net, *DATA, *few, "--policy", f"minutes:{minutes:g}")
        _, said = run_in(*command, cwd=tmp_path, code=5)
    assert "--resume to do the rest of the plan, or with --resume --minutes M" in said
    monkeypatch.setattr(Timing, "fits", lambda *_: 1 / 0)
    _, said = run_in(*command, "--resume", "--minutes", 0.0001, cwd=tmp_path, code=5)
    assert "The 0.0001 minutes are over" in said
    _, said = run_in(*command, "--resume", cwd=tmp_path)
    assert f"The plan for {minutes:g} minutes was made when this run was begun" in said
    assert Run.open(tmp_path / "r").missing == ()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("certify", "NET", *DATA, "--minutes", 0, "--out", "r"), "must be above 0"),
        (("certify", "NET", *DATA, "--minutes", "nan", "--out", "r"), "--minutes"),
        (("verify", "r", "--minutes", 1), "Add --replay 100%"),
        (("certify", "NET", *DATA, "--policy", "minutes:0", "--out", "r"), "minutes:M"),
        (
            ("certify", "NET", *DATA, "--policy", "minutes:1", "--shard", "1/2", "--out", "r"),
            "shards and clusters are several",
        ),
    ],
)
def test_misuse_is_refused_before_any_work(command, said, net, tmp_path):
    command = [net if part == "NET" else part for part in command]
    shown = run_in(*command, cwd=tmp_path, code=2)
    assert said in "".join(shown)
    assert not (tmp_path / "r").exists()
