"""verify: what a run, a search or a file of screenings proves, again; see `verification`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli import options

if TYPE_CHECKING:
    from smoothcert.cli.verification import Verification

OTHER_MACHINE = 6
"""The exit code where votes differ and the run is of another machine."""


def verify(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", show_default=False, help="A run, a search, or a file of screen --out."
        ),
    ],
    replay: Annotated[
        str | None, typer.Option(help="Also re-evaluate this fraction of the draws, such as 1%.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="New location, if the model has moved, or package.module:factory: code that only "
            "the run names is not imported.",
            show_default="run's",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="New location, if the data has moved.", show_default="run's")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="New location, if the base run has moved.", show_default="run's"),
    ] = None,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="With --replay: stop after this time; the part that is replayed is what fits.",
            parser=options.parse_real,
            metavar="MINUTES",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Recompute what a run proves, and list what is not checked.

    The run may also be a search, or a file of `screen --out`.
    """
    from smoothcert.cli.resources import Device
    from smoothcert.cli.searches import is_search, verify_search
    from smoothcert.cli.verification import Replayed, verify_run_directory, verify_screenings

    on, part = Device(device, threads), Replayed.parse(replay, minutes)
    if is_search(run):
        found = verify_search(Path(run), part, on, model=model, data=data, base=base)
    elif run.endswith(".json") and Path(run).name != "run.json":
        found = verify_screenings(Path(run), part, on, model=model, data=data, base=base)
    else:
        found = verify_run_directory(run, part, on, model=model, data=data, base=base)
    _show(run, found, json)


def _show(path: str, found: "Verification", as_json: bool) -> None:
    """What was checked, found wrong, and left out; exits with 1 if anything is wrong, and with 6 if
    votes are of another machine."""
    from smoothcert.cli import console
    from smoothcert.text import many, visible

    problems = found.problems
    if as_json:
        counts = {"certificates": found.certificates, "replayed": found.replayed}
        left = {"problems": list(problems), "not_checked": [one.value for one in found.unchecked]}
        verdict = {"ok": not (problems or found.moved), "other_machine": found.moved}
        console.show_json({"run": path, **verdict, **counts, **left})
    else:
        verdict = "all as stored." if not found.moved else "all but votes as stored."
        verdict = f"{many(len(problems), 'problem')}." if problems else verdict
        console.show(visible(f"{path}: {found.text}: {verdict}"))
        if found.moved:
            console.show(visible(f"Another machine: {found.moved}"))
        for problem in problems:
            console.show(visible(f"  - {problem}"))
        console.show("Not checked:")
        for one in found.unchecked:
            console.show(f"  - {one.value}")
    if problems or found.moved:
        raise typer.Exit(1 if problems else OTHER_MACHINE)
