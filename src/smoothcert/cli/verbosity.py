"""How much is said: `-q`, `-v`, or neither. The level of the package's logger is what says so."""

import logging

import typer

_QUIET, _USUAL, _VERBOSE = logging.ERROR, logging.WARNING, logging.INFO
_LOGGER = logging.getLogger("smoothcert")


class _Shown(logging.Handler):
    """What modules note of their decisions, as lines for a person."""

    def emit(self, record: logging.LogRecord) -> None:
        from smoothcert.cli import display

        display.say(record.getMessage())


def choose(quiet: bool, verbose: bool) -> None:
    """Say less than usual, or more.

    Raises:
        BadParameter: both.
    """
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose exclude each other; leave one of them out.")
    _LOGGER.setLevel(_QUIET if quiet else _VERBOSE if verbose else _USUAL)
    _LOGGER.propagate = not verbose  # a handler of the root's would say it again
    _LOGGER.handlers = [_Shown()] if verbose else []


def is_quiet() -> bool:
    """Whether only results and errors are wanted."""
    return not _LOGGER.isEnabledFor(_USUAL)


def is_verbose() -> bool:
    """Whether also decisions are wanted."""
    return _LOGGER.isEnabledFor(_VERBOSE)
