"""smoothcert transfer, and verify on another machine, as a user runs them on two processors.

One adds sums of 8-bit products exactly, the other clips them to 16 bits; both are emulated
(experiments/processors.py), so the same file gives other labels on 0.3 % of the draws.
"""

import json
import shutil

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Outcome
from smoothcert.classifiers import onnx
from smoothcert.runs.replaying import moved
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.command_line import run_in
from support.machines import CLIPS, EXACT, Loaded, full_range, on
from support.run_files import edit

pytestmark = pytest.mark.slow

CERTIFY = ("--data", "digits", "--limit", 12, "--sigma", 0.25, "--n", 2000, "--block-inputs", 4)


@pytest.fixture(scope="module")
def made(models, tmp_path_factory):
    """A folder with an int8 file whose sums may be clipped, and its run on the exact machine."""
    folder = tmp_path_factory.mktemp("transfer")
    data = smoothcert.load_inputs("digits", "train")
    full_range(f"small_cnn@{models / 'net.safetensors'}", folder / "wide.onnx", data)
    with on(EXACT):
        run_in("certify", "wide.onnx", *CERTIFY, "--out", "there", cwd=folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def parts(folder, name):
    body = json.loads((folder / name / "run.json").read_text())
    return body["identity"], body["origin"]


def test_a_run_says_on_what_it_was_made(folder):
    identity, origin = parts(folder, "there")
    assert "products" not in identity
    assert origin["machine"] == EXACT
    with on(CLIPS):
        run_in("certify", "wide.onnx", *CERTIFY, "--out", "clipped", cwd=folder)
    identity, origin = parts(folder, "clipped")
    assert identity["products"] == "saturating"
    assert Run.open(folder / "clipped").identity.products == "saturating"
    said, _ = run_in("model-card", "there", "clipped", cwd=folder)
    assert "evaluated on `New 2 (Maker, x86_64, AVX2, AVX-512, AVX-512 VNNI)`" in said
    assert "evaluated on `Old 1 (Maker, x86_64, AVX2, saturating products of integers)`" in said


def unfinished(folder):
    (folder / "there" / "certificates" / "00001.parquet").unlink()
    return ("certify", "wide.onnx", *CERTIFY, "--out", "there")


@pytest.mark.parametrize("how", [("--resume",), ("--shard", "2/3")])
def test_a_run_goes_on_only_where_products_are_the_same(how, folder):
    again = unfinished(folder)
    with on(CLIPS):
        _, said = run_in(*again, *how, cwd=folder, code=2)
    assert 'products of 8-bit integers (empty if exact): "" stored, "saturating" now' in said
    with on({**EXACT, "processor": "New 3"}):
        run_in(*again, *how, cwd=folder)
    with on(CLIPS):  # the advice
        assert "smoothcert transfer" in said
        run_in("transfer", "there", "--out", "here", cwd=folder)
    assert not Run.open(folder / "here").missing


def test_a_run_from_before_machines_were_recorded_goes_on(folder):
    again = unfinished(folder)
    edit(folder / "there", lambda body: body["origin"].pop("machine"))
    with on(CLIPS):
        _, said = run_in(*again, "--resume", cwd=folder, code=2)
    assert "different logits" in said  # as before: here by what it answers
    with on({**EXACT, "features": CLIPS["features"]}):
        # The machine it was begun on, if that one clips: nothing new is held against it.
        edit(folder / "there", lambda body: body["origin"].pop("probe_answers"))
        run_in(*again, "--resume", cwd=folder)


def test_transfer_gives_an_ordinary_run_of_this_machine(folder):
    with on(CLIPS):
        shown, said = run_in("transfer", "there", "--out", "here", cwd=folder)
        run_in("verify", "here", "--replay", "100%", cwd=folder)
        again = ("transfer", "there", "--out", "here", "--resume")
        found, _ = run_in(*again, "--accept", "acr>=80%*base", "--json", cwd=folder)
        run_in(*again, "--accept", "acr>=0.9", cwd=folder, code=3)
        run_in("report", "here", "there", "--out", "report", cwd=folder)
    there, here = Run.open(folder / "there"), Run.open(folder / "here")
    votes = moved(there, here)
    assert 0 < votes.differing < 0.02 * votes.compared
    assert f"On this machine {votes.differing:,} of {votes.compared:,} votes moved (0." in shown
    assert "Policy budget:0." in said
    found = json.loads(found)
    assert found["accepted"]
    assert found["votes"] == {"compared": votes.compared, "differing": votes.differing}
    assert verify(here, there).problems == ()
    assert here.identity.base == there.identity.hash
    assert here.identity.model == there.identity.model
    assert "Old 1 (Maker, x86_64, AVX2, saturating" in (folder / "report/index.html").read_text()
    with on(EXACT):
        run_in("verify", "here", "--replay", "100%", cwd=folder, code=6)


def test_its_certificates_are_those_of_recertify_for_what_this_machine_computes(folder):
    with on(CLIPS):
        run_in("transfer", "there", "--policy", "budget:0.3", "--out", "here", cwd=folder)
    there = Run.open(folder / "there")
    data = smoothcert.load_inputs("digits", limit=12)
    expected = smoothcert.recertify(
        there, Loaded(folder / "wide.onnx", True), data, policy="budget:0.3", batch_size=256
    )
    assert there.identity.batch_size == 256
    assert Run.open(folder / "here").certificates == expected.certificates
    with on(CLIPS):
        again = smoothcert.transfer(there, str(folder / "wide.onnx"), data, policy="budget:0.3")
        chosen = smoothcert.transfer(there, str(folder / "wide.onnx"), data)
    assert again.certificates == expected.certificates
    assert chosen.settings == there.identity.settings
    assert sum(c.outcome is Outcome.CERTIFIED for c in chosen.certificates) >= 8


def test_verify_tells_another_machine_from_wrong_votes(folder):
    replay = ("verify", "there", "--replay", "100%")
    with on(EXACT):
        run_in(*replay, cwd=folder)
    with on(CLIPS):
        shown, _ = run_in(*replay, cwd=folder, code=6)
        found, _ = run_in(*replay, "--json", cwd=folder, code=6)
    assert "all but votes as stored." in shown
    assert "votes moved (0." in shown
    assert "certificates of the machine New 2 (Maker" in shown
    assert "On this one, Old 1 (Maker" in shown
    assert "smoothcert transfer there --out NEW" in shown
    found = json.loads(found)
    assert (found["ok"], found["problems"]) == (False, [])
    assert "smoothcert transfer" in found["other_machine"]
    # What no machine explains is wrong anywhere.
    (folder / "there" / "added").write_text("")
    with on(CLIPS):
        shown, _ = run_in(*replay, cwd=folder, code=1)
    assert "is not part of a run" in shown
    assert "smoothcert transfer" in shown


def test_where_the_machine_is_the_same_other_votes_are_wrong(folder):
    """The control: the same labels, on a machine that is the recorded one by all it says."""
    there = {**EXACT, "providers": ["else"], "threads": 64}  # which change no vote
    edit(folder / "there", lambda body: body["origin"].update(machine=there))
    with on(EXACT, saturating=True):
        shown, _ = run_in("verify", "there", "--replay", "100%", cwd=folder, code=1)
    assert "replayed draws have a different label" in shown
    assert "Another machine" not in shown


def test_an_old_run_says_what_it_knows(folder):
    edit(folder / "there", lambda body: body["origin"].pop("machine"))
    with on(CLIPS):
        shown, _ = run_in("verify", "there", "--replay", "100%", cwd=folder, code=1)
    assert "does not record on which machine it was made" in shown
    assert "smoothcert transfer there --out NEW" in shown
    with on(EXACT):
        run_in("verify", "there", "--replay", "100%", cwd=folder)
        card, _ = run_in("model-card", "there", cwd=folder)
    assert "evaluated on" not in card


def test_another_file_is_recertified_instead(folder, models):
    with on(CLIPS):
        other = ("transfer", "there", "--model", models / "int8.onnx", "--out", "here")
        _, said = run_in(*other, cwd=folder, code=2)
        assert "a changed model is recertified: smoothcert recertify" in said
        assert not (folder / "here").exists()
        to = ("--base", "there", "--policy", "uniform:100", "--out", "here")
        run_in("recertify", models / "int8.onnx", *to, cwd=folder)
        # And recertify of the same file says the same as transfer by the same policy.
        to = ("--policy", "budget:0.3", "--out")
        run_in("recertify", "wide.onnx", "--base", "there", *to, "one", cwd=folder)
        (folder / "moved").mkdir()
        shutil.move(folder / "wide.onnx", folder / "moved" / "wide.onnx")
        again = ("--model", "moved/wide.onnx", *to)
        run_in("transfer", "there", *again, "other", cwd=folder)
    one, other = (Run.open(folder / name).certificates for name in ("one", "other"))
    assert one == other


def test_a_recertified_run_is_made_again_from_its_base(folder):
    with on(EXACT):
        to = ("--base", "there", "--policy", "uniform:300", "--out", "new")
        run_in("recertify", "wide.onnx", *to, cwd=folder)
    with on(CLIPS):
        _, said = run_in("transfer", "new", "--alpha", 0.01, "--out", "here", cwd=folder, code=2)
        assert "by its own policy and alpha" in said
        shown, _ = run_in("transfer", "new", "--out", "here", cwd=folder)
        run_in("verify", "here", "--base", "there", "--replay", "100%", cwd=folder)
        shutil.move(folder / "there", folder / "elsewhere")
        _, said = run_in("transfer", "new", "--out", "x", cwd=folder, code=2)
        assert "Give it with --base" in said
        run_in("transfer", "new", "--base", "elsewhere", "--out", "x", cwd=folder)
        run_in("transfer", "new", "--base", "here", "--out", "y", cwd=folder, code=2)
    new, here = Run.open(folder / "new"), Run.open(folder / "here")
    assert new.identity.method == here.identity.method
    assert moved(new, here).differing > 0
    assert str(moved(new, here)) in shown


def test_what_cannot_be_reused_is_refused_with_a_way_out(folder):
    with on(EXACT):
        to = ("--base", "there", "--fresh-seed", 5, "--policy", "uniform:300", "--out", "new")
        run_in("recertify", "wide.onnx", *to, cwd=folder)
        decide = ("--data", "digits", "--limit", 4, "--sigma", 0.25, "--radius", 0.1)
        run_in("certify", "wide.onnx", *decide, "--out", "decided", cwd=folder)
    with on(CLIPS):
        _, said = run_in("transfer", "new", "--out", "x", cwd=folder, code=2)
        assert "recertify --fresh-seed random" in said
        _, said = run_in("transfer", "decided", "--out", "x", cwd=folder, code=2)
        assert "smoothcert certify --radius" in said
        fresh = ("--base", "there", "--fresh-seed", "random", "--out", "y")
        run_in("recertify", "wide.onnx", *fresh, cwd=folder)
        run_in("certify", "wide.onnx", *decide, "--out", "z", cwd=folder)
        other = "--base", "there"
        run_in("transfer", "there", *other, "--out", "x", cwd=folder, code=2)
    assert not (folder / "x").exists()
    certification = Run.open(folder / "new").certification()
    with on(CLIPS), pytest.raises(smoothcert.SmoothcertError, match="was itself recertified"):
        data = smoothcert.load_inputs("digits", limit=12)
        smoothcert.transfer(certification, str(folder / "wide.onnx"), data)


def test_extend_does_not_mix_two_arithmetics(folder):
    to = ("extend", "wide.onnx", "--base", "there", "--n", 4000, "--out", "more")
    with on(CLIPS):
        _, said = run_in(*to, cwd=folder, code=2)
    assert "another arithmetic of 8-bit integers" in said
    with on({**EXACT, "processor": "New 3"}):
        run_in(*to, cwd=folder)
    with on(CLIPS):  # with the share that an extension leaves
        run_in("transfer", "more", "--out", "here", cwd=folder)
    assert Run.open(folder / "here").identity.method.share == 0.5


def test_a_twin_comes_along(models, tmp_path):
    net = models / "net.safetensors"
    run_in("certify", net, *CERTIFY, "--engine", "onnx", "--out", "there", cwd=tmp_path)
    run_in("transfer", "there", "--policy", "budget:0.1", "--out", "here", cwd=tmp_path)
    shutil.rmtree(tmp_path / "there")
    run_in("verify", "here", "--replay", "5%", cwd=tmp_path)
    assert Run.open(tmp_path / "here").attached.keys() == {"twin.onnx"}


def test_the_two_machines_are_two(made):
    """The control: what is emulated is what this processor computes, but for what is clipped."""
    images = np.random.default_rng(0).random((50, 1, 8, 8), np.float32)
    exact, clipped = (Loaded(made / "wide.onnx", clips).logits(images) for clips in (False, True))
    assert (exact != clipped).any()
    from smoothcert.classifiers.integer_products import saturates

    here = onnx.OnnxClassifier.load(made / "wide.onnx").logits(images)
    assert saturates() or (exact == here).all()
