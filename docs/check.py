"""Check the documents: links lead somewhere, named functions and cited sections exist."""

import re
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]


def broken_links() -> list[str]:
    """Relative links that lead nowhere."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return [
        f"{page.name}: no file {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text())
        if not (page.parent / target).exists()
    ]


def missing_functions() -> list[str]:
    """Names in the theory's table that cannot be imported."""
    problems = []
    for line in (ROOT / "docs" / "theory.md").read_text().splitlines():
        for name in re.findall(r"`(smoothcert\.[\w.]+)`", line):
            parts = name.split(".")
            for depth in range(len(parts), 0, -1):
                try:
                    value = import_module(".".join(parts[:depth]))
                except ImportError:
                    continue
                for part in parts[depth:]:
                    value = getattr(value, part, None)
                if value is None:
                    problems.append(f"theory.md names {name}, which does not exist")
                break
    return problems


def missing_sections() -> list[str]:
    """Sections of the theory that the code cites and that are not there."""
    there = set(re.findall(r"^## (\d+)\.", (ROOT / "docs" / "theory.md").read_text(), re.MULTILINE))
    problems = []
    for path in (ROOT / "src").rglob("*.py"):
        text = re.sub(r"\s+", " ", path.read_text())
        for cited in re.findall(r"docs/theory\.md, sections? (\d+)(?: and (\d+))?", text):
            problems += [f"{path.name} cites section {s}" for s in cited if s and s not in there]
    return problems


if __name__ == "__main__":
    found = [*broken_links(), *missing_functions(), *missing_sections()]
    print("\n".join(found) or "docs: links, functions and sections are all there")
    sys.exit(bool(found))
