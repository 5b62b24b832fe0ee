"""Figures and tables for a paper: what they say, escaped, the same bytes, and no file replaced."""

import csv
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from smoothcert import screen
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Irs
from smoothcert.report import paper_tables
from smoothcert.report.axes import Chart
from smoothcert.report.charts import certified_accuracy
from smoothcert.report.claims import CLAIM
from smoothcert.report.curves import PUBLISHED, Published, of_published
from smoothcert.report.latex import document, table, tex
from smoothcert.report.page import report
from smoothcert.report.paper import paper, require_paper_folder
from smoothcert.runs.store import Run
from smoothcert.text import floor_to
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=300)
RADII = (0.0, 0.1, 0.2)
LOG = Published("cohen_sigma_0.25", 0.25, np.array([-1, 0.1, 0.3, 0.9]))
HOSTILE = "a_b%&{$x} \\input{y} #~^<\"'-- σ 数"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An original, a changed model and the original with another sigma, and their paper."""
    folder = tmp_path_factory.mktemp("made")
    images = np.full((30, 1, 2, 2), 8 / 16)
    data = Inputs.from_arrays(images, np.arange(30) % 3 // 2, 1 / 16)
    origin = {"model": f"models/{HOSTILE}.onnx", "data": {"data": "some_data"}}
    options = RunOptions(origin=origin)
    base = run_certify(folder / "base_100%", PixelSum(28), data, SETTINGS, options)
    new = run_recertify(folder / "new", base, PixelSum(29), data, Irs(100), RunOptions())
    wide = replace(SETTINGS, sigma=0.5, alpha=0.01)
    wider = run_certify(folder / "wide", PixelSum(28), data, wide, options)
    screened = screen(base.certification(), [PixelSum(29)], data, per_input=20)
    runs = (new, base, wider)
    summaries = paper(runs, folder / "out", RADII, screened, [LOG])
    return runs, summaries, folder / "out"


def captions(out):
    """By name, from captions.txt."""
    parts = (out / "captions.txt").read_text().split("\n\n")
    assert parts[1] == CLAIM
    return dict(part.strip().split("\n") for part in parts[2:])


@pytest.mark.slow
def test_everything_is_written(made):
    runs, summaries, out = made
    figures = {"certified_accuracy", "probabilities", "acr_evaluations", "panels"}
    tables = {"main", "changes", "classes", "new_inputs"}
    assert {path.name for path in out.iterdir()} == {
        *(f"{name}.{kind}" for name in figures for kind in ("pdf", "svg")),
        *(f"{name}.{kind}" for name in tables for kind in ("tex", "csv")),
        *("figures.tex", "panels.tex", "example.tex", "captions.txt", "certificates.csv"),
        "references.bib",
        *(f"{run.name}.tsv" for run in runs),
    }
    assert captions(out).keys() == figures | tables
    assert [s.name for s in summaries] == [run.name for run in runs]


@pytest.mark.slow
def test_equal_runs_give_equal_bytes(made, tmp_path, monkeypatch):
    """A table of many classes goes into no document."""
    runs, _, out = made
    monkeypatch.setattr(paper_tables, "_MOST_CLASSES", 1)
    paper(runs, tmp_path, RADII, (), [LOG])
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {file.name for file in out.iterdir()} - {"classes.tex"}
    assert "classes" not in (tmp_path / "example.tex").read_text()
    # Without the screening.
    other = {
        f"{name}.{kind}" for name in ("certified_accuracy", "panels") for kind in ("pdf", "svg")
    }
    other |= {"figures.tex", "panels.tex", "captions.txt"}
    for name in files - other - {"example.tex"}:
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_figures_are_a_column_or_two_wide_with_fonts_that_publishers_take(made):
    _, _, out = made
    for name in ("certified_accuracy", "probabilities", "acr_evaluations", "panels"):
        pdf = (out / f"{name}.pdf").read_bytes()
        width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)[1])
        assert width == (7 if name == "panels" else 3.25) * 72
        assert b"/CIDFontType2" in pdf and b"/Type3" not in pdf  # Type 42
        assert b"CreationDate" not in pdf
        svg = (out / f"{name}.svg").read_text()
        for text in ("base_100%, σ = 0.25", "new, σ = 0.25", "wide, σ = 0.5"):
            assert f">{text}</text>" in svg, (name, text)
        assert "<dc:date>" not in svg
    svg = (out / "certified_accuracy.svg").read_text()
    assert ">cohen_sigma_0.25 (σ = 0.25, published)</text>" in svg
    assert ", σ = 0.25, screened</text>" in svg


def test_lines_differ_without_colour(made):
    svg = (made[2] / "certified_accuracy.svg").read_text()
    strokes = re.findall(r'style="fill: none; ([^"]*stroke-width: 1.1[^"]*)"', svg)
    dashes = {re.sub(r"stroke: #\w+", "", stroke) for stroke in strokes}
    assert len(dashes) >= 4  # three runs and a screened model


def test_captions_say_what_holds_and_how_it_was_made(made):
    said = captions(made[2])
    for name, caption in said.items():
        for fact in ("N = 30 inputs of some_data", "n₀ = 20", "n = 300", "form binary"):
            assert fact in caption, (name, fact)
        for fact in ("σ = 0.25", "σ = 0.5", "α = 0.001", "α = 0.01", "certified from scratch"):
            assert fact in caption, (name, fact)
        assert "reuse the original's votes hold for a model" in caption
        assert "n = 300 (of the original)" in caption, name
        assert "noise seed 0" in caption, name
        for found in re.finditer(r"probability (at|1 −)", caption):
            assert "docs/theory.md" in caption[max(0, found.start() - 200) : found.end() + 400]
    accuracy = said["certified_accuracy"]
    assert "each certificate is wrong with probability at most α, on its own" in accuracy
    assert "simultaneous, all inputs of a run at all radii at once" in accuracy
    assert "of all 3 runs at once, with probability at least 1 − 0.013" in accuracy
    assert "for all inputs together, at all radii and of all models at once" in accuracy
    assert accuracy.endswith(PUBLISHED)
    assert "cohen_sigma_0.25: 4 inputs, σ = 0.25" in accuracy


def test_tables_have_the_figures_rounded_to_the_safe_side(made):
    runs, summaries, out = made
    with (out / "main.csv").open() as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["base_100%", "wide", "new"]  # originals first
    for run, summary in zip(runs, summaries, strict=True):
        row = rows[run.name]
        assert row["sigma"] == f"{run.identity.settings.sigma:g}"
        assert row["ACR"] == floor_to(summary.acr, 3)
        for radius, share in summary.accuracy:
            assert 100 * share - 0.1 < float(row[f"CA@{radius:g}"]) <= 100 * share + 1e-9
        assert int(row["eval"]) >= summary.evaluations / 30
    with (out / "changes.csv").open() as file:
        changes = list(csv.DictReader(file))
    assert {(row["first"], row["second"]) for row in changes} == {
        ("base_100%", "new"),
        ("base_100%", "wide"),
    }
    assert {row["p"] for row in changes} == {""}  # another n or alpha: no test of the models
    bibliography = (out / "references.bib").read_text()
    assert len(re.findall("^@", bibliography, re.MULTILINE)) == bibliography.count(" author = ")
    assert "cohen2019certified" in bibliography


@pytest.mark.slow
def test_runs_without_labels(tmp_path):
    data = Inputs.from_arrays(np.full((8, 1, 2, 2), 8 / 16), None, 1 / 16)
    run = run_certify(tmp_path / "run", PixelSum(28), data, SETTINGS, RunOptions())
    paper([run], tmp_path / "out", RADII)
    assert not list((tmp_path / "out").glob("*.tsv"))
    assert "no labels: any class counts" in captions(tmp_path / "out")["certified_accuracy"]
    assert "certified accuracy" not in (tmp_path / "out" / "certified_accuracy.svg").read_text()
    assert not (tmp_path / "out" / "changes.tex").exists()  # nothing to compare with


def test_names_are_no_commands():
    shown = tex(HOSTILE)
    assert shown == (
        r"a\_b\%\&\{\$x\} \textbackslash{}input\{y\} \#\textasciitilde{}\textasciicircum{}"
        r"\textless{}\symbol{34}\textquotesingle{}-{}- \ensuremath{\sigma} U+6570"
    )
    assert tex("a---b – c") == "a-{}-{}-b -- c"
    assert tex("é e\u0301 ą\u202e\n") == "é é U+0105\\textbackslash{}u202e\\textbackslash{}n"


def test_latex_is_balanced(made):
    """What a compiler would find first, where there is none."""
    for file in made[2].glob("*.tex"):
        text = re.sub(r"\\[{}]", "", file.read_text())
        assert text.count("{") == text.count("}"), file.name
        begun, ended = (re.findall(rf"\\{word}{{(\w+\*?)}}", text) for word in ("begin", "end"))
        assert sorted(begun) == sorted(ended)
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        columns = re.findall(r"\\begin{tabular}{@{}(\w+)@{}}", text)
        assert all(row.count(" & ") == len(columns[0]) - 1 for row in rows)


@pytest.mark.parametrize("encoding", ["OT1", "T1"])
def test_it_compiles(made, tmp_path, encoding):
    """Where a compiler is installed; the test above looks for what it would find first."""
    if shutil.which("pdflatex") is None:
        return
    shutil.copytree(made[2], tmp_path, dirs_exist_ok=True)
    letters = "".join(map(chr, range(0xC0, 0x180)))
    hostile = table(["a"], [[HOSTILE], [letters], ["|`–₀≥≤±−ℓ"]], HOSTILE, "hostile")
    (tmp_path / "hostile.tex").write_text(hostile)
    text = document(["figures", "panels", "main", "changes", "classes", "new_inputs", "hostile"])
    (tmp_path / "example.tex").write_text(text.replace("[T1]", f"[{encoding}]"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "example.tex"]
    how = {"cwd": tmp_path, "capture_output": True, "text": True, "errors": "replace"}
    done = subprocess.run(command, check=False, **how)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in re.sub(r"(?s)hostile\.tex.*", "", done.stdout)


def test_no_file_of_others_is_replaced(made, tmp_path):
    runs = made[0]
    with pytest.raises(InvalidInput, match="is a run directory"):
        paper(runs, runs[0].path, RADII)
    with pytest.raises(InvalidInput, match="inside the run"):
        paper(runs, runs[0].path / "paper", RADII)
    with pytest.raises(InvalidInput, match="different names; got"):
        paper([runs[0], Run.open(runs[0].path)], tmp_path / "x", RADII)
    with pytest.raises(InvalidInput, match="at least one radius"):
        paper(runs, tmp_path / "x", ())
    (tmp_path / "main.tex").write_text("mine")
    with pytest.raises(InvalidInput, match=r"main.tex does not belong .* Give a new folder"):
        require_paper_folder(tmp_path, ["main.csv", "main.tex"])
    require_paper_folder(made[2], ["main.csv", "main.tex"])  # its own


def test_a_published_log_is_drawn_as_it_is():
    curve = of_published(LOG)
    assert curve.x.tolist() == [0, 0.1, 0.3, 0.9]
    assert curve.y.tolist() == [0.75, 0.75, 0.5, 0.25]


@pytest.mark.slow
def test_a_page_shows_published_curves_and_claims_nothing_of_them(made, tmp_path):
    runs = made[0][1:2]
    alone, _ = certified_accuracy(runs, ())
    chart, together = certified_accuracy(runs, (), [LOG])
    assert isinstance(chart, Chart) and len(together) == 1
    assert [line.name for line in chart.lines[: len(alone.lines)]] == [
        line.name for line in alone.lines
    ]
    assert chart.lines[-1].name == "cohen_sigma_0.25 (σ = 0.25, published)"
    assert chart.x.high >= 0.9  # none of it is cut off
    report(runs, tmp_path / "out", RADII, published=[LOG])
    page = (tmp_path / "out" / "index.html").read_text()
    assert PUBLISHED in page and "(σ = 0.25, published)" in page
    figure = (tmp_path / "out" / "certified_accuracy.svg").read_text()
    assert "published" in figure
    assert (alone.note, chart.note) == ("", PUBLISHED)
