"""What the user sees: progress on standard error, results on standard output.

One that is not a terminal gets plain lines: no spinner, no boxes, and no escapes (with
FORCE_COLOR only those of colour).
"""

import json
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from smoothcert.cli import verbosity
from smoothcert.cli.eta import Eta, Log, duration
from smoothcert.cli.terminal import readable
from smoothcert.errors import SmoothcertWarning
from smoothcert.text import visible

Tick = Callable[[int], None]
"""Takes how many evaluations more are done."""

_LOOK = 0.25  # seconds between two questions whether a log is due a line


class _Console(Console):
    """Rich's, which takes every terminal for UTF-8 unless it is given its file."""

    @property
    def encoding(self) -> str:
        return (getattr(self.file, "encoding", None) or "utf-8").lower()


errors: Console = _Console(stderr=True)
output: Console = _Console()


def is_live(console: Console) -> bool:
    """Whether lines can be drawn over: a terminal, and not a dumb one (TERM=dumb)."""
    return console.file.isatty() and not console.is_dumb_terminal


def _spinner() -> str:
    """A spinner that the terminal can show."""
    return "dots" if errors.encoding.startswith("utf") else "line"


class _EtaColumn(ProgressColumn):
    """Evaluations per second, and the time that is left."""

    def __init__(self, eta: Eta) -> None:
        super().__init__()
        self.eta: Eta = eta

    def render(self, task: Task) -> Text:
        return Text(_state(self.eta))


def _state(eta: Eta) -> str:
    left = eta.seconds_left(now := time.monotonic())
    return "" if left is None else f"{eta.speed(now):,.0f}/s, {duration(left)} left"


def bar(title: str, total: int) -> AbstractContextManager[Tick]:
    """Show progress in evaluations: a bar on a terminal, a line now and then elsewhere."""
    if verbosity.is_quiet():
        return nullcontext(lambda count: None)
    return _drawn(title, total) if is_live(errors) else _lines(title, total)


@contextmanager
def _drawn(title: str, total: int) -> Iterator[Tick]:
    eta = Eta(total, time.monotonic())
    columns = (SpinnerColumn(_spinner()), TextColumn("{task.description}"), BarColumn())
    columns += (TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn(), _EtaColumn(eta))
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(title, total=eta.total)

        def tick(count: int) -> None:
            eta.update(count, time.monotonic())
            progress.advance(task, count)

        yield tick


@contextmanager
def _lines(title: str, total: int) -> Iterator[Tick]:
    log, ended = Log(title, total, time.monotonic()), threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK):
            if line := log.line(time.monotonic()):
                say(line)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield lambda count: log.update(count, time.monotonic())
    finally:
        ended.set()
        watching.join()


@contextmanager
def waiting(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner for work whose length is not known; what it yields shows how far the work is."""
    if verbosity.is_quiet() or not is_live(errors):
        yield lambda state: None
        return
    with errors.status(title, spinner=_spinner()) as status:
        yield lambda state: status.update(f"{title}: {state}")


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show each warning of the package once, as a line of text without a line of code."""
    said = set[str]()
    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.simplefilter("always", SmoothcertWarning)

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, SmoothcertWarning):
                if str(message) not in said:
                    say(f"Warning: {message}")
                said.add(str(message))
            else:
                shown(message, category, *place)

        warnings.showwarning = show
        yield


def say(text: str) -> None:
    """A line for a person, on standard error so that standard output stays the result."""
    if not verbosity.is_quiet():
        errors.print(visible(text, keep="\n"), highlight=False, markup=False, soft_wrap=True)


def note(hints: Iterable[str]) -> None:
    """Hints about what looks odd, a line each; see `api.sanity`."""
    for hint in hints:
        say(f"Note: {hint}")


def show(text: str) -> None:
    """A line of the result, on standard output."""
    output.print(visible(text, keep="\n"), highlight=False, markup=False, soft_wrap=True)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table on standard output: on a terminal in a box, transposed if the terminal is narrow."""
    heads, *rows = (
        [readable(visible(cell), output.encoding) for cell in row] for row in (heads, *rows)
    )
    widths = [max(cell_len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    if not is_live(output):
        _show_plain([heads, *rows], widths, title)
        return
    if sum(widths) + 3 * len(widths) + 1 > output.width:
        heads, *rows = (list(column) for column in zip(heads, *rows, strict=True))
    table = Table(title=title or None, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))  # no markup in names
    output.print(table)


def _show_plain(rows: Sequence[Sequence[str]], widths: Sequence[int], title: str) -> None:
    """The first column to the left, figures to the right, two spaces between; heads in bold."""
    if title:
        output.print(Text(title), soft_wrap=True)
    for number, (first, *rest) in enumerate(rows):
        cells = [first + " " * (widths[0] - cell_len(first))]
        cells += [
            " " * (width - cell_len(cell)) + cell
            for cell, width in zip(rest, widths[1:], strict=True)
        ]
        line = Text("  ".join(cells).rstrip(), "" if number else "bold")
        output.print(line, soft_wrap=True)


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=1))
