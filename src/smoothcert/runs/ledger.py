"""ledger/ in a base run: every model that was evaluated against its cache, a file each.

The guarantee needs a model that was fixed without looking at the cached noise. Choosing the
best of many on one cache breaks it, so a report says how many models a cache has served.
"""

import re
import secrets
from datetime import UTC, datetime
from typing import Any

from smoothcert.errors import StoreError
from smoothcert.runs.content import json_bytes
from smoothcert.runs.store import Run

FOLDER = "ledger"


def enter(base: Run, run: Run, name: str) -> None:
    """Note a recertification, with the name of its model, in its base run."""
    spent = run.pilot_evaluations + sum(c.evaluations for c in run.certificates)
    note(base, name, run.identity.model, spent, str(run.place))


def note(base: Run, name: str, fingerprint: str, evaluations: int, where: str) -> None:
    """Add one entry; a base run that cannot be written to keeps no ledger."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"time": now, "model": name, "fingerprint": fingerprint}
    entry |= {"evaluations": evaluations, "result": where}
    try:
        base.write(f"{FOLDER}/{secrets.token_hex(8)}.json", json_bytes(entry))
    except StoreError:
        return


def is_entry(name: str) -> bool:
    """Whether a file of a run directory has the name of an entry."""
    return re.fullmatch(FOLDER + r"/[0-9a-f]{16}\.json", name) is not None


def names(base: Run) -> list[str]:
    """The files of all entries, relative to the run directory."""
    return [name for name in base.place.names(FOLDER) if name.endswith(".json")]


def entries(base: Run) -> tuple[dict[str, Any], ...]:
    """All entries, oldest first by the clocks of those who wrote them.

    Raises:
        Damaged: an entry was changed; leaving it out would count too few models.
    """
    found = [base.read_json(name) for name in names(base)]
    return tuple(sorted(found, key=lambda entry: str(entry.get("time"))))


def models_served(base: Run) -> int:
    """How many different models the cache has been used for."""
    return len({str(entry.get("fingerprint")) for entry in entries(base)})
