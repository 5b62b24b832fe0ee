"""Write docs/cli.md from the commands themselves; with --check, fail if it is not up to date."""

import sys
from pathlib import Path

import click
from typer.main import get_command

from smoothcert.cli.main import app

PAGE = Path(__file__).parent / "cli.md"


def page() -> str:
    """The reference, one section per command."""
    group = get_command(app)
    parts = ["# Command line\n\nGenerated from `--help` by `docs/build_cli.py`.\n"]
    root = click.Context(group, info_name="smoothcert", terminal_width=96, max_content_width=96)
    parts.append(f"```text\n{group.get_help(root)}\n```\n")
    for name, command in group.commands.items():
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
