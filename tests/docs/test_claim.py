"""What a certificate claims has the same words wherever it is stated, and is nowhere larger."""

import re
from pathlib import Path

import pytest

import smoothcert
from smoothcert.report.claims import CLAIM

ROOT = Path(__file__).parents[2]
SOURCE = Path(smoothcert.__file__).parent
NAMES = ("index", "theory/noise", "faq", "getting-started", "report")
PAGES = ("README.md", *(f"docs/{name}.md" for name in NAMES))
LARGER = re.compile(
    r"(any|every|no) (ℓ₂ |l2 )?perturbation|does not change (under|for|within)|constant within",
    re.IGNORECASE,
)


def words(text: str) -> str:
    """Text without line breaks and the marks of a quotation."""
    return " ".join(re.sub(r"^> ", "", text, flags=re.MULTILINE).split())


@pytest.mark.parametrize("name", PAGES)
def test_pages_state_it(name):
    assert CLAIM in words((ROOT / name).read_text())


def test_the_docstring_of_a_certificate_states_it():
    assert CLAIM in words(smoothcert.Certificate.__doc__)


def test_nothing_claims_more():
    assert LARGER.search(words("its class does not change under any\n  ℓ₂ perturbation"))
    texts = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    sources = (p for kind in ("*.py", "*.j2") for p in SOURCE.rglob(kind))
    said = {
        path.name: found.group()
        for path in (*texts, *sources)
        if (found := LARGER.search(words(path.read_text())))
    }
    said.pop("CHANGELOG.md", None)  # quotes it
    assert said == {}
