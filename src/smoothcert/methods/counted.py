"""Which draws a method counts is a rule, not a choice: the rule applied again to the cache.

A certificate holds for draws that were chosen before their labels were seen. Somebody who replays
everything and then keeps the prefix, the sample or the length that looks best has true labels and
a false certificate. So all that the rule decides is computed again and must be what is recorded.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Record, Settings, Votes
from smoothcert.errors import SmoothcertError
from smoothcert.methods import irs, reuse, rs, sequential
from smoothcert.methods.irs import Cached, Irs
from smoothcert.methods.reuse import How, Reuse, Share
from smoothcert.methods.sequential import Decision
from smoothcert.noise.law import Stream


def of_itself(
    record: Record, settings: Settings, shape: tuple[int, ...], method: object
) -> Iterator[str]:
    """What is wrong with the draws of a record that needs no cache: lengths and stops."""
    votes = record.votes
    if isinstance(method, Irs | Reuse):
        return
    if len(votes.selection) != settings.n0:
        yield f"{len(votes.selection)} selection draws are stored, and not {settings.n0}"
    drawn = len(votes.estimation)
    if isinstance(method, Decision):
        tested = sequential.thresholds(method, settings, shape)
        wins = votes.estimation == rs.candidate(votes.selection)
        due = tested.stop(wins) or settings.n
        if drawn != due:
            yield f"its draws are to stop after {due}, where they decide, and {drawn} are stored"
        return
    if drawn != settings.n:
        yield f"{drawn} estimation draws are stored, and not {settings.n}"
    if (len(votes.margins) > 0) != settings.keep_margins:
        yield "its margins are stored, or not, against the run's settings"


def of_cache(
    record: Record, cached: Record, settings: Settings, method: Irs | Reuse, share: Share | None
) -> Iterator[str]:
    """What is wrong with the draws of a record that reuses a cache.

    Args:
        record: of the new classifier.
        cached: the original's, of the same input.
        settings: of the original's certification.
        method: that reused it.
        share: what the plan gives the input; None for IRS.
    """
    new, old = record.certificate, cached.certificate
    if (new.candidate, new.cached_k, new.cached_n) != (old.candidate, old.k, old.n):
        yield "the class and the cached counts are not those of the base run"
        return
    known = Cached(old.index, old.content, old.candidate, old.k, old.n)
    try:
        if isinstance(method, Irs):
            due = _due_to_irs(known, cached.votes, method)
        else:
            assert share is not None
            due = _due_to_share(known, cached.votes, share, settings)
            if new.method != share.how:
                yield f"its method is {new.method}, and the plan gives it {share.how}"
    except SmoothcertError as error:
        yield f"its draws cannot be those of a plan: {error}"
        return
    yield from _differences(record.votes, due)


def _due_to_irs(known: Cached, votes: Votes, method: Irs) -> Votes:
    """Draws and original labels that IRS counts; labels of the new classifier are left 0."""
    stream, draws = irs.draws(known, votes.estimation, method)
    blank, original = _blank(len(draws)), votes.estimation[: len(draws)]
    if stream is Stream.FRESH:
        return Votes(original=original, fresh=blank)
    return Votes(original=original, estimation=blank)


def _due_to_share(known: Cached, votes: Votes, share: Share, settings: Settings) -> Votes:
    """Likewise for a share of a plan."""
    parts = reuse.roles(votes, known.candidate, share, settings.seed, known.index)
    size = share.fresh if share.how is How.FRESH else len(reuse.evaluated(parts))
    return reuse.votes_of(_blank(size), parts, votes, share)


def _blank(size: int) -> NDArray[np.int32]:
    return np.zeros(size, dtype=np.int32)


def _differences(votes: Votes, due: Votes) -> Iterator[str]:
    """Where the stored draws are not those that are due."""
    for name in ("estimation", "fresh"):
        have, want = len(getattr(votes, name)), len(getattr(due, name))
        if have != want:
            stream = "replayed" if name == "estimation" else "fresh"
            yield f"{have} {stream} draws are stored where its rule takes {want}"
    if not np.array_equal(votes.roles, due.roles):
        yield "the cached draws that were replayed are not those that its rule takes"
    if not np.array_equal(votes.original, due.original):
        yield "the original's labels are not those of the base run"
