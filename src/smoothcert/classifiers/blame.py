"""What went wrong in the user's code, in one line."""

import traceback
from pathlib import Path
from types import TracebackType

_NOT_THEIRS = (
    str(Path(__file__).parents[1]),
    "site-packages",
    "dist-packages",
    "<frozen",
    "<string",
)
_LONGEST = 300

THEIRS = (Exception, SystemExit, GeneratorExit)
"""What a user's code may raise, except requests to stop."""


def reason(error: BaseException) -> str:
    """The error's first line, and where in the user's code it was raised.

    Such as `KeyError: 'stem', in net.py, line 12: x = parts['stem']`; the place is the last line
    outside installed packages, by the file's name without folders.
    """
    text = first_line(error)
    kind = type(error).__name__
    if not isinstance(error, RuntimeError | ValueError | AssertionError) and text != kind:
        text = f"{kind}: {text}"
    return f"{text}{_place(error.__traceback__)}"


def message_of(error: BaseException) -> str:
    """An error's message; empty if showing it raises another error, as a user's may."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever it raises
        return ""


def root_of(error: BaseException) -> BaseException:
    """The first cause of an error: what a framework said before others explained it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind if it has none."""
    lines = message_of(error).strip().splitlines() or [type(error).__name__]
    text = lines[0].rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _place(trace: TracebackType | None) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(trace)
        if not any(part in frame.filename for part in _NOT_THEIRS)
        and not frame.filename.startswith(_PYTHON)
    ]
    if not frames:
        return ""
    last = frames[-1]
    line = f": {last.line}" if last.line else ""
    return f", in {Path(last.filename).name}, line {last.lineno}{line}"


_PYTHON = str(Path(traceback.__file__).parent)
