"""What certify returned, saved as a run: the same files as a run has, and the same value again."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Certification, Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, StoreError
from smoothcert.execution.runner import run_certify, run_recertify
from smoothcert.methods import Exact, Irs, Reuse, Sized
from smoothcert.runs import ledger, pilots
from smoothcert.runs.bases import explore
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from smoothcert.tries import SeedReused
from support import linear
from support.command_line import run
from support.known_truth import PixelSum
from support.run_files import bytes_of

DRAWS = {"n0": 20, "n": 200}


def certified(inputs, **options):
    return smoothcert.certify(PixelSum(28), inputs, 0.25, **(DRAWS | options))


WAYS = {
    "from scratch": lambda inputs: certified(inputs),
    "by plan": lambda inputs: certified(inputs, policy="budget:0.5"),
    "with margins": lambda inputs: certified(inputs, keep_margins=True),
    "decided": lambda inputs: smoothcert.decide(PixelSum(28), inputs, 0.25, 0.1, **DRAWS),
    "extended": lambda inputs: smoothcert.extend(certified(inputs), PixelSum(28), inputs, 400),
    "exact": lambda inputs: smoothcert.recertify(
        certified(inputs), PixelSum(29), inputs, policy="budget:0.3"
    ),
    "joint": lambda inputs: smoothcert.recertify(
        certified(inputs), PixelSum(29), inputs, policy="budget:0.5", method="joint"
    ),
    "irs": lambda inputs: smoothcert.recertify(
        certified(inputs), PixelSum(29), inputs, per_input=50, method="irs"
    ),
    "fresh": lambda inputs: smoothcert.recertify(
        certified(inputs), PixelSum(29), inputs, per_input=50, fresh_seed=9
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_what_is_saved_is_verified_and_comes_back(way, tiny_inputs, tmp_path):
    result = WAYS[way](tiny_inputs)
    base = None
    if result.base is not None:
        base = result.base.save(tmp_path / "base")
    run = result.save(tmp_path / "run")
    assert verify(run, base).problems == ()
    assert smoothcert.verify(tmp_path / "run").problems == ()  # the base is recorded
    again = smoothcert.load(tmp_path / "run")
    assert again.certificates == result.certificates
    assert [r.votes for r in again.records] == [r.votes for r in result.records]
    for name in ("settings", "method", "model", "fingerprint", "num_classes", "shape", "labels"):
        assert getattr(again, name) == getattr(result, name), name
    assert again.evaluations == result.evaluations
    assert again.seconds == pytest.approx(result.seconds, rel=0.01, abs=1e-4)
    assert repr(again) == repr(result)


def test_a_changed_vote_or_certificate_of_a_saved_result_is_found(tiny_inputs, tmp_path):
    """The control: what is checked above can fail."""
    result = certified(tiny_inputs)
    first, *rest = result.records
    wrong = replace(first, certificate=replace(first.certificate, radius=0.9))
    run = replace(result, records=(wrong, *rest)).save(tmp_path / "run")
    assert len(verify(run).problems) == 1


def same_files(saved, made):
    """All but how long it took and run.json, whose identity is compared."""
    one, other = bytes_of(saved.path), bytes_of(made.path)
    assert one.keys() == other.keys()
    same = {name for name in one if one[name] == other[name]}
    assert {name for name in one if not name.startswith("events/")} - same <= {"run.json"}
    assert saved.identity == made.identity


@pytest.mark.slow
def test_the_files_are_those_of_a_run(tiny_inputs, tmp_path):
    settings = Settings(0.25, 16, **DRAWS)
    base = run_certify(tmp_path / "base", PixelSum(28), tiny_inputs, settings)
    result = certified(tiny_inputs)
    same_files(result.save(tmp_path / "saved"), base)
    sized = run_certify(
        tmp_path / "sized", PixelSum(28), tiny_inputs, settings, method=Sized("budget:0.5")
    )
    same_files(certified(tiny_inputs, policy="budget:0.5").save(tmp_path / "sized2"), sized)
    methods = {
        "exact": (Exact("budget:0.3"), {"policy": "budget:0.3"}),
        "joint": (Reuse("budget:0.5", "joint"), {"policy": "budget:0.5", "method": "joint"}),
        "irs": (Irs(50), {"per_input": 50, "method": "irs"}),
    }
    for name, (method, options) in methods.items():
        method = replace(method, alpha=0.002)
        made = run_recertify(tmp_path / name, base, PixelSum(29), tiny_inputs, method)
        for number, there in enumerate((base, base.path, str(base.path), result)):
            found = smoothcert.recertify(there, PixelSum(29), tiny_inputs, **options)
            same_files(found.save(tmp_path / f"{name}{number}"), made)


def test_pilots_that_were_shown_of_a_run_are_set_aside_in_python_too(tiny_inputs, tmp_path):
    base = certified(tiny_inputs).save(tmp_path / "base")
    method = Reuse("budget:0.5", "joint", 0.002)
    explore(base, PixelSum(30), tiny_inputs, method)
    assert pilots.shown(base)
    found = smoothcert.recertify(
        base, PixelSum(29), tiny_inputs, policy="budget:0.5", method="joint"
    )
    saved = found.save(tmp_path / "joint")
    assert pilots.read_pilot(saved).shown == pilots.shown(base)
    assert verify(saved, base).problems == ()
    with pytest.raises(InvalidInput, match="would count it among the first 200"):
        smoothcert.recertify(base, PixelSum(29), tiny_inputs, per_input=200, method="irs")


def test_a_run_counts_the_tries_of_python(tiny_inputs, tmp_path):
    result = certified(tiny_inputs)
    smoothcert.recertify(result, PixelSum(29), tiny_inputs, per_input=50)
    run = result.save(tmp_path / "base")
    assert ledger.tries(run).results == 1  # of before it was saved
    smoothcert.recertify(run, PixelSum(29), tiny_inputs, per_input=50)  # the same question
    assert ledger.tries(run).results == 1
    smoothcert.recertify(str(run.path), PixelSum(30), tiny_inputs, per_input=50)
    smoothcert.screen(run, [PixelSum(31)], tiny_inputs, per_input=10)
    assert ledger.tries(run).results == 3
    with pytest.warns(SeedReused):  # the model may have been chosen on these draws
        smoothcert.certify(PixelSum(30), tiny_inputs, 0.25, **DRAWS)


@pytest.mark.slow
def test_a_model_in_memory_is_named_by_whoever_replays_it(tmp_path, monkeypatch):
    digits = smoothcert.load_inputs("digits", limit=6)
    result = smoothcert.certify(linear.good(), digits, 0.25, n=300)
    saved = result.save(tmp_path / "run")
    assert "model" not in saved.manifest.origin
    assert saved.model == result.model == "good"
    run("verify", tmp_path / "run")
    asked = run("verify", tmp_path / "run", "--replay", "5%", code=2)
    assert "does not say which model it was made with. Give --model." in asked.output
    replay = ("--replay", "5%", "--model", "support.linear:good")
    assert "all as stored" in run("verify", tmp_path / "run", *replay).output
    again = smoothcert.verify(saved, replay=0.05, classifier=linear.good(), inputs=digits)
    assert again.replayed and again.problems == ()
    with pytest.raises(InvalidInput, match="Give it the classifier and the inputs"):
        smoothcert.verify(saved, replay=0.05)
    # As a base: its data are known, so neither needs to be given again.
    changed = ("support.linear:permuted", "--policy", "uniform:50")
    run("recertify", *changed, "--base", saved.path, "--out", tmp_path / "cli")
    found = smoothcert.recertify(saved.path, linear.permuted(), policy="uniform:50")
    assert found.certificates == Run.open(tmp_path / "cli").certificates


def test_data_in_memory_are_named_by_whoever_recertifies(tmp_path):
    digits = smoothcert.load_inputs("digits", limit=6)
    pixels = np.stack([item.pixels for item in digits]) / digits.levels
    memory = Inputs.from_arrays(pixels, digits.labels, 1 / digits.levels)
    saved = smoothcert.certify(linear.good(), memory, 0.25, n=300).save(tmp_path / "run")
    where = ("--base", saved.path, "--policy", "uniform:50", "--out", tmp_path / "cli")
    refused = run("recertify", "support.linear:permuted", *where, code=2)
    assert "made in Python from data in memory" in refused.output.replace("\n", " ")
    np.savez(tmp_path / "data.npz", x=pixels, y=np.array(digits.labels))
    run("recertify", "support.linear:permuted", *where, "--data", tmp_path / "data.npz")
    with pytest.raises(InvalidInput, match="does not say where its inputs are"):
        smoothcert.recertify(saved, linear.permuted(), policy="uniform:50")
    found = smoothcert.recertify(saved, linear.permuted(), memory, policy="uniform:50")
    assert found.certificates == Run.open(tmp_path / "cli").certificates


def test_a_reference_and_a_data_set_are_recorded():
    found = smoothcert.certify("support.linear:good", "digits", 0.25, n=10, n0=5)
    origin = found.manifest.origin
    assert origin["model"] == "support.linear:good"
    assert origin["data"]["data"] == "digits"
    part = smoothcert.load_inputs("digits", "train", limit=30, every=2, grid=1 / 256)
    assert part.source.to_json() == {
        "data": "digits",
        "split": "train",
        "grid": "1/256",
        "limit": 30,
        "every": 2,
        "size": None,
        "channels": None,
    }
    assert part.select([0, 1]).source is None  # that is another selection


def test_what_cannot_be_saved(tiny_inputs, tmp_path):
    result = certified(tiny_inputs)
    plain = Certification(*(getattr(result, f) for f in Certification.__dataclass_fields__))
    found = smoothcert.recertify(plain, PixelSum(29), tiny_inputs, per_input=50)
    with pytest.raises(InvalidInput, match="does not say how it was made"):
        found.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    result.save(tmp_path / "run")
    with pytest.raises(StoreError, match="already exists"):
        result.save(tmp_path / "run")
    wrong = certified(replace(tiny_inputs, labels=(5,) * 30))
    with pytest.raises(InvalidInput, match="have the label 5, but pixel-sum has 2 classes"):
        wrong.save(tmp_path / "other")
    with pytest.raises(InvalidInput, match="is not in a run directory yet"):
        smoothcert.write_report(certified(tiny_inputs), tmp_path / "report")


def test_a_loaded_result_is_saved_elsewhere_as_it_is(tiny_inputs, tmp_path):
    certified(tiny_inputs, policy="budget:0.5").save(tmp_path / "one")
    smoothcert.load(tmp_path / "one").save(tmp_path / "two")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_results_are_pickled(tiny_inputs, tmp_path):
    result = certified(tiny_inputs)
    result.save(tmp_path / "run")
    for one in (result, smoothcert.load(tmp_path / "run")):
        again = pickle.loads(pickle.dumps(one))
        assert isinstance(again, Certification)
        assert again.certificates == result.certificates
        assert again.records[3].votes == result.records[3].votes


def test_a_plan_from_a_path_is_that_of_the_command(tmp_path):
    digits = smoothcert.load_inputs("digits", limit=12)
    base = smoothcert.certify(linear.good(), digits, 0.25, n=300)
    base.save(tmp_path / "base")
    asked = ("--base", tmp_path / "base", "--policy", "budget:0.2", "--json")
    told = run("plan", "support.linear:permuted", *asked).stdout
    for there in (base, str(tmp_path / "base")):
        (one,) = smoothcert.plan(there, linear.permuted(), digits, "budget:0.2")
        assert f'"evaluations": {one.evaluations}' in told
        assert f'"expected_acr": {one.acr}' in told
    assert base.tries.results == 0  # a plan by the exact test's pilot is no try


def test_the_report_of_results(tiny_inputs, tmp_path):
    result = certified(tiny_inputs)
    result.save(tmp_path / "base")
    (summary,) = smoothcert.write_report(result, tmp_path / "report")
    assert summary.acr == result.summary().acr
    assert (Path(tmp_path) / "report" / "index.html").exists()
