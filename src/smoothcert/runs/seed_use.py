"""Which results used a seed: registers a new run in ledgers, and warns of a seed that was used."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from smoothcert.errors import SmoothcertError
from smoothcert.methods import Planned
from smoothcert.runs import ledger
from smoothcert.runs.manifest import Identity
from smoothcert.runs.store import Run
from smoothcert.storage.base import Storage
from smoothcert.storage.local import LocalFolder
from smoothcert.tries import Tries, Try, warn_if_used


def runs_beside(storage: Storage) -> tuple[Run, ...]:
    """The runs in the same local parent folder, without unreadable ones."""
    found = []
    if isinstance(storage, LocalFolder):
        own = storage.path.resolve()
        with suppress(OSError):
            for path in sorted(own.parent.iterdir()):
                with suppress(SmoothcertError, OSError):
                    if path != own and (path / "run.json").is_file():
                        found.append(Run.open(path))
    return tuple(found)


def register(
    identity: Identity, name: str, where: Storage, base: Run | None, near: Iterable[Run]
) -> None:
    """Enter a run in the ledgers concerned, before it evaluates; warn if its seed was used.

    Those are its base's or, from scratch, those of the runs near it.
    """
    one, method, near = question_of(identity), identity.method, tuple(near)
    if method.continues:
        return  # it is no second try: its error is set aside
    if base is None or method.is_fresh:
        known = () if base is None else tuple(_known(base))
        warn_if_used(one, known, (t for run in near for t in _known(run)), depth=2)
    concerned = [base] if base else [run for run in near if _shares_noise(identity, run.identity)]
    for run in concerned:
        ledger.enter(run, one, name, str(where))


def register_plan(base: Run, model: str, name: str, reuse: Planned) -> None:
    """Register a pilot whose figures will be shown, by the model's fingerprint and name."""
    settings = base.identity.settings
    new = Try.of("plan", model, reuse.describe(settings), settings.seed, reuse)
    ledger.enter(base, new, name, "plan")


def question_of(identity: Identity) -> Try:
    """The question that a run asks of its draws."""
    return identity.method.question(identity.model, identity.settings)


def tries_of_run(run: Run, base: Run | None = None) -> Tries | None:
    """What the cache of a run was asked: its own, or for a run that reuses another, the other's.

    Args:
        run: from scratch or recertified.
        base: base of a recertified run; by default the recorded one, if it is local.

    Returns:
        The counts, or None if the base is not available.

    Raises:
        Damaged: an entry was changed.
    """
    if not run.identity.base:
        return ledger.tries(run)
    if base is not None:
        return ledger.tries(base)
    with suppress(SmoothcertError):  # an untrusted run may name anything as its base
        found = recorded_base(run)
        if found is not None and found.identity.hash == run.identity.base:
            return ledger.tries(found)
    return None


def recorded_base(run: Run) -> Run | None:
    """The run that it says it was made from, if that is in a local folder.

    An untrusted run does not determine which hosts are contacted.
    """
    recorded = LocalFolder(Path(str(run.manifest.origin.get("base", ""))))
    return Run.open(recorded) if recorded.exists("run.json") else None


def _known(run: Run) -> Iterator[Try]:
    """What a run shows was asked of seeds: its ledger, and itself if it is recertified."""
    if run.identity.base:
        yield question_of(run.identity)
    with suppress(SmoothcertError):
        yield from ledger.tries(run).asked


def _shares_noise(new: Identity, other: Identity) -> bool:
    """Whether a run from scratch draws another run's noise, for another result."""
    mine, theirs = ((i.settings.seed, i.shape, i.data) for i in (new, other))
    return (
        other.method.reusable and mine == theirs and question_of(new).key != question_of(other).key
    )
