"""Write docs/cli.md from the commands themselves; with --check, fail if it is not up to date."""

import sys
from pathlib import Path

import click
from typer.main import get_command

from smoothcert.cli.main import app

PAGE = Path(__file__).parent / "cli.md"
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


def page() -> str:
    """The reference, one section per command."""
    group = get_command(app)
    parts = [HEAD]
    root = click.Context(group, info_name="smoothcert", terminal_width=80, max_content_width=80)
    parts.append(f"```text\n{group.get_help(root)}\n```\n")
    for name, command in group.commands.items():
        if command.hidden:
            continue
        context = click.Context(
            command, info_name=name, parent=root, terminal_width=80, max_content_width=80
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
