"""smoothcert search as a user runs it: found, not found, verified."""

import json

import pytest

from support.command_line import program, run_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory):
    found = tmp_path_factory.mktemp("search")
    where = ("--data", "digits", "--limit", 30, "--sigma", 0.25, "--n", 800)
    run_in("certify", models / "net.safetensors", *where, "--out", "base", cwd=found)
    return found


def search(net, *rest):
    return ("search", net, "--base", "base", "--budget", "30k", "--workers", "1", *rest)


def test_found_verified_and_certified_by_input(folder, models):
    net = models / "net.safetensors"
    shown, _ = run_in(
        *search(net, "--accept", "acr>=60%*base", "--out", "found"),
        *("--per-input", "retain:0.7", "--json"),
        cwd=folder,
    )
    found = json.loads(shown)
    assert found["winner"]["size"] < net.stat().st_size / 2
    said, _ = run_in("verify", "found", "--replay", "30%", cwd=folder)
    assert "all as stored" in said
    assert "That the order of the layers" in said
    run_in("verify", "found/per-input", "--base", "base", cwd=folder)
    text = (folder / "found" / "search.json").read_text()
    (folder / "found" / "search.json").write_text(text.replace('"acr": 0.', '"acr": 1.'))
    said, _ = run_in("verify", "found", cwd=folder, code=1)
    assert "it states what its counts do not prove" in said


def test_a_search_stops_when_its_time_is_over(folder, models):
    command = search(models / "net.safetensors", "--accept", "acr>=0.6*base", "--out", "late")
    shown, said = run_in(*command, "--minutes", "0.01", cwd=folder, code=5)
    assert "so far" in shown
    assert "Repeat the command with --resume" in said
    said, _ = run_in("verify", "late", cwd=folder)
    assert "0 candidates recomputed" in said
    _, said = run_in(*command, "--minutes", "0.01", cwd=folder, code=2)
    assert "--resume goes on" in said


def test_not_found_ends_with_the_nearest_and_3(folder, models):
    net = models / "net.safetensors"
    command = search(net, "--accept", "ca@0.5>=0.999*base", "--out", "none")
    shown, _ = run_in(*command, cwd=folder, code=3)
    assert "Not proven: CA@0.5" in shown
    assert "The nearest that was certified is" in shown
    assert not (folder / "none" / "winner.onnx").exists()


def test_what_is_refused(folder, models):
    net = models / "net.safetensors"
    _, said = program(*search(net, "--accept", "size<=3", "--out", "x"), cwd=folder, code=2)
    assert "a target reads like" in said
    _, said = program(
        *("search", net, "--base", "base", "--accept", "acr>=0.9*base", "--out", "x"),
        *("--budget", 100),
        cwd=folder,
        code=2,
    )
    assert "Allow at least" in said
    assert not (folder / "x").exists()


@pytest.mark.parametrize(
    ("policy", "reason"),
    [("retain:1.5", "retain"), ("keep:0.9", "keep"), ("uniform:900", "n = 800 draws")],
)
def test_a_policy_is_refused_before_the_search(policy, reason, folder, models):
    command = search(models / "net.safetensors", "--accept", "acr>=0.6*base", "--out", "p")
    _, said = program(*command, "--per-input", policy, cwd=folder, code=2)
    assert reason in said
    assert not (folder / "p").exists()
