"""--accept: the exit code 3, what is said, and --log beside it."""

import json
import shutil

import numpy as np
import pytest

import smoothcert
from support.command_line import run

CERTIFY = ("--data", "digits", "--limit", 12, "--sigma", 0.25, "--n", 300, "--block-inputs", 4)


@pytest.fixture(scope="module")
def base(models, tmp_path_factory):
    out = tmp_path_factory.mktemp("accept") / "base"
    run("certify", models / "net.onnx", *CERTIFY, "--out", out)
    return out


@pytest.mark.slow
def test_certify_and_recertify_exit_with_3_unless_accepted(base, models, tmp_path):
    net = models / "net.onnx"
    again = ("certify", net, *CERTIFY, "--out", base, "--resume")
    good = run(*again, "--accept", "ca@0.0>=0.3")
    (line,) = [line for line in good.stdout.splitlines() if line.startswith("accepted: ")]
    assert "inputs have a certificate of their label at radius 0; the target is 4" in line
    assert line.endswith(" At worst 1 of them is wrong, which leaves 11.")
    assert "probability 1 − 0.001, at most 1 of the 12 certificates is wrong" in good.stdout
    bad = run(*again, "--accept", "acr>=0.9", code=3)
    assert "\nnot accepted: the average certified radius of 12 inputs is 0." in bad.stdout
    to = ("recertify", models / "int8.onnx", "--base", base, "--policy", "uniform:100")
    good = run(*to, "--out", tmp_path / "new", "--accept", "acr>=0.01", "--json")
    found = json.loads(good.stdout)
    assert found["accepted"] is True
    assert found["why"].startswith("accepted: ")
    bad = run(*to, "--out", tmp_path / "x", "--accept", "ca@0.5>=1", "--json", code=3)
    assert json.loads(bad.stdout)["accepted"] is False
    assert not smoothcert.Run.open(tmp_path / "x").missing  # the work is kept


def test_screen_exits_with_3_unless_every_model_is_accepted(base, models, tmp_path):
    shutil.copytree(base, tmp_path / "base")  # keeps a ledger
    to = ("--base", tmp_path / "base", "--per-input", 50)
    good, other = models / "net.onnx", models / "prune.safetensors"
    easy = run("screen", good, *to, "--accept", "ca@0>=0.3")
    assert "\naccepted: net.onnx, CA@0 ≥ 0.3: Proven: the inputs of this data set" in easy.stdout
    hard = run("screen", good, other, *to, "--accept", "ca@0.9>=0.9", code=3)
    assert hard.stdout.count("\nnot accepted: ") == 2
    data = run("screen", good, *to, "--accept", "ca@0.9>=0.9", "--json", code=3)
    assert json.loads(data.stdout)[0]["verdict"] == "UNREACHABLE"
    run("screen", good, *to)  # nothing asked for, nothing refused


def proven(result) -> list[str]:
    """The lines of verdicts."""
    return [line for line in result.stdout.splitlines() if "accepted: " in line]


def test_screen_takes_several_targets_and_any_of_several_models(base, models, tmp_path):
    shutil.copytree(base, tmp_path / "base")
    to = ("--base", tmp_path / "base", "--per-input", 50)
    good, other = models / "net.onnx", models / "prune.safetensors"
    both = ("--accept", "ca@0>=30%", "--accept", "acr>=0.02*base")
    one = proven(run("screen", good, *to, *both))
    assert [line.partition(":")[0] for line in one] == ["accepted"] * 2
    assert one[0].startswith("accepted: net.onnx, CA@0 ≥ 0.3: Proven: ")
    assert one[1].startswith("accepted: net.onnx, ACR ≥ 0.0")
    high = ("--accept", "ca@0>=30%", "--accept", "acr>=0.9")
    found = proven(run("screen", good, *to, *high, code=3))
    assert "CA@0 ≥ 0.3: Not decided: another target cannot be proven" in found[0]
    assert "ACR ≥ 0.9: Stopped early" in found[1]
    # A target that one of two models reaches: all must, unless any may.
    with_flips = _wrong(other, tmp_path)
    some = ("screen", good, with_flips, *to, "--accept", "ca@0>=30%")
    assert [line.startswith("accepted") for line in proven(run(*some, code=3))] == [True, False]
    assert [line.startswith("accepted") for line in proven(run(*some, "--accept-any"))] == [
        True,
        False,
    ]
    run("screen", with_flips, *to, "--accept", "ca@0>=30%", "--accept-any", code=3)
    result = run("screen", good, *to, "--accept-any", code=2)
    assert "--accept-any judges by --accept, which is missing" in result.stderr


def _wrong(model, folder):
    """A model that confuses everything: the weights of the last layer, backwards."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(model)
    out = folder / "wrong.safetensors"
    from safetensors import safe_open

    with safe_open(model, "numpy") as file:
        facts = file.metadata()
    save_file({k: -v if v.ndim > 1 else v for k, v in tensors.items()}, out, facts)
    return out


def test_gates_relative_to_the_original(base, models, tmp_path):
    shutil.copytree(base, tmp_path / "base")
    to = ("recertify", models / "net.onnx", "--base", tmp_path / "base", "--policy", "uniform:250")
    gates = ("--accept", "ca@0.05 ≥ base − 50%", "--accept", "acr>=10%*base")
    good = run(*to, "--out", tmp_path / "new", *gates)
    first, second = proven(good)
    count = _robust(tmp_path / "base", 0.05)
    asked = f"the target is {count - 6} (base - 50%; the original has {count} of 12 there)"
    assert asked in first
    assert "(10%*base; the original's own is about 0." in second
    assert good.stdout.count("that the accuracy itself fell by no more is not proven") == 1
    assert good.stdout.count("of the 12 certificates is wrong") == 1  # once, for all targets
    bad = ("--accept", "acr>=base+0.5", "--accept", "ca@0.05>=base-50%")
    found = proven(run(*to, "--out", tmp_path / "new", "--resume", *bad, code=3))
    assert [line.startswith("accepted") for line in found] == [False, True]
    screened = run("screen", models / "net.onnx", *to[2:4], "--accept", "ca@0.05>=base-50%")
    assert f"asks for CA@0.05 ≥ {(count - 6) / 12:g}: the original has" in screened.stderr


def _robust(where, radius: float) -> int:
    found = smoothcert.Run.open(where)
    pairs = zip(found.certificates, found.labels, strict=True)
    return sum(c.predicted == label and c.radius >= radius for c, label in pairs)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("ca@0.9>=base-2%", "'ca@0.9>=base-2%' asks for nothing, as the original has 0 of 12"),
        ("ca@0.01>=base+90%", "asks for more than all inputs, as the original has"),
        ("acr>=base-2%", r"2% of what, in 'acr>=base-2%'? For a part of the original's average"),
        ("acr>=base-5", "asks for nothing, as the original's own is about 0."),
    ],
)
def test_relative_gates_that_decide_nothing_are_refused_before_any_work(
    target, said, base, models, tmp_path
):
    to = (models / "net.onnx", "--base", base)
    result = run("recertify", *to, "--out", tmp_path / "new", "--accept", target, code=2)
    assert said in result.stderr
    assert not (tmp_path / "new").exists()
    result = run("screen", *to, "--accept", target, code=2)
    assert said in result.stderr


def test_a_certification_from_scratch_has_no_base(models, tmp_path):
    options = (*CERTIFY, "--out", tmp_path / "r", "--accept", "ca@0.1>=base-2%")
    result = run("certify", models / "net.onnx", *options, code=2)
    assert "compares with the original, which a certification from scratch does not" in (
        result.stderr
    )
    assert not (tmp_path / "r").exists()


def test_what_cannot_be_judged_is_refused_before_any_work(base, models, tmp_path):
    net = models / "net.onnx"
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 8, 8, 1), np.uint8))
    unlabelled = ("--data", tmp_path / "x.npz", "--sigma", 0.25, "--out", tmp_path / "r")
    result = run("certify", net, *unlabelled, "--accept", "acr>=0.1", code=2)
    assert "has no labels, so no certificate can be called right" in result.stderr
    result = run(
        *("certify", net, *CERTIFY, "--out", tmp_path / "r", "--shard", "1/2"),
        *("--accept", "acr>=0.1"),
        code=2,
    )
    assert "--accept judges a whole run" in result.stderr
    result = run("certify", net, *CERTIFY, "--out", tmp_path / "r", "--accept", "ca>1", code=2)
    assert "a target reads like 'ca@0.5>=0.40'" in result.stderr
    result = run("certify", net, *CERTIFY, "--out", tmp_path / "r", "--log", "comet", code=2)
    assert "A logger must be wandb[:PROJECT]" in result.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_log_follows_a_run_and_its_recertification(base, models, tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = ("--log", f"tensorboard:{tmp_path / 'logs'}")
    run("certify", models / "net.onnx", *CERTIFY, "--out", base, "--resume", *log)
    to = ("--base", base, "--policy", "uniform:50", "--out", tmp_path / "new")
    run("recertify", models / "int8.onnx", *to, *log)
    for name, path in (("base", base), ("new", tmp_path / "new")):
        events = EventAccumulator(str(tmp_path / "logs" / name))
        events.Reload()
        (last,) = events.Tensors("final/evaluations")
        found = smoothcert.Run.open(path)
        spent = found.pilot_evaluations + sum(c.evaluations for c in found.certificates)
        assert last.tensor_proto.float_val[0] == spent
        assert last.step == 12


def test_a_logger_that_fails_is_said_in_a_line(base, models, tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    (tmp_path / "file").write_text("no folder")
    out = ("--out", base, "--resume")
    log = ("--log", f"tensorboard:{tmp_path / 'file'}")
    result = run("certify", models / "net.onnx", *CERTIFY, *out, *log)
    said = " ".join(result.stderr.split())
    assert "Warning: TensorBoard failed and is no longer called for base: " in said
    assert "Certificates are not affected." in said
    assert ".py" not in said
