"""pilot.parquet in a planned run, and pilots/ in its base: the votes of pilots.

With it and the base run anyone can recompute the plan. A pilot whose outcome somebody has seen
(`plan` shows it) is stored in the base, so that later recertifications set its draws aside.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from smoothcert.certificate import Record
from smoothcert.errors import Damaged, InvalidInput
from smoothcert.methods import Exact, Planned
from smoothcert.planning.pilot import PilotVotes, pilot_draws, set_aside
from smoothcert.runs import vote_codec as codec
from smoothcert.runs.manifest import method_form
from smoothcert.runs.sealed import has_no_gaps, notes_of, read_table, rows_of, table_bytes
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE, check_labels, whole

NAME = "pilot.parquet"
FOLDER = "pilots"
_SCHEMA = pa.schema([("index", pa.int64()), ("labels", pa.binary())])
_NAME = re.compile(FOLDER + r"/[0-9a-f]{16}\.parquet")


@dataclass(frozen=True, eq=False)
class StoredPilot:
    """A pilot as a run stores it.

    Attributes:
        votes: its votes.
        shown: files of earlier pilots in the base run whose draws are also set aside.
    """

    votes: PilotVotes
    shown: tuple[str, ...] = ()


def pilot_bytes(stored: StoredPilot, indices: tuple[int, ...]) -> bytes:
    """The file's content, to be sealed: a row per pilot input, in order."""
    columns = {
        "index": pa.array([indices[p] for p in stored.votes.positions.tolist()], pa.int64()),
        "labels": pa.array([codec.encode(labels) for labels in stored.votes.labels], pa.binary()),
    }
    notes = {"shown": json.dumps(stored.shown)}
    if stored.votes.budget is not None:
        notes["budget"] = json.dumps(stored.votes.budget)
    return table_bytes(pa.table(columns), notes)


def keeps_pilot(run: Run) -> bool:
    """Whether it is a planned run that stores its pilot: runs of format 3 do not."""
    return run.identity.method.has_plan and run.manifest.format > 3


def read_pilot(run: Run, name: str = NAME) -> StoredPilot:
    """A run's own pilot, or by name one of its shown pilots.

    Raises:
        Damaged: it is missing, changed, or of other inputs.
    """
    data, identity = run.read(name), run.identity
    place = {index: position for position, index in enumerate(identity.indices)}
    try:
        most = max(identity.settings.n0, identity.settings.n)
        table = read_table(data, _SCHEMA, rows_of(data, len(place)), codec.longest(most))
        has_no_gaps(table)
        positions = np.array([place[i] for i in table["index"].to_pylist()], dtype=np.int64)
        if (np.diff(positions) <= 0).any():
            raise ValueError("its inputs are not in order")
        labels = tuple(codec.decode(blob, most) for blob in table["labels"].to_pylist())
        for some in labels:
            check_labels(some, identity.num_classes)
        notes = notes_of(data)
        shown = json.loads(notes.get("shown", "[]"))
        if not all(isinstance(one, str) and _NAME.fullmatch(one) for one in shown):
            raise ValueError("it names files that are not pilots")
        budget = json.loads(notes["budget"]) if "budget" in notes else None
        if budget is not None:
            whole(budget, "budget", 1, 2**62)
        return StoredPilot(PilotVotes(positions, labels, budget), tuple(shown))
    except UNREADABLE as error:
        where = run.storage.uri_of(name)
        raise Damaged(f"{where} is damaged: {error}. Make the run again.") from error


def keep(base: Run, model: str, reuse: Planned, votes: PilotVotes) -> str:
    """Store a pilot that will be shown in the base run; returns its file.

    Raises:
        StoreError: the base run cannot be written to.
    """
    key = json.dumps([model, method_form(reuse)], sort_keys=True)
    name = f"{FOLDER}/{sha256(key.encode()).hexdigest()[:16]}.parquet"
    base.write(name, pilot_bytes(StoredPilot(votes), base.identity.indices))
    return name


def of_method(base: Run, method: Planned, votes: PilotVotes) -> StoredPilot:
    """The pilot of a method on a base run.

    With the shown pilots whose draws it sets aside; the exact test sets none aside, so `verify`
    names them.
    """
    return StoredPilot(votes, () if isinstance(method, Exact) else shown(base))


def is_shown(name: str) -> bool:
    """Whether a file of a run directory has the name of a pilot that was shown."""
    return _NAME.fullmatch(name) is not None


def shown(base: Run) -> tuple[str, ...]:
    """The files of all pilots that were shown of a base run."""
    return tuple(sorted(filter(is_shown, base.storage.files(FOLDER))))


def require_unseen(base: Run, prefix: int, who: str = "IRS", kind: str = "method") -> None:
    """Raise InvalidInput if shown pilots saw one of the first `prefix` draws of an input.

    IRS counts a prefix, and what a pilot has shown may have chosen its length. So does a screening
    in the form runner-up; `who` and `kind` are for the message.
    """
    for position, record in _seen_records(base).items():
        draws, _ = pilot_draws(record)
        if len(draws) and draws.min() < prefix:
            index = base.identity.indices[position]
            raise InvalidInput(
                f"`plan` has shown draw {draws.min()} of input {index} of {base.storage}, and "
                f"{who} would count it among the first {prefix}. Ask for at most {draws.min()} per "
                f"input, or use another {kind}, which sets such draws aside."
            )


def seen_of(base: Run) -> NDArray[np.int64]:
    """How many last winners and losers of each input shown pilots have seen: (2, inputs)."""
    return set_aside(_seen_records(base), len(base.identity.indices))


def _seen_records(base: Run) -> dict[int, Record]:
    """The records by position that shown pilots looked at; each block of the run is read once."""
    positions = sorted(positions_of(base, shown(base)))
    return dict(zip(positions, base.records(positions), strict=True))


def positions_of(base: Run, names: Iterable[str]) -> frozenset[int]:
    """Positions of the inputs that these pilots of a base run looked at."""
    found = (read_pilot(base, name).votes.positions.tolist() for name in names)
    return frozenset(position for some in found for position in some)
