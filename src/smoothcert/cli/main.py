"""The command line: every command by name, and the exit codes of errors.

Nothing heavy is imported before a command runs.
"""

import functools
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from smoothcert.cli import terminal
from smoothcert.cli.commands import COMMANDS, model_card, simulate
from smoothcert.cli.examples import epilog
from smoothcert.cli.options import Quiet, Verbose
from smoothcert.cli.verbosity import is_verbose, set_verbosity
from smoothcert.vocabulary import DATA_FORMS, MODEL_FORMS


def _require_written(advice: str = "") -> None:
    """End with 2 if standard output could not be written, which is said once."""
    if reason := terminal.take_failure():
        print(
            f"Error: standard output cannot be written: {reason}. Send it elsewhere{advice}.",
            file=sys.stderr,
        )
        raise SystemExit(2)


class _App(typer.Typer):
    """The commands, on any standard output."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        terminal.prepare()
        try:
            return super().__call__(*arguments, **options)
        finally:
            _require_written()


class _Command(TyperCommand):
    """A command that refuses an option given twice where only one counts."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        finally:
            out = ctx.params.get("out")
            _require_written("; what was written to --out is kept" if out else "")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        if ctx.resilient_parsing:  # which is how a shell completes
            return super().parse_args(ctx, args)
        values, _, order = self.make_parser(ctx).parse_args(args=given)
        left = super().parse_args(ctx, args)
        option: Any
        for option in dict.fromkeys(order):
            if order.count(option) > 1 and _counts_once(option):
                many = f"given {order.count(option)} times, and only one counts. Give it once."
                raise typer.BadParameter(many, ctx=ctx, param=option)
            if _is_empty(values.get(option.name)):
                empty = "it is empty, perhaps because a shell variable is not set."
                raise typer.BadParameter(empty, ctx=ctx, param=option)
        return left


def _counts_once(option: Any) -> bool:
    """Whether it takes one value, so that of two one would be lost without a word."""
    flag = getattr(option, "is_flag", False) and not option.secondary_opts
    return option.param_type_name == "option" and not (option.multiple or flag)


def _is_empty(value: Any) -> bool:
    """Whether a value as it was typed is empty, or one of several is."""
    several = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(one, str) and not one.strip() for one in several)


class _Group(TyperGroup):
    """The commands; `help COMMAND` is `COMMAND --help`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asked = [*args[1:2], "--help"] if args[:1] == ["help"] else args
        return super().parse_args(ctx, asked)


app: typer.Typer = _App(
    name="smoothcert",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Certify classifiers by randomized smoothing, and recertify compressed versions of them "
    f"for a fraction of the cost.\n\nMODEL is {MODEL_FORMS}.\n\nDATA is {DATA_FORMS}.\n\n"
    "Exit code 0: done; 1: checked and found wrong; 2: misuse or bad input; 3: not what --accept "
    "asks for; 4: a bug in smoothcert itself; 5: the time of --minutes was over before all "
    "was done; 6: certificates of another machine, whose votes differ from this one's; "
    "130: interrupted; 143: terminated.",
)

CRASHED = 4
"""The exit code of an unforeseen error."""

TIME_IS_UP = 5
"""The exit code of a command that --minutes stopped."""


def _crashed(error: BaseException) -> typer.Exit:
    """Report an unforeseen error in one line; with --verbose also where it happened."""
    from smoothcert.errors import WorkerCrash
    from smoothcert.text import visible
    from smoothcert.version import __version__

    if is_verbose():
        shown = visible("".join(traceback.format_exception(error)), keep="\n")
        print(shown, file=sys.stderr, end="")
    advice = "" if is_verbose() else "; --verbose shows where it happened"
    what = str(error) if isinstance(error, WorkerCrash) else f"{type(error).__name__}: {error}"
    print(
        f"Error: a bug in smoothcert {__version__}: {visible(what)}. Please report this line "
        f"and the command to its authors{advice}.",
        file=sys.stderr,
    )
    return typer.Exit(CRASHED)


def _say(line: str) -> None:
    """What modules log, for a person."""
    from smoothcert.cli import console

    console.say(line)


def expand_home(value: Any) -> Any:
    """An option's value with the `~` of a path as the home folder, which quotes keep the shell
    from doing; also behind the `@`, `:` or `+` of a reference."""
    if isinstance(value, list):
        return [expand_home(one) for one in value]
    if not isinstance(value, str | Path) or "~" not in str(value):
        return value
    home = os.path.expanduser("~")
    return type(value)(re.sub(r"(^|[@:+])~(?=/|\Z)", lambda found: found[1] + home, str(value)))


def with_exit_codes(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors are one line and an exit code, never a traceback.

    It also obeys the command's --quiet and --verbose.
    """

    @functools.wraps(function)
    def run(**options: Any) -> None:
        from smoothcert.errors import SmoothcertError, WorkerCrash
        from smoothcert.execution.signals import sigterm_as_interrupt
        from smoothcert.sampling.time_limit import TimeIsUp
        from smoothcert.text import visible

        # torch's threads otherwise spin while they wait for each other: with one other process
        # on a two-core machine that was 2,000 evaluations/s instead of 48,000.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            if options["quiet"] or options["verbose"]:
                set_verbosity(options["quiet"], options["verbose"], _say)
            with sigterm_as_interrupt():
                function(**{name: expand_home(value) for name, value in options.items()})
        except WorkerCrash as error:
            raise _crashed(error) from error
        except SmoothcertError as error:
            print(visible(f"Error: {error}", keep="\n"), file=sys.stderr)
            raise typer.Exit(2) from error
        except TimeIsUp as stop:
            print(visible(str(stop)), file=sys.stderr)
            raise typer.Exit(TIME_IS_UP) from None
        except KeyboardInterrupt as stop:
            kept = "Nothing was written."
            if options.get("out") is None:
                kept = "Repeat the command."
            elif "resume" in options:
                kept = "Finished work is kept; repeat the command with --resume to continue."
            print(f"\nInterrupted. {kept}", file=sys.stderr)
            raise typer.Exit(128 + (stop.args[0] if stop.args else 2)) from None
        except (typer.Exit, typer.Abort, typer.BadParameter, SystemExit):
            raise
        except BaseException as error:
            raise _crashed(error) from error

    return run


_HIDDEN_ALIASES = {"card": model_card, "replay": simulate}
"""Former names of commands."""

for _function in COMMANDS:
    _example = epilog(_function.__name__.replace("_", "-"))
    app.command(cls=_Command, epilog=_example)(with_exit_codes(_function))
for _name, _function in _HIDDEN_ALIASES.items():
    app.command(_name, cls=_Command, hidden=True)(with_exit_codes(_function))


@app.callback(invoke_without_command=True)
def _common_options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    if version:
        from smoothcert.version import __version__

        print(f"smoothcert {__version__}")
        raise typer.Exit
    set_verbosity(quiet, verbose, _say)
