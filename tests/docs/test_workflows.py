"""The pages about CI: every command of the workflows is run, on a good model and a bad one."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from smoothcert.cli.main import app

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every code block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def run(line: str, summary: Path | None = None) -> int:
    """Run a line of a shell that begins with smoothcert; the exit code."""
    command, _, to = line.partition(" >> ")
    program, *words = shlex.split(command)
    assert program == "smoothcert", line
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    if to:
        assert (to, summary is None) == ('"$GITHUB_STEP_SUMMARY"', False)
        summary.write_text(result.stdout)
    return result.exit_code


@pytest.fixture
def folder(models, tmp_path, monkeypatch):
    shutil.copy(models / "net.onnx", tmp_path / "model.onnx")
    shutil.copy(models / "int8.onnx", tmp_path / "model-int8.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_classes_reversed(file: str) -> None:
    """A model that is wrong wherever it was right."""
    import onnx

    model = onnx.load(file)
    (output,) = model.graph.output
    name, output.name = output.name, "reversed"
    order = onnx.numpy_helper.from_array(np.arange(9, -1, -1), "order")
    model.graph.initializer.append(order)
    model.graph.node.append(onnx.helper.make_node("Gather", [name, "order"], ["reversed"], axis=1))
    onnx.save(model, file)


def workflows() -> list[str]:
    """Certify the original, recertify a changed model, transfer: as the two pages have them."""
    pages = [*blocks("ci.md"), *blocks("another-machine.md")]
    return [text for language, text in pages if language == "yaml"]


def steps(workflow: str) -> list[str]:
    """The scripts of a workflow's only job that run smoothcert."""
    (job,) = yaml.safe_load(workflow)["jobs"].values()
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    assert scripts[0].startswith('pip install "smoothcert[')
    return scripts[1:]


@pytest.mark.slow
def test_the_workflow_accepts_a_good_model_and_fails_for_a_bad_one(folder):
    original, recertify, transfer = workflows()
    (certify,) = steps(original)
    assert run(certify) == 0
    good = steps(recertify)
    summary = folder / "summary.md"
    assert [run(line, summary) for script in good for line in script.splitlines()] == [0] * 4
    assert "| `model-int8.onnx` | 0.25 | 20 |" in summary.read_text()
    assert (folder / "report" / "index.html").exists()
    gate = [line for script in steps(transfer) for line in script.splitlines()]
    assert [run(line) for line in gate] == [0, 0]
    _, screen = [text for language, text in blocks("ci.md") if language == "sh"]
    assert [run(line) for line in screen.splitlines()] == [0, 0, 0]
    shutil.rmtree("runs/new")
    shutil.rmtree("runs/here")
    with_classes_reversed("model-int8.onnx")
    assert [run(line, summary) for script in good for line in script.splitlines()] == [3, 0, 0, 0]
    assert [run(line) for line in gate] == [3, 0]
    assert run(screen.splitlines()[1]) == 3
    assert re.search(r"`model-int8.onnx` \| 0.25 \| 20 \| \d+ \| 0.0\d{3} ", summary.read_text())


def test_the_workflow_is_one_that_github_takes():
    for workflow in workflows():
        found = yaml.safe_load(workflow)
        assert {"name", "jobs"} < found.keys()
        assert True in found  # YAML 1.1 reads `on` as a truth value
        (job,) = found["jobs"].values()
        assert job["runs-on"] in ("ubuntu-latest", ["self-hosted", "serving"])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
