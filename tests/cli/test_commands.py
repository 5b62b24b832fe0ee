"""The commands, as a user runs them: their output, their exit code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.command_line import program, run_in


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory) -> Path:
    """A folder with a base run, a recertified one, and a report of both."""
    path = tmp_path_factory.mktemp("cli")
    common = ("--data", "digits", "--limit", 20, "--sigma", 0.25, "--n", 500, "--n0", 20)
    program("certify", models / "net.onnx", *common, "--out", "base", cwd=path)
    to = ("--base", "base", "--policy", "uniform:100", "--out", "int8")
    program("recertify", models / "int8.onnx", *to, cwd=path)
    return path


@pytest.mark.slow
def test_certify_writes_a_run_and_prints_its_summary(folder):
    base = Run.open(folder / "base")
    assert len(base.certificates) == 20
    assert base.manifest.origin["data"]["limit"] == 20


@pytest.mark.slow
def test_json_is_one_document(folder, models):
    out, _ = run_in(
        *("certify", models / "net.onnx", "--data", "digits", "--limit", 5, "--sigma", 0.25),
        *("--n", 100, "--out", "j", "--json"),
        cwd=folder,
    )
    summary = json.loads(out)
    assert (summary["inputs"], summary["evaluations"]) == (5, 5 * 200)
    fingerprint = Run.open(folder / "j").identity.model
    facts = {"fingerprint": fingerprint, "data": "digits", "sigma": 0.25, "inputs": 5, "n": 100}
    asked = ("--data", "digits", "--limit", 5, "--sigma", 0.25, "--n", 100, "--json")
    dry = ("certify", models / "net.onnx", *asked, "--out", "k", "--dry-run")
    shown = [
        summary,
        *json.loads(run_in("report", "j", "--out", "page", "--json", cwd=folder)[0])["runs"],
        json.loads(run_in("plan", models / "net.onnx", "--base", "j", "--json", cwd=folder)[0]),
        json.loads(run_in("check", models / "net.onnx", *asked, cwd=folder)[0]),
        json.loads(run_in(*dry, cwd=folder)[0]),
    ]
    for one in shown:  # the same thing has the same name everywhere
        assert {name: one[name] for name in facts} == facts
        assert one["model"].endswith("net.onnx")


@pytest.mark.slow
def test_resume_and_refusals(folder, models):
    common = ("certify", models / "net.onnx", "--data", "digits", "--limit", 20, "--n0", 20)
    _, err = run_in(*common, "--sigma", 0.25, "--n", 500, "--out", "base", cwd=folder, code=2)
    assert "Pass --resume to continue" in err
    run_in(*common, "--sigma", 0.25, "--n", 500, "--out", "base", "--resume", cwd=folder)
    _, err = run_in(
        *common, "--sigma", 0.5, "--n", 500, "--out", "base", "--resume", cwd=folder, code=2
    )
    assert "was made with other settings: " in err


@pytest.mark.slow
def test_verify(folder):
    out, _ = run_in("verify", "base", "--replay", "5%", cwd=folder)
    assert "20 certificates recomputed from the votes, 520 draws replayed: all as stored." in out
    out, _ = run_in("verify", "int8", "--replay", "5%", "--json", cwd=folder)
    found = json.loads(out)
    assert found["ok"]
    assert found["certificates"] == 20


@pytest.mark.slow
def test_verify_exits_with_1_when_something_is_wrong(folder, tmp_path):
    import shutil

    shutil.copytree(folder / "base", tmp_path / "broken")
    (tmp_path / "broken" / "votes" / "00000.parquet").write_bytes(b"PAR1")
    out, _ = program("verify", "broken", cwd=tmp_path, code=1)
    assert "1 problem." in out
    assert "is damaged" in out


@pytest.mark.slow
def test_plan_shows_costs_before_they_are_paid(folder, models):
    out, err = run_in("plan", models / "int8.onnx", "--base", "base", cwd=folder)
    assert "budget:0.02" in out
    assert "not proven" in out
    assert "choose a policy, a model or a method by this table" in " ".join(err.split())
    assert "original's ACR" not in err  # which counted draws decide
    chosen = ("--policy", "uniform:50", "--policy", "radius:0.1", "--json")
    out, _ = run_in("plan", models / "int8.onnx", "--base", "base", *chosen, cwd=folder)
    found = json.loads(out)
    assert [p["policy"] for p in found["policies"]] == ["uniform:50", "radius:0.1"]
    uniform = found["policies"][0]
    # As recertify counts: the pilot is among them. Seconds are those at the speed that is said.
    assert 0 < uniform["evaluations"] - found["pilot_evaluations"] <= 50 * 20
    assert uniform["seconds"] == uniform["evaluations"] / found["evaluations_per_second"]
    given = ("recertify", models / "int8.onnx", "--base", "base", "--policy", "uniform:50")
    out, _ = run_in(*given, "--out", "planned", "--json", cwd=folder)
    assert json.loads(out)["evaluations"] == pytest.approx(uniform["evaluations"], rel=0.1)


def test_a_short_pilot_does_not_stand_for_the_speed(folder, models, monkeypatch):
    """It is mostly what comes once; a long one is mostly evaluations, and a trial costs more."""
    asked = ("plan", models / "int8.onnx", "--base", "base", "--policy", "uniform:50", "--json")
    monkeypatch.setattr("smoothcert.sampling.tuning.speed", lambda *given: 1000.0)
    found = json.loads(run_in(*asked, cwd=folder)[0])
    assert found["evaluations_per_second"] == 1000.0
    monkeypatch.setattr("smoothcert.sampling.tuning.speed", lambda *given: 0.0)  # it failed
    found = json.loads(run_in(*asked, cwd=folder)[0])
    assert found["evaluations_per_second"] not in (0.0, 1000.0)
    monkeypatch.setattr("smoothcert.sampling.tuning.speed", lambda *given: 1 / 0)
    monkeypatch.setattr(sys.modules["smoothcert.cli.commands.plan"], "_LONG", 0.0)
    assert json.loads(run_in(*asked, cwd=folder)[0])["evaluations_per_second"] > 0
    shown = found["detectable"]  # before anything is spent
    assert (shown["inputs"], shown["level"], shown["power"]) == (20, 0.05, 0.8)
    assert shown["if_lost"] == pytest.approx(0.3665, abs=1e-4)
    assert shown["if_a_tenth_changes"] is None


def test_inputs_that_get_nothing_are_named(folder, models):
    given = ("recertify", models / "int8.onnx", "--base", "base", "--policy", "budget:0.02")
    _, err = run_in(*given, "--out", "little", cwd=folder)
    out, _ = run_in(*given, "--out", "little", "--resume", "--json", cwd=folder)
    nothing = json.loads(out)["without_evaluations"]
    found = Run.open(folder / "little").certificates
    assert nothing
    assert nothing == [c.index for c in found if c.outcome.name == "UNSPENT"]
    said = f"{len(nothing)} input{'s' if len(nothing) > 1 else ''} got no draws from the plan"
    assert f"{said}: {', '.join(map(str, nothing))}." in " ".join(err.split())


def test_many_inputs_that_get_nothing_are_counted():
    from smoothcert.report.spending import nothing_spent

    assert nothing_spent(()) == ""
    assert "1 input got no draws from the plan: 7." in nothing_spent((7,))
    assert "30 inputs got no draws from the plan: 0, 1, 2 and 27 more." in nothing_spent(
        range(30), most=3
    )


def test_screen_ranks_models(folder, models):
    two = (models / "int8.onnx", models / "prune.safetensors")
    options = ("--per-input", 50, "--radii", "0,0.2", "--out", "screen.json")
    out, err = run_in("screen", *two, "--base", "base", *options, cwd=folder)
    assert "CA@0.2 ≥" in out
    assert "Beside this screening, this cache has given" in err
    assert len(json.loads((folder / "screen.json").read_text())) == 2
    accept = ("--per-input", 50, "--accept", "ca@0.1>=0.1", "--json")
    out, _ = run_in("screen", models / "net.onnx", "--base", "base", *accept, cwd=folder)
    (found,) = json.loads(out)
    assert found["verdict"] in ("ACCEPTED", "UNDECIDED", "UNREACHABLE")
    _, err = run_in("screen", *two, "--base", "base", "--accept", "ca>1", cwd=folder, code=2)
    assert "ca@" in err


@pytest.mark.parametrize("form", ["auto", "runner-up"])
def test_screening_against_the_runner_up_is_verified(form, folder, models):
    asked = ("--base", "base", "--per-input", 50, "--form", form, "--out", f"{form}.json")
    _, err = run_in("screen", models / "int8.onnx", *asked, cwd=folder)
    assert "bounded by the runner-up" in " ".join(err.split())
    (row,) = json.loads((folder / f"{form}.json").read_text())
    assert (row["screening"]["form"], row["pool"]["form"]) == (form, "runner-up")
    assert set(row["pool"]["n"]) == {450}
    out, _ = run_in("verify", f"{form}.json", "--replay", "50%", cwd=folder)
    assert "their inputs from" in out
    row["pool"]["others"] = [0] * len(row["pool"]["others"])
    (folder / "forged.json").write_text(json.dumps([row]))
    run_in("verify", "forged.json", cwd=folder, code=2)
    _, err = run_in("screen", models / "int8.onnx", *asked[:4], "--form", "x", cwd=folder, code=2)
    assert "form" in err
    run_in("screen", models / "int8.onnx", *asked[:3], 500, *asked[4:6], cwd=folder, code=2)


def test_certify_decides_a_radius(folder, models):
    common = ("--data", "digits", "--limit", 10, "--sigma", 0.25, "--n", 2000)
    out, _ = run_in(
        *("certify", models / "net.onnx", *common, "--radius", 0.2, "--out", "decided", "--json"),
        cwd=folder,
    )
    assert json.loads(out)["evaluations"] < 10 * 2100
    run_in("verify", "decided", "--replay", "5%", cwd=folder)
    by_form = ("--radius", 0.2, "--form", "auto", "--out", "by-form")
    run_in("certify", models / "net.onnx", *common, *by_form, cwd=folder)
    run_in("verify", "by-form", "--replay", "5%", cwd=folder)
    _, err = run_in(
        *("certify", models / "net.onnx", *common, "--radius", 0.2, "--out", "z"),
        *("--form", "multiclass"),
        cwd=folder,
        code=2,
    )
    assert "takes the form binary, runner-up or auto; got 'multiclass'" in err
    to = ("--base", "decided", "--out", "y")
    _, err = run_in("recertify", models / "int8.onnx", *to, cwd=folder, code=2)
    assert "only a certification from scratch leaves votes" in err


@pytest.mark.slow
def test_report(folder):
    out, _ = run_in("report", "base", "int8", "--out", "report", "--radii", "0,0.3", cwd=folder)
    assert "CA@0.3" in out
    assert (folder / "report" / "index.html").exists()
    assert (folder / "report" / "base.tsv").exists()


def test_train_compress_predict(folder, tmp_path):
    out, _ = run_in(
        *("train", "--data", "digits", "--sigma", 0.25, "--epochs", 6, "--limit", 400),
        *("--out", "f.safetensors", "--json"),
        cwd=tmp_path,
    )
    model = json.loads(out)["model"]
    out, _ = run_in(
        "compress", model, "--to", "prune:0.1", "--out", "p.safetensors", "--json", cwd=tmp_path
    )
    assert json.loads(out)["tensors_changed"] > 0
    pixels = np.kron(np.eye(8), np.ones((1, 1))) * 255
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "image.png")
    out, _ = run_in(
        "predict", "p.safetensors", "image.png", "--sigma", 0.25, "--json", cwd=tmp_path
    )
    prediction = json.loads(out)
    assert prediction["draws"] == 1000
    assert -1 <= prediction["predicted"] < 10
    out, _ = run_in("predict", "p.safetensors", "image.png", "--sigma", 0.25, cwd=tmp_path)
    assert out.startswith(("class ", "abstain: class "))


def test_compressions_that_train_tell_their_epochs(models, tmp_path):
    out, err = run_in(
        *("compress", models / "net.safetensors", "--to", "finetune:2", "--data", "digits"),
        *("--sigma", 0.25, "--out", "f.safetensors", "--json"),
        cwd=tmp_path,
    )
    assert json.loads(out)["fraction_changed"] > 0.9
    assert re.findall(r"Epoch (\d): loss 0\.\d", err) == ["1", "2"]


def test_users_own_files_end_to_end(models, tmp_path):
    """A factory in the working directory, on an image folder."""
    rng = np.random.default_rng(0)
    for number in range(4):
        (tmp_path / "pictures" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / str(number % 2) / f"{number}.png")
    (tmp_path / "mine.py").write_text(
        f"from smoothcert import load_classifier\n"
        f"def make():\n    return load_classifier({str(models / 'net.onnx')!r})\n"
    )
    common = ("--data", "pictures", "--sigma", 0.25, "--n", 100, "--out", "runs/mine")
    out, _ = run_in("certify", "mine:make", *common, "--json", cwd=tmp_path)
    assert json.loads(out)["inputs"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("certify", "gone.onnx", "--data", "digits", "--sigma", "1", "--out", "x"), "There is no"),
        (("certify", "a.pkl", "--data", "digits", "--sigma", "1", "--out", "x"), "is a pickle"),
        (("certify", "NET", "--data", "digits", "--sigma", "0", "--out", "x"), "sigma must be"),
        (("certify", "NET", "--data", "digits", "--sigma", "nan", "--out", "x"), "got nan"),
        (("certify", "NET", "--data", "gone.npz", "--sigma", "1", "--out", "x"), "no data file"),
        (
            ("certify", "NET", "--data", "digits", "--grid", "7", "--sigma", "1", "--out", "x"),
            "grid",
        ),
        (
            ("certify", "NET", "--data", "digits", "--grid", "a", "--sigma", "1", "--out", "x"),
            "1/255",
        ),
        (
            (
                "certify",
                "NET",
                "--data",
                "digits",
                "--sigma",
                "1",
                "--batch-size",
                "0",
                "--out",
                "x",
            ),
            "--batch-size must be at least 1",
        ),
        (("recertify", "NET", "--base", "gone", "--out", "x"), "is not a run directory"),
        (
            ("recertify", "NET", "--base", "base", "--policy", "most", "--out", "x"),
            "A policy must be",
        ),
        (("recertify", "NET", "--base", "base", "--method", "m", "--out", "x"), "method must be"),
        (("report", "base", "--radii", "a", "--out", "x"), "--radii must be numbers"),
        (("verify", "base", "--replay", "much"), "--replay must be a fraction"),
        (("verify", "base", "--base", "int8"), "was certified from scratch and has no base run"),
        (("compress", "NET", "--to", "int3", "--out", "x.onnx"), "There is no target 'int3'"),
        (("train", "--data", "digits", "--sigma", "1", "--out", "x.pt"), "written as .safetensors"),
        (("predict", "NET", "gone.png", "--sigma", "1"), "There is no image"),
        (("certify",), "Missing argument"),
        (("fly",), "No such command"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(arguments, message, folder, models):
    named = [str(models / "net.onnx") if a == "NET" else a for a in arguments]
    _, err = run_in(*named, cwd=folder, code=2)
    assert message in err
    assert not (folder / "x").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_ctrl_c_and_termination_say_how_to_go_on(models, tmp_path, name, code):
    import signal
    import time

    command = [sys.executable, "-m", "smoothcert", "certify", str(models / "net.onnx")]
    command += ["--data", "digits", "--sigma", "0.25", "--n", "20000", "--block-inputs", "1"]
    process = subprocess.Popen(
        [*command, "--out", "r"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    blocks = tmp_path / "r" / "certificates"
    deadline = time.monotonic() + 60
    while not (blocks.is_dir() and any(blocks.glob("*.parquet"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=240)
    assert process.returncode == code
    assert "Stopping after the current block; a second signal stops at once" in err
    assert "repeat the command with --resume" in err
    assert "Traceback" not in err
    assert 0 < len(Run.open(tmp_path / "r").missing) < 500


@pytest.fixture
def log(tmp_path) -> Path:
    """Made-up results in the field's format."""
    rows = [f"{i}\t0\t0\t{0.1 + 0.02 * i:.3f}\t1\t0:00:01" for i in range(40)]
    text = "\n".join(["idx\tlabel\tpredict\tradius\tcorrect\ttime", *rows])
    (tmp_path / "made_up_sigma_0.50.tsv").write_text(text + "\n")
    return tmp_path / "made_up_sigma_0.50.tsv"


def test_simulate_says_that_it_is_simulated(log, tmp_path):
    options = ("--n", 1000, "--repetitions", 1, "--disparity", 0.005)
    out, err = run_in("simulate", log, *options, cwd=tmp_path)
    assert "SIMULATED on made_up_sigma_0.50: 40 images" in out
    assert "nothing is certified" in err
    assert "prove at most" not in err
    few = ("--log-n", "5e1")
    out, err = run_in("simulate", "*_sigma_*.tsv", *options, *few, "--json", cwd=tmp_path)
    (found,) = json.loads(out)
    assert found["notice"].startswith("SIMULATION")
    assert (found["log_n"], found["log_alpha"]) == (50, 0.001)
    (note,) = found["notes"]
    assert "0.88, is 1.76 σ, and n = 50 draws at α = 0.001 prove at most 1.131 σ" in note
    assert f"Note: made_up_sigma_0.50: {note}." in err
    assert {m["method"] for m in found["methods"]} >= {"from-scratch", "irs", "joint-planned"}
    _, err = run_in("simulate", "gone.tsv", cwd=tmp_path, code=2)
    assert "gone.tsv" in err


@pytest.mark.parametrize(("former", "name"), [("card", "model-card"), ("replay", "simulate")])
def test_former_names_of_commands_work_and_are_hidden(former, name, folder, log):
    arguments = {"model-card": ["base"], "simulate": [log, "--n", 1000, "--repetitions", 1]}[name]
    out, _ = run_in(former, *arguments, cwd=folder)
    assert out
    assert out == run_in(name, *arguments, cwd=folder)[0]
    commands = run_in("--help", cwd=folder)[0].partition("Commands:")[2]
    assert re.search(rf"^ +{name} ", commands, re.MULTILINE)
    assert not re.search(rf"^ +{former} ", commands, re.MULTILINE)


@pytest.mark.slow
def test_misuse_of_a_program_is_one_line_too(tmp_path):
    _, err = program(
        "certify", "gone.onnx", "--data", "digits", "--sigma", 1, "--out", "x", cwd=tmp_path, code=2
    )
    assert err.startswith("Error: There is no")
    assert err.count("\n") == 1


def test_help_and_version():
    out, _ = program("--help", cwd=".")
    for name in (
        "demo",
        "train",
        "certify",
        "recertify",
        "compress",
        "report",
        "verify",
        "predict",
    ):
        assert f"  {name} " in out
    out, _ = program("--version", cwd=".")
    assert out.startswith("smoothcert 0.")


@pytest.mark.slow
def test_quick_demo(tmp_path):
    out, _ = program("demo", "--quick", "--out", "d", "--json", cwd=tmp_path)
    result = json.loads(out)
    names = [line["recertified"]["name"] for line in result["recertified"]]
    assert names == ["int8-irs", "int8", "bf16-irs", "bf16", "prune20-irs", "prune20"]
    assert result["original"]["inputs"] == 100
    assert result["original"]["acr"] > 0.2
    for line in result["recertified"]:
        assert 0 < line["recertified"]["acr"] <= result["original"]["acr"] * 1.05
    original, int8 = result["by_plan"]
    assert original["evaluations"] < result["original"]["evaluations"] / 2
    assert int8["acr"] > 0.2
    assert verify(Run.open(tmp_path / "d" / "runs" / "original-by-plan")).problems == ()
    assert len(result["screened"]) == 3
    assert all(c["acr"] > 0 for c in result["screened"])
    assert (tmp_path / "d" / "report" / "certified_accuracy.png").exists()
    assert Run.open(tmp_path / "d" / "runs" / "int8").missing == ()
