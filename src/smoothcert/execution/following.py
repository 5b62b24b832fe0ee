"""Telling watchers of a run: block by block, whichever process computed it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from smoothcert.errors import StoreError
from smoothcert.methods import stated
from smoothcert.runs.store import Run
from smoothcert.text import visible
from smoothcert.watchers.base import Start, Watcher, notifying


@contextmanager
def following(run: Run, watchers: Sequence[Watcher]) -> Iterator[Callable[[int], None]]:
    """Tell watchers of what is finished already, and of what is finished inside.

    Certificates are read from the run, so what a watcher sees is stored.

    Yields:
        To be called with a block that is finished. Who computes blocks and does not call it makes
        the watchers wait for the end.
    """
    if not watchers:
        yield lambda block: None
        return
    identity, told = run.identity, set()
    facts = (len(identity.indices), identity.settings, stated(identity.method))
    start = Start(visible(run.name), identity.model, *facts)
    with notifying(watchers, start, run.pilot_evaluations) as seen:

        def tell(block: int, earlier: bool = False) -> None:
            positions = run.blocks[block]
            labels = run.labels[positions.start : positions.stop]
            seen.add(run.read_certificates(block), labels, earlier)
            told.add(block)

        def finished(block: int) -> None:
            with suppress(StoreError):  # read once more at the end: no work is lost for it
                tell(block)

        for block in run.finished:
            tell(block, earlier=True)
        yield finished
        for block in set(run.finished) - told:
            tell(block)
        seen.finish(run.seconds)
