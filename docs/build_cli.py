"""Write docs/cli.md from the commands themselves; with --check, fail if it is not up to date."""

import sys
from pathlib import Path

import click
from typer.main import get_command

from smoothcert.cli.main import app

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# Command line

Generated from `--help` by `docs/build_cli.py`.

- Results go to standard output, everything else to standard error. Where that is no terminal it
  gets plain lines: tables without boxes, no spinner, and in runs of more than half a minute a line
  of progress now and then. `NO_COLOR`, `FORCE_COLOR` and `TERM=dumb` are obeyed; `FORCE_COLOR` adds
  colour to plain lines, and no more.
- `--quiet` and `--verbose` may stand before a command's name or after it; the latter counts.
- `smoothcert --install-completion` teaches bash, zsh, fish or PowerShell to complete commands,
  options and those values that have names (`--policy`, `--method`, `--to`, `--device`, ...); where
  a number follows, a usual one is offered.
- The time left is for what is left, also of a resumed run. Where the number of evaluations is not
  known beforehand (`--radius`, `retain:`, `radius:`), it is for about the most that it can be.
"""


def page() -> str:
    """The reference, one section per command."""
    group = get_command(app)
    parts = [HEAD]
    root = click.Context(group, info_name="smoothcert", terminal_width=96, max_content_width=96)
    parts.append(f"```text\n{group.get_help(root)}\n```\n")
    for name, command in group.commands.items():
        if command.hidden:
            continue
        context = click.Context(
            command, info_name=name, parent=root, terminal_width=96, max_content_width=96
        )
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        if PAGE.read_text() != text:
            sys.exit("docs/cli.md is not what --help says; run: python docs/build_cli.py")
    else:
        PAGE.write_text(text)
