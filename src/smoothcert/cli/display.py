"""What a person sees: progress on standard error, results on standard output."""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from smoothcert.names import visible
from smoothcert.sampling.engine import Progress as Tick
from smoothcert.watching import WatcherFailed

errors = Console(stderr=True)
output = Console()


class _Speed(ProgressColumn):
    """Evaluations per second over the last moments."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "")


@contextmanager
def bar(title: str, total: int | None) -> Iterator[Tick]:
    """A progress bar that counts evaluations; plain silence where there is no terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        _Speed(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    progress = Progress(
        *columns,
        console=errors,
        transient=True,
        speed_estimate_period=10,
        disable=not errors.is_terminal,
    )
    with progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def waiting(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner for work whose length is not known; what it yields tells how far the work is."""
    with errors.status(title) as status:
        yield lambda state: status.update(f"{title}: {state}")


@contextmanager
def saying_warnings() -> Iterator[None]:
    """Loggers that fail are said in a line, as it happens, and not with a line of code."""
    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.simplefilter("always", WatcherFailed)

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, WatcherFailed):
                say(f"Warning: {message}")
            else:
                shown(message, category, *where)

        warnings.showwarning = show
        yield


def say(text: str) -> None:
    """A line for a person, on standard error so that standard output stays the result."""
    errors.print(visible(text, keep="\n"), highlight=False, markup=False, soft_wrap=True)


def state(text: str) -> None:
    """A line of the result, on standard output."""
    output.print(visible(text), highlight=False, markup=False, soft_wrap=True)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table on standard output, turned on its side where the terminal is too narrow for it."""
    # A pipe or a log has no width of its own: do not fold the figures there.
    wide = sum(max(len(r[i]) for r in [heads, *rows]) + 3 for i in range(len(heads))) + 1
    console = output if output.is_terminal else Console(width=max(80, wide))
    if wide > console.width:
        heads, *rows = (list(column) for column in zip(heads, *rows, strict=True))
    table = Table(title=title or None, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))  # as it is: no markup in names
    console.print(table)


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=1))
