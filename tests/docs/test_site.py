"""What the site's hook and the check of the documents do, and that they see what is wrong."""

import re
from dataclasses import fields
from types import SimpleNamespace

import build_cli
import check
import pytest
import site_hook
from mkdocs.exceptions import PluginError

from smoothcert.methods import BY_KIND


def page(name: str) -> SimpleNamespace:
    return SimpleNamespace(file=SimpleNamespace(src_uri=name))


@pytest.mark.parametrize(
    ("here", "written", "on_the_site"),
    [
        ("reliability.md", "[s](../SECURITY.md)", "[s](project/SECURITY.md)"),
        ("reliability.md", "[t](../tests/hostile)", "t"),
        ("theory.md", "![f](results-curves.svg)", "![f](results-curves.svg)"),
        ("theory.md", "[c](choosing.md#a) [h](#b)", "[c](choosing.md#a) [h](#b)"),
        ("theory.md", "[w](https://example.org/x.md)", "[w](https://example.org/x.md)"),
        ("api/runs.md", "[f](../store-format.md)", "[f](../store-format.md)"),
        ("index.md", "[t](tutorial.ipynb)", "[t](tutorial.md)"),
        ("tutorial.md", "[c](choosing.md)", "[c](choosing.md)"),
        ("project/CHANGELOG.md", "[r](docs/results.md)", "[r](../results.md)"),
        ("project/CHANGELOG.md", "[s](SECURITY.md)", "[s](SECURITY.md)"),
        ("project/fuzz.md", "[r](../README.md)", "[r](../index.md)"),
    ],
)
def test_links_lead_to_where_their_target_is_on_the_site(here, written, on_the_site):
    assert site_hook.on_page_markdown(written, page(here)) == on_the_site


@pytest.mark.parametrize(
    "wrong",
    [
        '<script src="https://cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.org/f.css">',
        "<img alt=x src=http://example.org/p.png>",
    ],
)
def test_a_page_that_would_ask_another_host_is_refused(wrong):
    with pytest.raises(PluginError, match=r"a\.md would load <"):
        site_hook.on_post_page(f"<p>{wrong}</p>", page("a.md"))


def test_links_to_other_hosts_are_fine():
    text = '<a href="https://example.org">there</a> <img src="here.png">'
    assert site_hook.on_post_page(text, page("a.md")) == text


def test_a_notebook_as_a_page():
    cell = {"cell_type": "code", "source": ["print(1)"], "outputs": [{"text": ["1\n"]}]}
    drawn = {"cell_type": "code", "source": "", "outputs": [{"data": {"image/png": "QQ==\n"}}]}
    text = {"cell_type": "markdown", "source": ["# T\n", "x"]}
    made = site_hook.notebook_page({"cells": [text, cell, drawn]})
    assert made.startswith("# T\nx\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n")
    assert 'src="data:image/png;base64,QQ=="' in made


def test_the_check_sees_pages_names_and_links_that_are_missing(tmp_path, monkeypatch):
    (tmp_path / "api").mkdir()
    (tmp_path / "new.md").write_text("[x](nowhere.md) `tests/docs/test_site.py` `tests/none.py`")
    (tmp_path / "api" / "functions.md").write_text("::: smoothcert.certify\n")
    monkeypatch.setattr(check, "DOCS", tmp_path)
    assert check.pages_left_out() == ["mkdocs.yml: nav lacks new.md"]
    assert check.missing_files() == ["new.md names tests/none.py, which does not exist"]
    missing = check.undocumented_names()
    assert "docs/api lacks ::: smoothcert.recertify" in missing
    assert "docs/api lacks ::: smoothcert.bounds.joint" in missing
    assert "docs/api lacks ::: smoothcert.certify" not in missing
    assert "new.md: no file nowhere.md" in check.broken_links()


def test_the_check_sees_functions_and_tests_of_the_theory_that_are_missing(tmp_path, monkeypatch):
    assert len(check.proven()) > 20
    row = "| it holds | 1 | `bounds.joint.lower`, `bounds.none` | `docs/test_site.py`, `none.py` |"
    (tmp_path / "theory.md").write_text(f"| statement | s | f | t |\n|---|---|---|---|\n{row}\n")
    monkeypatch.setattr(check, "DOCS", tmp_path)
    assert check.missing_functions() == [
        "the theory names smoothcert.bounds.none, which does not exist",
        "the theory names tests/none.py, which does not exist",
    ]


def test_the_check_of_the_commands_names_the_pages_that_are_stale():
    texts = build_cli.pages()
    assert build_cli.stale(texts) == []
    *others, last = texts
    other = {**{name: texts[name] for name in others}, "cli.md": "changed", "cli/new.md": ""}
    assert build_cli.stale(other) == sorted(["cli.md", "cli/new.md", last])


@pytest.mark.parametrize("kind", BY_KIND)
def test_the_format_of_a_run_names_the_settings_of_every_method(kind):
    text = (check.DOCS / "store-format" / "records.md").read_text()
    row = re.search(rf"^\| `{kind}` \| (.*) \|$", text, re.MULTILINE)
    assert {f.name for f in fields(BY_KIND[kind])} <= set(re.findall(r"`(\w+)`", row[1]))
