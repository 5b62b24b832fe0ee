"""What the commands say of further tries on one cache, and of a seed that chose a model."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from smoothcert.errors import StoreError
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.sampling.sampler import Sampler
from smoothcert.storage.local import LocalFolder
from support.command_line import run

MODELS = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Bright:
    "Class 1 where the mean exceeds a threshold."
    threshold: float
    name = "bright"
    device, fixed_batch = "cpu", None

    @property
    def fingerprint(self):
        return f"bright-{self.threshold}"

    def logits(self, images):
        mean = images.reshape(len(images), -1).mean(1)
        return np.stack([self.threshold - mean, mean - self.threshold], axis=1)

def f(): return Bright(0.5)
def g(): return Bright(0.51)
def h(): return Bright(0.52)
"""
FACTS = ("--data", "d.npz", "--sigma", 0.25, "--n0", 20, "--n", 200, "--batch-size", 16)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """With a base run of the model f."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "bright", raising=False)
    (tmp_path / "bright.py").write_text(MODELS)
    rng = np.random.default_rng(0)
    x = np.clip(
        rng.integers(0, 256, (12, 1, 4, 4)) + 30 * (np.arange(12) % 2)[:, None, None, None], 0, 255
    )
    np.savez("d.npz", x=x / 255, y=np.arange(12) % 2)
    run("certify", "bright:f", *FACTS, "--out", "base")
    return tmp_path


def recertify(model, policy="uniform:50", out="new", *more, **how):
    method = () if "--fresh-seed" in more else ("--method", "irs")
    to = ("--base", "base", "--policy", policy, *method, "--out", out)
    return run("recertify", f"bright:{model}", *to, "--batch-size", 16, *more, **how)


def plan(model, **how):
    given = ("--base", "base", "--policy", "uniform:50", "--method", "joint")
    return run("plan", f"bright:{model}", *given, **how)


def screen(*models, **how):
    options = ("--base", "base", "--per-input", 10, "--batch-size", 16)
    return run("screen", *(f"bright:{m}" for m in models), *options, **how)


def certify(model, out, *more, **how):
    return run("certify", f"bright:{model}", *FACTS, "--out", out, *more, **how)


def said(result) -> str:
    return " ".join(result.stderr.split())


@pytest.mark.slow
def test_how_often_the_cache_was_asked_is_said_after_the_table(folder):
    plan("g")
    once = said(recertify("g", "uniform:50", "a"))
    assert "This cache has given 1 result for 1 model, 1 of them for this one." in once
    assert "chosen among several" not in once
    twice = said(recertify("g", "uniform:60", "b"))
    assert "This cache has given 2 results for 1 model, 2 of them for this one." in twice
    assert "A result that is chosen among several" in twice
    assert "recertify --fresh-seed random, or certify --seed random" in twice
    shown = said(plan("h"))
    assert "0 of them for this one" in shown
    assert "choose a policy by this table, but no model or method" in shown
    found = json.loads(recertify("h", "uniform:50", "c", "--json").stdout)
    assert found["cache"] == {"results": 3, "models": 2, "plans": 2, "of_this_model": 1}
    beside = said(screen("g", "h"))
    assert "Beside this screening, this cache has given 3 results for 2 models. A result" in beside
    fresh = said(recertify("g", "uniform:50", "d", "--fresh-seed", "random"))
    assert "6 results for 2 models, 4 of them for this one. This result is from draws" in fresh
    shown = run("report", "base", "b", "d", "--out", "page", "--no-thumbnails", "--json").stdout
    caches = [each["cache"] for each in json.loads(shown)["runs"]]
    assert [each["results"] for each in caches] == [6, 6, 6]
    assert [each["of_this_model"] for each in caches] == [0, 4, 4]
    card = run("model-card", "b").stdout
    assert "This cache has given 6 results for 2 models, 4 of them for this one." in card


def test_one_screening_of_all_candidates_is_no_second_try(folder):
    assert "chosen among several" not in said(screen("g", "h"))
    assert "chosen among several" not in said(screen("g", "h"))  # repeated
    assert ledger.tries(Run.open("base")).results == 2
    assert "Beside this screening, this cache has given 2 results" in said(screen("g"))


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", [screen, plan, recertify])
def test_entered_also_if_it_is_interrupted(command, folder, monkeypatch):
    monkeypatch.setattr(Sampler, "labels", interrupt)
    command("g", code=130)
    (entry,) = ledger.entries(Run.open("base"))
    assert (entry["kind"], entry["fingerprint"]) == (command.__name__, "bright-0.51")


def test_resuming_and_sharing_out_is_no_second_try(folder):
    for part in ("1/2", "2/2"):
        recertify("g", "uniform:50", "a", "--shard", part)
    recertify("g", "uniform:50", "a", "--resume", "--workers", 2)
    assert ledger.tries(Run.open("base")).results == 1


def test_certifying_what_the_cache_chose_is_warned_of(folder):
    recertify("g", "uniform:50", "a")
    assert "Warning" not in said(certify("h", "another-model"))
    assert "Warning" not in said(certify("g", "another-seed", "--seed", 3))
    result = said(certify("g", "same-seed"))
    assert (
        "Warning: The draws of seed 0 were looked at before (recertify: irs budget-exact, uniform"
        in result
    )
    assert "0.05 became 0.42 to 0.75" in result
    assert "--seed random" in result
    assert said(certify("g", "same-seed", "--resume")).count("Warning") == 1
    kinds = [entry["kind"] for entry in ledger.entries(Run.open("base"))]
    assert sorted(kinds) == ["certify", "certify", "recertify"]
    decided = certify("g", "decided", "--radius", 0.05)
    assert "Warning: The draws of seed 0" in said(decided)
    assert len(ledger.entries(Run.open("base"))) == 4


def test_a_random_seed_is_recorded_and_kept(folder):
    recertify("g", "uniform:50", "a")
    result = said(certify("g", "final", "--seed", "random"))
    seed = Run.open("final").identity.settings.seed
    assert f"Noise seed {seed}" in result
    assert "Warning" not in result
    assert seed > 2**32
    certify("g", "final", "--seed", "random", "--resume")
    certify("g", "other", "--seed", "random")
    assert Run.open("other").identity.settings.seed != seed
    to = ("--fresh-seed", "random")
    assert "Warning" not in said(recertify("g", "uniform:50", "fresh", *to))
    drawn = Run.open("fresh").identity.method.fresh_seed
    recertify("g", "uniform:50", "fresh", *to, "--resume")
    used = said(recertify("h", "uniform:50", "used", "--fresh-seed", drawn))
    assert f"Warning: The draws of seed {drawn} were looked at before" in used
    refused = certify("g", "shards", "--seed", "random", "--shard", "1/2", code=2)
    assert "Each shard would draw another random seed" in said(refused)
    refused = certify("g", "shards", "--seed", "zero", code=2)
    assert "--seed must be a whole number in 0..2^64 - 1, or random; got 'zero'" in said(refused)


@pytest.mark.slow
def test_a_base_that_cannot_be_written_to_is_said_once(folder, monkeypatch):
    write = LocalFolder.write

    def read_only(place, name, data):
        if name.startswith("ledger"):
            raise StoreError("It is read-only.")
        write(place, name, data)

    monkeypatch.setattr(LocalFolder, "write", read_only)
    for result in (recertify("g", "uniform:50", "a"), screen("g", "h"), plan("g")):
        assert said(result).count("is not counted in its ledger, which cannot be written") == 1


@pytest.mark.slow
def test_a_ledger_that_is_damaged_does_not_undo_a_result(folder):
    recertify("g", "uniform:50", "a")
    (entry,) = Path("base/ledger").iterdir()
    entry.write_text(entry.read_text().replace("bright", "Bright", 1))
    result = said(recertify("h", "uniform:50", "b"))
    assert "How often the cache was used is not known: " in result
    assert "delete it to continue without it" in result
    assert Run.open("b").missing == ()
