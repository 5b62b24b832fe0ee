"""Progress bars for the functions in Python: in a notebook, or on a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from smoothcert.sampling.engine import Progress

_INTERVAL = 0.2  # seconds between two drawings

Draw = Callable[[str, int, int], None]
"""Draws a title, how many evaluations are done, and of how many."""


@contextmanager
def shown(progress: Progress | bool | None, title: str, total: int) -> Iterator[Progress | None]:
    """What to call with evaluations: what was given, or for True a bar while inside.

    Args:
        progress: as of `certify`. True draws nothing where nobody can see it move.
        title: says what is computed.
        total: about how many evaluations there will be.
    """
    if not isinstance(progress, bool):
        yield progress
    elif progress and _in_a_notebook():
        with _drawn(_notebook(), title, total) as tick:
            yield tick
    elif progress and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda evaluations: bar.advance(task, evaluations)
    else:
        yield None


def _in_a_notebook() -> bool:
    """Whether this is the kernel of a notebook, which shows HTML."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None else None
    return found is not None and hasattr(found, "kernel")


def _notebook() -> Draw:
    """HTML in the cell's output; nothing but what every notebook has is needed."""
    from IPython.display import HTML, display  # type: ignore[import-not-found]

    handle: Any = display(HTML(""), display_id=True)

    def draw(title: str, done: int, total: int) -> None:
        bar = f'<progress value="{done}" max="{total}" style="width:20em"></progress>'
        handle.update(HTML(f"{title} {bar} {done:,} of {total:,} evaluations"))

    return draw


@contextmanager
def _drawn(draw: Draw, title: str, total: int) -> Iterator[Progress]:
    done, last = 0, 0.0

    def tick(evaluations: int) -> None:
        nonlocal done, last
        done += evaluations
        if time.monotonic() - last >= _INTERVAL:
            last = time.monotonic()
            draw(title, done, max(done, total))

    draw(title, 0, total)
    yield tick
    draw(title, done, max(done, 1))
