"""Names that strangers chose, in reports, tables and messages."""

import csv
import io
import os
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from smoothcert.certificate import Settings
from smoothcert.cli import console
from smoothcert.cli.main import app
from smoothcert.data.inputs import Inputs
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.report.page import report
from smoothcert.report.tables import csv_table
from smoothcert.runs.store import Run
from smoothcert.text import cell, is_plain_file, visible
from support.known_truth import PixelSum

NAMES = [
    "<script>alert(1)</script>".replace("/", "∕"),
    '"><img src=x onerror=alert(1)>',
    "'{{ 7*7 }}{% raw %}",
    "=cmd|' ∕C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r\n=1",
    " =1",
    "＝1",
    'name\nwith, "lines"',
    "\u202egnp.exe\u2066",
    "\x1b]0;title\x07\x1b[31mred",
    "$\\frac{$",
    "_hidden",
    "[red]markup[/nothing]",
    os.fsdecode(b"\xff\xfe"),
    "zero\u200bwidth",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    data = Inputs.from_arrays(np.full((2, 1, 2, 2), 0.5), [1, 0], grid=1 / 16)
    settings = Settings(0.25, 16, n0=10, n=40)
    return run_certify(
        tmp_path_factory.mktemp("r") / "run", PixelSum(28), data, settings, RunOptions(8)
    ).path


@pytest.fixture(params=NAMES, ids=range(len(NAMES)))
def named(request, made, tmp_path):
    shutil.copytree(made, tmp_path / request.param)
    return Run.open(tmp_path / request.param)


class Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_a_report_shows_any_name_and_obeys_none(made, tmp_path):
    runs, out = [], tmp_path / "out"
    for name in NAMES:
        shutil.copytree(made, tmp_path / name)
        runs.append(Run.open(tmp_path / name))
    report(runs, out, (0.0,))
    seen = Tags()
    page = (out / "index.html").read_text("utf-8")
    seen.feed(page)
    assert not seen.tags & {"iframe", "object", "b", "img"}
    # Four charts, the rows, page.js.
    assert page.count("<script") == 6 == page.count("</script>")
    assert not {name for name in seen.attributes if name.startswith("on")}
    for run in runs:
        assert visible(run.name) in seen.text
    assert not set("\u202e\u2066\u200b\x1b\x07") & set(page)
    rows = list(csv.DictReader(io.StringIO((out / "certificates.csv").read_text("utf-8"))))
    assert len(rows) == 2 * len(NAMES)
    for row in rows:
        assert row["run"].lstrip()[:1] not in ("=", "+", "-", "@", "＝")
        assert not set("\t\r\n") & set(row["run"])
    assert {p.parent for p in out.rglob("*")} == {out}


def test_numbers_stay_numbers(made):
    """A negative number is no formula: only text is marked."""
    (row, *_) = csv.DictReader(io.StringIO(csv_table([Run.open(made)])))
    for name in ("index", "predicted", "candidate", "radius", "q", "k", "n", "alpha"):
        float(row[name])
    assert row["run"] == "run"


def test_cells_and_names():
    assert [cell(t) for t in ("=1", "-x", "@a", " +1", "\t=", "a=b", "run-1")] == [
        *("'=1", "'-x", "'@a", "' +1", "'\\t=", "a=b", "run-1")
    ]
    assert visible("a\x1b[31m\u202e\n\ud800é漢") == "a\\x1b[31m\\u202e\\n\\ud800é漢"
    assert visible("a\nb\x1b", keep="\n") == "a\nb\\x1b"
    good, bad = (
        ["twin.onnx", "a-b_c.1"],
        ["", ".", "..", "../x", "/x", "a/b", "a\\b", "C:x", ".x", "a\0"],
    )
    assert [is_plain_file(name) for name in good + bad] == [True] * 2 + [False] * 10


@pytest.mark.slow
def test_the_terminal_obeys_no_name(named, tmp_path):
    """`verify` and an error print names of others: stray files among them."""
    stray = named.path / "votes" / "\x1b[2Jstray\u202e"
    stray.write_bytes(b"")
    shown = CliRunner().invoke(app, ["verify", str(named.path)])
    assert shown.exit_code == 1
    assert "\\x1b[2Jstray\\u202e" in shown.output
    assert "is not part of a run" in shown.output
    assert not {"\x1b", "\x07", "\u202e", "\u200b"} & set(shown.output)
    gone = CliRunner().invoke(app, ["verify", str(tmp_path / "gone\x1b[2J")])
    assert gone.exit_code == 2
    assert "\x1b" not in gone.output


def test_a_table_on_the_terminal_takes_no_markup(capsys):
    console.show_table(["run"], [["[red]x[/nothing]\x1b[2J"]])
    assert "[red]x[/nothing]\\x1b[2J" in capsys.readouterr().out
