"""Check the documents: links lead somewhere, named functions exist, nothing public is left out."""

import re
import sys
from importlib import import_module
from pathlib import Path

import smoothcert

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = Path(smoothcert.__file__).parent  # of what is installed, wherever that is


def broken_links() -> list[str]:
    """Relative links that lead nowhere."""
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    return [
        f"{page.name}: no file {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text())
        if not (page.parent / target).exists()
    ]


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or in one."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            value = import_module(".".join(parts[:depth]))
        except ImportError:
            continue
        for part in parts[depth:]:
            value = getattr(value, part, None)
        return value is not None
    return False


def proven() -> list[list[str]]:
    """The rows of the theory's table of statements: statement, section, functions, tests."""
    table = (DOCS / "theory.md").read_text().partition("| statement |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*) \|$", table, re.MULTILINE)
    return [re.split(r" *\| *", row) for row in rows]


def missing_functions() -> list[str]:
    """Functions and tests of the theory that are not there."""
    pages = [DOCS / "theory.md", *(DOCS / "theory").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    names = re.findall(r"`(smoothcert\.[\w.]+)`", text)
    tests = []
    for _, _, functions, tested in proven():
        names += [f"smoothcert.{name}" for name in re.findall(r"`([\w.]+)`", functions)]
        tests += [f"tests/{name}" for name in re.findall(r"`([\w/.]+)`", tested)]
    lost = [name for name in names if not exists(name)]
    lost += [name for name in tests if not (ROOT / name).is_file()]
    return [f"the theory names {name}, which does not exist" for name in lost]


def missing_sections() -> list[str]:
    """Sections that the code cites and that theory.md does not lead to."""
    there = set(re.findall(r"^\| (\d+) \| \[", (DOCS / "theory.md").read_text(), re.MULTILINE))
    problems = []
    for path in SOURCE.rglob("*.py"):
        text = re.sub(r"\s+", " ", path.read_text())
        for cited in re.findall(r"docs/theory\.md, sections? (\d+)(?: and (\d+))?", text):
            problems += [f"{path.name} cites section {s}" for s in cited if s and s not in there]
    return problems


def missing_files() -> list[str]:
    """Tests and experiments that a page names and that are not there."""
    return [
        f"{page.name} names {named}, which does not exist"
        for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
        for named in re.findall(r"`((?:tests|experiments)/[\w/.]+)`", page.read_text())
        if page.name != "CHANGELOG.md" and not (ROOT / named).exists()
    ]


def undocumented_names() -> list[str]:
    """Public names and bounds that no page of the API shows."""
    text = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    modules = (SOURCE / "bounds").glob("[!_]*.py")
    public = [*smoothcert._HOMES, *(f"bounds.{path.stem}" for path in modules)]
    return [f"docs/api lacks ::: smoothcert.{n}" for n in public if f"smoothcert.{n}" not in shown]


def pages_left_out() -> list[str]:
    """Pages of docs/ that the site's navigation does not name."""
    named = set(re.findall(r"([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = (page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
    return [f"mkdocs.yml: nav lacks {page}" for page in sorted(pages) if page not in named]


CHECKS = (
    *(broken_links, missing_functions, missing_sections, missing_files),
    *(undocumented_names, pages_left_out),
)

if __name__ == "__main__":
    found = [problem for check in CHECKS for problem in check()]
    print(
        "\n".join(found) or "docs: links, functions, sections, files, names and pages are all there"
    )
    sys.exit(bool(found))
