"""The command line: every command by name, and what errors become.

Nothing heavy is imported before a command runs.
"""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from smoothcert.cli.certifying import certify, plan, predict, recertify, screen
from smoothcert.cli.loudness import choose
from smoothcert.cli.making import compress, demo, train
from smoothcert.cli.reading import card, doctor, export, merge, replay, report, verify
from smoothcert.references import DATA_FORMS, MODEL_FORMS

app: typer.Typer = typer.Typer(
    name="smoothcert",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Certify classifiers by randomized smoothing, and re-certify compressed versions of them "
    f"for a fraction of the cost. MODEL is {MODEL_FORMS}. DATA is {DATA_FORMS}. "
    "Exit code 0: done; 1: checked and found wrong; 2: misuse or bad input; 3: not what --accept "
    "asks for; 130: interrupted; 143: terminated.",
)


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also what is decided: batches, blocks, retries.")
]


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors are one line and an exit code, never a traceback.

    It takes --quiet and --verbose too, which are also taken before the command's name.
    """

    @functools.wraps(function)
    def run(*, quiet: bool, verbose: bool, **options: Any) -> None:
        from smoothcert.errors import SmoothcertError
        from smoothcert.names import visible
        from smoothcert.runs.signals import as_interrupt

        # torch's threads otherwise spin while they wait for each other: with one other process
        # on a two-core machine that was 2,000 evaluations/s instead of 48,000.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            if quiet or verbose:
                choose(quiet, verbose)
            with as_interrupt():
                function(**options)
        except SmoothcertError as error:
            print(visible(f"Error: {error}", keep="\n"), file=sys.stderr)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as stop:
            kept = "Finished blocks are kept; repeat the command with --resume to go on."
            print(f"\nInterrupted. {kept}", file=sys.stderr)
            raise typer.Exit(128 + (stop.args[0] if stop.args else 2)) from None

    # Typer reads the options here: those of the function, and the two that all commands have.
    both = {"quiet": Quiet, "verbose": Verbose}
    signature = inspect.signature(function)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in both.items()
    ]
    run.__signature__ = signature.replace(  # pyright: ignore[reportAttributeAccessIssue]
        parameters=[*signature.parameters.values(), *added]
    )
    run.__annotations__ = function.__annotations__ | both
    return run


_COMMANDS = (
    *(demo, train, certify, recertify, plan, screen, compress),
    *(report, card, export, merge, verify, predict, replay, doctor),
)
"""In the order of `--help`."""

for _function in _COMMANDS:
    app.command()(guarded(_function))


@app.callback(invoke_without_command=True)
def _before(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    if version:
        from smoothcert import __version__

        print(f"smoothcert {__version__}")
        raise typer.Exit
    choose(quiet, verbose)
