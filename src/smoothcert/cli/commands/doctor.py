"""doctor: what is installed, what computes here, and what is missing; see `installation`."""

import typer

from smoothcert.cli import options


def doctor(
    json: options.Json = False, quiet: options.Quiet = False, verbose: options.Verbose = False
) -> None:
    """Show what is installed, what works here and what is missing.

    With the commands that mend it.
    """
    from dataclasses import asdict

    from smoothcert.cli import console, installation
    from smoothcert.version import __version__

    with console.waiting("Checking"):
        found = installation.examine()
    broken = installation.State.BROKEN
    healthy = not any(one.state is broken for section in found.values() for one in section)
    if json:
        shown = {name: [asdict(finding) for finding in some] for name, some in found.items()}
        console.show_json({"version": __version__, "ok": healthy, "found": shown})
    else:
        for line in installation.lines(found):
            console.show(line)
        console.show("Ready to certify." if healthy else "Broken: see the lines that begin with !!")
    if not healthy:
        raise typer.Exit(1)
