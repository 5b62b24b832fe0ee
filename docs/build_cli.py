"""Write docs/cli.md and docs/cli/ from the commands themselves; --check names what is stale."""

import sys
from pathlib import Path
from typing import Any

import click
from typer.main import get_command

from smoothcert.cli.main import app

DOCS = Path(__file__).parent
PAGES = {
    "models": ("Models", ("demo", "adapt", "train", "compress", "check", "doctor")),
    "certify": ("From scratch", ("certify", "extend", "predict")),
    "recertify": ("Changed models", ("recertify", "transfer")),
    "candidates": ("Many candidates, and plans", ("screen", "search", "plan", "simulate")),
    "runs": ("Runs", ("report", "model-card", "export", "merge", "verify")),
}
"""By the name of a page under docs/cli/: its title and its commands."""
HEAD = """# Command line

Generated from `--help` by `docs/build_cli.py`. How to name [models](models.md) and [data](data.md);
what [cache, pilot, replay, block](how-it-works.md#words) and other words mean.

- Results go to standard output, everything else to standard error. Where one of them is not
  a terminal, it gets plain lines: tables without boxes, no spinner, and within five seconds a
  line of progress, then one at every tenth or half minute. `NO_COLOR`, `FORCE_COLOR` and
  `TERM=dumb` are obeyed; `FORCE_COLOR` only adds colour to plain lines.
- `--quiet` and `--verbose` may stand before or after a command's name; after it they take
  precedence.
- `smoothcert --install-completion` lets bash, zsh, fish or PowerShell complete commands, options
  and named values (`--policy`, `--method`, `--to`, `--device`, ...); where a number follows, a
  usual one is offered.
- The time left covers the remaining evaluations, also in a resumed run. Where their number is not
  known beforehand (`--radius`, `retain:`, `radius:`), it is about the longest that the run
  can take.
"""


def pages() -> dict[str, str]:
    """The text of every page, by its path under docs/: an index, and the commands by group."""
    group: Any = get_command(app)
    commands = {name: one for name, one in group.commands.items() if not one.hidden}
    placed = sorted(name for _, names in PAGES.values() for name in names)
    assert placed == sorted(commands), "PAGES is not every command once"
    root = _context(group, "smoothcert")
    index, texts = [HEAD], {}
    for page, (title, names) in PAGES.items():
        index.append(f"## {title}\n\n| command | |\n|---|---|")
        parts = [f"# Command line: {title[0].lower()}{title[1:]}"]
        parts.append("\nGenerated from `--help`; [all commands](../cli.md).\n")
        for name in names:
            what = commands[name].get_short_help_str(limit=1000)
            index.append(f"| [{name}](cli/{page}.md#{name}) | {what} |")
            text = commands[name].get_help(_context(commands[name], name, root))
            parts.append(f"## {name}\n\n```text\n{text}\n```\n")
        index.append("")
        texts[f"cli/{page}.md"] = "\n".join(parts)
    general = group.get_help(root).partition("\n\nCommands:")[0]
    index.append(f"## Words and options of all commands\n\n```text\n{general}\n```\n")
    return {"cli.md": "\n".join(index), **texts}


def _context(command: Any, name: str, parent: Any = None) -> Any:
    return click.Context(
        command, info_name=name, parent=parent, terminal_width=80, max_content_width=80
    )


def stale(texts: dict[str, str]) -> list[str]:
    """The pages that differ from what they should be, are missing, or should not be there."""
    paths = [DOCS / "cli.md", *(DOCS / "cli").glob("*.md")]
    there = {p.relative_to(DOCS).as_posix(): p.read_text() for p in paths if p.exists()}
    return sorted(n for n in {*texts, *there} if texts.get(n) != there.get(n))


if __name__ == "__main__":
    wanted = pages()
    changed = stale(wanted)
    if "--check" in sys.argv and changed:
        names = ", ".join(f"docs/{name}" for name in changed)
        sys.exit(f"{names}: not what --help says; run: python docs/build_cli.py")
    (DOCS / "cli").mkdir(exist_ok=True)
    for name in changed:
        if name in wanted:
            (DOCS / name).write_text(wanted[name])
        else:
            (DOCS / name).unlink()
