"""The tutorial is run from the first cell to the last, and gives what is kept in it."""

import re

import build_tutorial
import nbformat
import pytest


def results(notebook) -> list[list[str]]:
    """What each cell printed, its numbers left out (they depend on the machine), or drew."""
    return [[_form(output) for output in cell.get("outputs", [])] for cell in notebook.cells]


def _form(output) -> str:
    if "text" in output:
        return re.sub(r"\d[\d.,]*|\s+", " ", output["text"])
    return " ".join(sorted(output["data"]))


@pytest.mark.slow
def test_the_tutorial_runs_and_gives_what_is_kept_in_it(tmp_path):
    kept = nbformat.read(build_tutorial.NOTEBOOK, as_version=4)
    found = build_tutorial.executed(tmp_path)
    assert results(found) == results(kept)
    assert sum(map(len, results(kept))) >= 8


def test_the_kept_notebook_says_nothing_of_where_it_ran():
    text = build_tutorial.NOTEBOOK.read_text()
    assert '"execution":' not in text
    assert "/tmp" not in text
    assert len(text) < 100_000
