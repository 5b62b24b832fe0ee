"""Standard output and error as they really are: other encodings, full disks, closed pipes."""

import codecs
import io
import logging
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_PAIRS = (
    "≥ >=|≤ <=|σ sigma|ζ zeta|α alpha|ℓ l|₂ 2|− -|– -|— -|× x|… ...|· *|→ ->|’ '|‘ '|“ \"|” \"|č c"
)
READABLE: dict[str, str] = {pair[0]: pair[2:] for pair in _PAIRS.split("|")}
"""Replacements for characters of ours that a terminal cannot show."""

_HANDLER = "smoothcert.readable"


def readable(text: str, encoding: str | None) -> str:
    """The text in an encoding that lacks some characters: ours are replaced, others escaped."""
    return text.encode(encoding or "utf-8", _HANDLER).decode(encoding or "utf-8")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    shown = (READABLE.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return "".join(shown), error.end


codecs.register_error(_HANDLER, _spelled)


class Sink(io.FileIO):
    """A file descriptor whose writes never fail; the reason of a failure is kept.

    A reader that has left (`| head`) is not an error: the command continues, and
    ends with its own exit code.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write bytes; after the first failure, discard them."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            self._forget()
        except OSError as error:
            self.failure = error
            self._forget()
        return memoryview(data).nbytes

    def _forget(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def prepare() -> None:
    """Show every character in some way, and let no failing write end a command."""
    # It warns of a home that cannot be written to, and goes on.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: what is opened next would be written to as if it were this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        if not isinstance(stream, io.TextIOWrapper):
            continue  # closed, or somebody's own
        # Without buffers (PYTHONUNBUFFERED) it is the file itself.
        if type(getattr(stream.buffer, "raw", stream.buffer)) is io.FileIO:
            setattr(sys, name, _safe(stream))
        else:
            stream.reconfigure(errors=_HANDLER)


def _safe(stream: io.TextIOWrapper) -> TextIO:
    with suppress(OSError):
        stream.flush()
    sink = Sink(stream.fileno(), "wb", closefd=False)
    through = io.BufferedWriter(sink)
    live = stream.line_buffering or stream.write_through or stream is sys.stderr
    return io.TextIOWrapper(through, stream.encoding, _HANDLER, line_buffering=live)


def take_failure() -> str:
    """Why standard output could not be written, after flushing it; empty if it could.

    The next call gives another failure, if there is one.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, Sink) or raw.failure is None:
        return ""
    failure, raw.failure = raw.failure, None
    return failure.strerror or str(failure)
