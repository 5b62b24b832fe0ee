"""The model card: figures of the summary, rounded to the safe side, and names that obey nothing."""

import json
import os
import re
import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.cli.main import app
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import RunOptions, run_certify, run_decide, run_recertify
from smoothcert.methods import Decision, Reuse, alpha_of
from smoothcert.report import card
from smoothcert.report.claims import CLAIM
from smoothcert.report.tables import summarize_run
from smoothcert.text import visible
from support.known_truth import PixelSum

DATA = {"data": "org/some-data", "split": "test", "grid": None, "limit": None, "every": 1}
HOSTILE = [
    "a`b``c",
    "``",
    "x|y",
    "<script>alert(1)<∕script>",
    '"quoted": [1, 2] # no comment',
    "- item\n---\nevil: true",
    "![i](javascript:alert(1))",
    "\u202eabc\x1b[31m",
    "naïve 漢字 😀",
    "\ufffe\U0001fffe",
    os.fsdecode(b"\xff"),
    "{{ 7*7 }}: &anchor *alias !tag %x @y",
]


def inputs(labels=(1,) * 6 + (0,)) -> Inputs:
    return Inputs.from_arrays(np.full((7, 1, 2, 2), 0.5), labels, 1 / 16)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path, settings = tmp_path_factory.mktemp("card"), Settings(0.25, 16, n0=20, n=300)
    how = RunOptions(8, origin={"model": "small@/home/me/net.onnx", "data": DATA})
    base = run_certify(path / "base", PixelSum(28), inputs(), settings, how)
    to = RunOptions(
        8, origin={"model": "models/new.onnx", "data": DATA | {"data": "/secret/x.npz"}}
    )
    new = run_recertify(
        path / "new", base, PixelSum(27), inputs(), Reuse("uniform:60", "joint"), to
    )
    return base, new


def test_its_commands_work_where_it_was_written(runs, monkeypatch):
    base = runs[0]
    monkeypatch.chdir(base.storage.path.parent.parent)
    folder = base.storage.path.parent.name
    text = smoothcert.model_card(runs)
    assert f"verify {folder}/base\nsmoothcert verify {folder}/new --base {folder}/base\n" in text
    for command in text.split("```sh\n")[1].split("```")[0].splitlines():
        _, _, *paths = command.replace("--base", "").split()
        assert all(smoothcert.load(path) for path in paths)
    monkeypatch.chdir(base.storage.path)  # the other run is not below: no path is told
    assert "smoothcert verify .\nsmoothcert verify new --base .\n" in smoothcert.model_card(runs)


def metadata(text: str) -> dict:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.slow
def test_it_says_what_was_certified_and_what_not(runs):
    text = smoothcert.model_card(runs, [0.0, 0.05])
    base, new = runs
    for fact in (
        "## Certified robustness\n",
        CLAIM,
        f"- `base`: `small@net.onnx`, fingerprint `{base.identity.model}`; 7 inputs of `org/some",
        "σ = 0.25, α = 0.001 per input, noise seed 0; certified from scratch with 20 selection",
        f"- `new`: `models/new.onnx`, fingerprint `{new.identity.model}`; 7 inputs of `x.npz`",
        "α = 0.002 per input, noise seed 0; `recertified (joint, uniform:60) from an original with",
        "with probability 1 − 0.002, at most 1 of the 7 certificates is wrong",
        "and α is the one above",
        "Not claimed: that all certificates hold at once",
        "without looking at that cache",
        "smoothcert verify base\nsmoothcert verify new --base base\n",
        "ICML 2019",
        "ICLR 2024",
    ):
        assert fact in text, fact
    assert "/home" not in text
    assert "secret" not in text
    alone = smoothcert.model_card([base])
    assert "Ugare" not in alone
    assert "at that cache" not in alone


@pytest.mark.slow
def test_of_several_runs_at_once_the_errors_add_up(runs):
    """docs/theory.md, section 11: runs on one cache share its draws."""
    total = sum(alpha_of(run.identity.settings, run.identity.method) for run in runs)
    said = f"all {len(runs)} hold at once with probability at least 1 − {total:g}, by"
    assert said in smoothcert.model_card(runs)
    assert "hold at once with" not in smoothcert.model_card(runs[:1])


@pytest.mark.slow
def test_figures_are_those_of_the_summary_and_never_above(runs):
    radii = [0.0, 0.03, 0.05]
    text = smoothcert.model_card(runs, radii, model_index=True)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    entries = metadata(text)["model-index"]
    for run, row, entry in zip(runs, rows, entries, strict=True):
        summary = summarize_run(run, radii)
        assert (row[2], int(row[3]), int(row[4])) == ("0.25", 7, summary.certified)
        assert 0 <= Fraction(summary.acr) - Fraction(row[5]) < Fraction(1, 10**4)
        (result,) = entry["results"]
        values = {m["name"]: m["value"] for m in result["metrics"]}
        assert values.pop("Average certified l2 radius, sigma 0.25") == float(row[5])
        for (radius, share), cell in zip(summary.accuracy, row[6:9], strict=True):
            exact = Fraction(round(share * 7), 7)
            value = values.pop(f"Certified accuracy at l2 radius {radius:g}, sigma 0.25")
            assert 0 <= exact - Fraction(repr(value)) < Fraction(1, 10**4)
            assert 0 <= exact - Fraction(cell.removesuffix(" %")) / 100 < Fraction(1, 10**3)
        assert not values
    assert entries[0]["name"] == "small@net.onnx"
    assert entries[0]["results"][0]["task"]["type"] == "image-classification"
    assert entries[0]["results"][0]["dataset"] == {"name": "org/some-data", "type": "org/some-data"}


def test_unknown_labels_and_decisions_are_said(tmp_path):
    settings = Settings(0.25, 16, n0=20, n=200)
    data = inputs(None)
    run = run_decide(tmp_path / "r", PixelSum(28), data, settings, Decision(0.02), RunOptions(8))
    text = smoothcert.model_card([run])
    assert "Where labels are unknown, every certificate counts as one of its label." in text
    assert "decided at radius 0.02 with at most 200 draws" in text
    assert "NeurIPS 2024" in text
    with pytest.raises(InvalidInput, match="needs at least one run; got none"):
        smoothcert.model_card([])


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_shown_and_obeyed_by_nothing(name, runs, tmp_path):
    shutil.copytree(runs[0].path, tmp_path / name)
    run = smoothcert.Run.open(tmp_path / name)
    origin = {"model": name, "data": DATA | {"data": name}}
    run = smoothcert.Run(run.storage, replace(run.manifest, origin=origin))
    text = smoothcert.model_card([run], model_index=True)
    (entry,) = metadata(text)["model-index"]
    assert entry["name"] == visible(name)
    body = text.split("---\n", 2)[2]
    outside = without_code(body)
    for mark in ("<", "](", "\x1b", "\u202e", "evil", "{{", "alert", "漢"):
        assert mark not in outside, mark
    (command,) = [line for line in body.splitlines() if line.startswith("smoothcert verify")]
    assert command == "smoothcert verify RUN"


def without_code(markdown: str) -> str:
    """The text outside code spans, by CommonMark's rule: a run of backticks ends at its equal."""
    outside, at = "", 0
    while (opening := re.compile("`+").search(markdown, at)) is not None:
        outside += markdown[at : opening.start()]
        closing = re.compile(rf"(?<!`){opening.group()}(?!`)").search(markdown, opening.end())
        assert closing is not None, "a code span that nothing ends"
        at = closing.end()
    return outside + markdown[at:]


def test_the_distance_of_inputs_to_the_grid_is_said(runs, tmp_path):
    beside = Inputs.from_arrays(np.full((7, 1, 2, 2), 0.5 - 5e-5), grid=1 / 16)
    run = run_certify(
        tmp_path / "run", PixelSum(28), beside, Settings(0.25, 16, n=50), RunOptions(8)
    )
    said = "; inputs up to 0.0001 off the grid, which is subtracted from every radius."
    assert said in smoothcert.model_card([run])
    assert "off the grid" not in smoothcert.model_card(runs)


def test_a_pipe_in_a_name_ends_no_cell(runs):
    run = smoothcert.Run(runs[0].storage, replace(runs[0].manifest, origin={"model": "a|b"}))
    text = smoothcert.model_card([run])
    assert "| `base` | `a\\|b` | 0.25 | 7 |" in text


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("net.onnx", "net.onnx"),
        ("models/net.onnx", "models/net.onnx"),
        ("/models/x/net.onnx", "net.onnx"),
        ("../x/net.onnx", "net.onnx"),
        ("compiled:arch@./w.safetensors", "compiled:arch@w.safetensors"),
        ("hf:org/name", "hf:org/name"),
        ("hf:/folder/name", "hf:name"),
        ("s3://bucket/x/net.onnx", "net.onnx"),
    ],
)
def test_a_model_is_named_without_its_folder(model, shown, runs):
    run = smoothcert.Run(runs[0].storage, replace(runs[0].manifest, origin={"model": model}))
    assert card.model_name(run) == shown


def test_the_command(runs):
    paths = [str(run.path) for run in runs]
    result = CliRunner().invoke(app, ["card", *paths, "--radii", "0,0.05"])
    assert (result.exit_code, result.stdout) == (0, smoothcert.model_card(runs, [0.0, 0.05]))
    result = CliRunner().invoke(app, ["card", paths[0], "--model-index", "--json"])
    expected = smoothcert.model_card(runs[:1], model_index=True)
    assert json.loads(result.stdout) == {"card": expected}
    result = CliRunner().invoke(app, ["card", paths[0], "--radii", "x"])
    assert result.exit_code == 2
