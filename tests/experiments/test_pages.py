"""What is put beside our figures, and into the page; what the README of the experiments names."""

import re
from pathlib import Path

import pytest
from markdown import put
from methods_compared import METHODS
from published import published
from results_page import PAGE_OF, number, regime
from simulated import disparity_of

from smoothcert.bounds import binomial

RESNET20 = {"architecture": "cifar_resnet20", "sigma": 1.0, "network": "int8"}


def test_published_figures_are_found_by_what_they_are_of():
    assert published("speedup", RESNET20, n=100_000) == 4.31
    assert published("speedup", RESNET20 | {"network": "int8-pt2e"}, n=100_000) == 4.31
    assert published("speedup", RESNET20 | {"network": "prune20"}, n=10_000) == 1.39
    assert published("speedup", RESNET20 | {"network": "prune20"}, n=100_000) is None
    assert published("zeta", RESNET20 | {"sigma": 0.3}) is None
    resnet50 = {"architecture": "resnet50", "sigma": 2.0, "network": "fp16"}
    assert published("speedup", resnet50, n=10_000, dataset="imagenet") == 2.04
    assert published("speedup", resnet50, n=10_000) is None
    assert published("accuracy", RESNET20, classifier="smoothed") == 55.8


@pytest.mark.parametrize("flips", [1, 12, 60])
def test_a_published_zeta_gives_back_the_flips(flips):
    zeta = float(binomial.upper(flips, 1000, 0.001))
    assert disparity_of(zeta, 0.0003) == pytest.approx(flips / 1000, abs=1e-6)
    assert disparity_of(zeta, 0.5) == 0.5


def test_no_flip_seen_is_the_disparity_assumed():
    assert disparity_of(0.006, 0.0003) == 0.0003


def test_text_goes_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a <!-- x --> old <!-- end of x --> b <!-- y --><!-- end of y --> c")
    put(page, "x", "new")
    put(page, "x", "newer")
    expected = "a <!-- x -->\n\nnewer\n\n<!-- end of x --> b <!-- y --><!-- end of y --> c"
    assert page.read_text() == expected
    with pytest.raises(SystemExit, match="lacks the marks <!-- z -->"):
        put(page, "z", "text")
    assert page.read_text() == expected


def test_no_figure_is_a_dash():
    assert (number(None), number(1234.567), number(0.0)) == ("–", "1,234.57", "0.00")


def test_the_regime_is_shown_where_most_was_pruned():
    facts = {"architecture": "a", "n": 1} | dict.fromkeys(METHODS, 2.0)
    speedups = [
        facts | {"sigma": sigma, "network": network, "accounting": accounting}
        for sigma, network in ((0.5, "prune30"), (0.5, "prune5"), (1.0, "prune5"), (0.5, "int8"))
        for accounting in ("draws", "all", "authors")
    ]
    disparity = [
        row | {"differ": row["sigma"] / 10} for row in speedups if row["accounting"] == "all"
    ]
    lines = regime({"speedups": speedups, "disparity": disparity}).splitlines()
    assert lines[0] == "ResNet-20, σ = 0.5, real votes:"
    assert [line.split(" | ")[:2] for line in lines[4:]] == [["| 5 %", "5.0"], ["| 30 %", "5.0"]]


def test_the_readme_names_every_script_and_its_settings():
    folder = Path(__file__).parents[2] / "experiments"
    named = re.findall(r"`([\w-]+\.(?:py|toml))`", (folder / "README.md").read_text())
    assert sorted(set(named)) == sorted(
        p.name for p in folder.iterdir() if p.suffix in (".py", ".toml")
    )


def test_what_the_readme_says_is_written_is_there():
    folder = Path(__file__).parents[2] / "experiments"
    text = (folder / "README.md").read_text()
    places = re.findall(r"`(results/[\w/.-]+)`", text) + re.findall(r"\]\(([\w/.-]+)\)", text)
    assert len(places) > 20
    assert [place for place in places if not (folder / place).exists()] == []


def test_every_page_has_the_marks_that_scripts_write_between():
    folder = Path(__file__).parents[2]
    scripts = "\n".join(path.read_text() for path in (folder / "experiments").glob("*.py"))
    written = re.findall(r'/ "([\w-]+\.md)",\s*"([\w -]+)"', scripts)
    written += [(page, mark) for mark, page in PAGE_OF.items()]
    assert len(written) > 15
    pages = {page: (folder / "docs" / page).read_text() for page, _ in written}
    assert [
        (page, mark)
        for page, mark in written
        if not re.search(f"<!-- {mark} -->.+<!-- end of {mark} -->", pages[page], re.DOTALL)
    ] == []
