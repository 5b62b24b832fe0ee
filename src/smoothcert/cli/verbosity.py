"""How much is said: `-q`, `-v` or neither, kept as the level of the package's logger."""

import logging
from collections.abc import Callable

import typer

_QUIET, _NORMAL, _VERBOSE = logging.ERROR, logging.WARNING, logging.INFO
_LOGGER = logging.getLogger("smoothcert")


class _ToConsole(logging.Handler):
    """Passes on what modules log of their decisions, as lines of text."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


def set_verbosity(quiet: bool, verbose: bool, say: Callable[[str], None]) -> None:
    """Print less than usual, or more; a command's own options overrule those before its name.

    Args:
        quiet: only results and errors.
        verbose: also decisions.
        say: prints a line for a person.

    Raises:
        BadParameter: both.
    """
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose exclude each other; leave one of them out.")
    _LOGGER.setLevel(_QUIET if quiet else _VERBOSE if verbose else _NORMAL)
    _LOGGER.propagate = not verbose  # a handler of the root's would say it again
    _LOGGER.handlers = [_ToConsole(say)] if verbose else []


def is_quiet() -> bool:
    """Whether only results and errors are wanted."""
    return not _LOGGER.isEnabledFor(_NORMAL)


def is_verbose() -> bool:
    """Whether also decisions are wanted."""
    return _LOGGER.isEnabledFor(_VERBOSE)
