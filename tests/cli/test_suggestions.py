"""Mistyped commands, options, values and files: the error names what was probably meant."""

import ast
from pathlib import Path

import pytest
from typer.testing import CliRunner

import smoothcert
from smoothcert import cli
from smoothcert.certificate import Settings
from smoothcert.classifiers.torch_modes import check_mode
from smoothcert.cli.main import app
from smoothcert.compress import compress
from smoothcert.errors import SmoothcertError, did_you_mean
from smoothcert.methods import Irs, Reuse
from smoothcert.planning import Policy
from smoothcert.runs.store import Run
from smoothcert.vocabulary import DATA_FORMS


def said(*arguments: str) -> str:
    """The last line of what a mistake gets."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    return result.stderr.strip().splitlines()[-1]


def test_commands_and_options():
    near = "Did you mean 'certify', 'recertify', 'verify'?"
    assert said("certfy") == f"Error: No such command 'certfy'. {near}"
    assert "--sigma" in said("certify", "m", "--sgima", "1")
    assert said("verify", "r", "--qqq") == "Error: No such option: --qqq"


def test_names_that_are_near_whatever_their_case():
    assert did_you_mean("Strata", ("joint", "stratified")) == ". Did you mean 'stratified'?"
    assert did_you_mean("INT8", ("int8", "onnx")) == ". Did you mean 'int8'?"
    many = did_you_mean("int9", [f"int{bits}" for bits in range(8)])
    assert many.count(" or ") == 2
    assert did_you_mean("magic", ("joint", "stratified")) == ""
    assert did_you_mean("", ("joint",)) == ""


@pytest.mark.parametrize(
    ("attempt", "end"),
    [
        (
            lambda: Reuse("budget:0.1", method="jiont"),
            "got 'jiont'. Did you mean 'joint'?",
        ),
        (lambda: Irs(10, variant="publish"), "got 'publish'. Did you mean 'published'?"),
        (lambda: Settings(0.5, form="binry"), "got 'binry'. Did you mean 'binary'?"),
        (lambda: Policy.parse("buget:0.02"), "got 'buget:0.02'. Did you mean 'budget'?"),
        (lambda: Policy.parse("budget:-1"), "radius:R; got 'budget:-1'"),
        (
            lambda: compress("small_cnn@x.safetensors", "pruned:0.2", "o.safetensors"),
            "distill, finetune, onnx. Did you mean 'prune'?",
        ),
        (lambda: check_mode("compile"), "got 'compile'. Did you mean 'compiled'?"),
        (
            lambda: smoothcert.load_inputs("./imges"),
            f"There is no data at ./imges. Did you mean 'images'? DATA is {DATA_FORMS}.",
        ),
        (
            lambda: smoothcert.load_inputs("digit"),
            f"There is no data at digit. Did you mean 'digits'? DATA is {DATA_FORMS}.",
        ),
        (
            lambda: smoothcert.load_inputs("dta.npz"),
            "There is no data file dta.npz. Did you mean 'data.npz'?",
        ),
        (
            lambda: smoothcert.load_classifier("nte.onnx"),
            "There is no model file nte.onnx. Did you mean 'net.onnx'?",
        ),
        (
            lambda: Run.open("bsae"),
            "bsae is not a run directory: it has no run.json. Did you mean 'base'?",
        ),
    ],
)
def test_values_and_files(attempt, end, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "base"):
        (tmp_path / folder).mkdir()
    for file in ("data.npz", "net.onnx", "other.pt2"):
        (tmp_path / file).touch()
    with pytest.raises(SmoothcertError) as caught:
        attempt()
    assert str(caught.value).endswith(end)


def test_architectures():
    from smoothcert import zoo

    with pytest.raises(SmoothcertError) as caught:
        zoo.build("small_cmm", 3, 10)
    assert "lenet. Did you mean 'small_cnn'? For your own network" in str(caught.value)
    assert str(caught.value).endswith("For your own network use package.module:factory.")


def unnamed(text: str) -> list[str]:
    """The calls of `typer.Option` in a source text that have a metavar and no `--name`."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "typer.Option"
        and any(keyword.arg == "metavar" for keyword in node.keywords)
        and not any(
            isinstance(a, ast.Constant) and str(a.value).startswith("--") for a in node.args
        )
    ]


def test_an_option_with_a_metavar_has_an_explicit_name():
    """Typer 0.26 and 0.27 name an option after its metavar if it has no name of its own."""
    assert unnamed('typer.Option(metavar="DATA")')  # the control
    files = list(Path(cli.__file__).parent.rglob("*.py"))
    assert any('metavar="DATA"' in file.read_text() for file in files)
    assert {
        file.name: unnamed(file.read_text()) for file in files if unnamed(file.read_text())
    } == {}
