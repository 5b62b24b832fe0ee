"""What mkdocs does beyond its settings: the notebook as a page, links out of docs/, nothing remote.

Pages are written to be read in the repository, where a link may leave docs/. On the site the
project's own documents are pages under project/; a link to anything else keeps its text alone.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# From the file in the repository to its page. The README's place is taken by index.md.
PAGES = {
    "README.md": "index.md",
    "docs/tutorial.ipynb": "tutorial.md",
    "CHANGELOG.md": "project/CHANGELOG.md",
    "SECURITY.md": "project/SECURITY.md",
    "ARCHITECTURE.md": "project/ARCHITECTURE.md",
    "CONTRIBUTING.md": "project/CONTRIBUTING.md",
    "benchmarks/NOTES.md": "project/benchmarks.md",
    "fuzz/README.md": "project/fuzz.md",
}
SOURCES = {page: source for source, page in PAGES.items() if source != "README.md"}
LINK = re.compile(r"(!?)\[([^]]*)\]\((?!\w+:)([^)#\s]+)(#[^)]*)?\)")
REMOTE = re.compile(
    r"<(?:script|img|iframe|link(?! rel=.canonical))\b[^>]*"
    r"\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>"
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages whose source is not a page of docs/."""
    for page, source in SOURCES.items():
        text = (ROOT / source).read_text()
        content = notebook_page(json.loads(text)) if source.endswith(".ipynb") else text
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead every link to where its target is on the site."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")

    def moved(found: re.Match[str]) -> str:
        image, text, target, anchor = found.groups()
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = PAGES.get(there, there.removeprefix("docs/"))
        if place == there and there not in PAGES:  # outside docs/ and no page
            return text
        return f"{image}[{text}]({posixpath.relpath(place, posixpath.dirname(here))}{anchor or ''})"

    return LINK.sub(moved, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would have a reader's browser ask another host for something."""
    found = REMOTE.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri} would load {found[0]}")
    return output


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its text, its code, what it printed and drew."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
        parts += [_output(output) for output in cell.get("outputs", [])]
    parts.append('This page is a notebook: <a href="tutorial.ipynb" download>tutorial.ipynb</a>.')
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return (
            f'<img alt="figure" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
        )
    text = "".join(output.get("text") or data["text/plain"])
    return f"```text\n{text.rstrip()}\n```"
