"""ledger/ in a base run: every question about changed models asked of its draws, one file each.

A certificate needs a model, a budget and a method that were fixed without looking at its noise, so
what matters is how many results a cache has given. An entry is made before the first evaluation,
and named by what determines the result: resuming, sharding or repeating a command adds none.
"""

import re
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from smoothcert.errors import SmoothcertWarning, StoreError
from smoothcert.runs.manifest import Identity
from smoothcert.runs.sealed import json_bytes
from smoothcert.storage.base import Storage
from smoothcert.tries import Tries, Try, remember

FOLDER = "ledger"


class Base(Protocol):
    """What a ledger needs of its run, a `Run`."""

    @property
    def storage(self) -> Storage:
        """Where it is."""
        ...

    @property
    def identity(self) -> Identity:
        """What the run is."""
        ...

    def write(self, name: str, data: bytes, /) -> str:
        """Seal a file and write it."""
        ...

    def read_json(self, name: str, /) -> dict[str, Any]:
        """Read a sealed JSON file."""
        ...


class NotEntered(SmoothcertWarning):
    """A base run cannot be written to, so its ledger counts too few results."""


def enter(base: Base, one: Try, name: str, where: str) -> None:
    """Record what a base run is asked, with the name of the model and where the result goes.

    If the base run cannot be written to, a warning is issued (`NotEntered`).
    """
    remember(one)
    file, now = f"{FOLDER}/{one.key}.json", datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"time": now, "model": name, "fingerprint": one.model, "kind": one.kind}
    entry |= {"what": one.what, "result": where, "seed": one.seed}
    try:
        if not base.storage.exists(file):
            base.write(file, json_bytes(entry))
    except StoreError as error:
        warnings.warn(
            NotEntered(
                f"This use of {base.storage} is not counted in its ledger, which cannot be "
                f"written: "
                f"{error} Count yourself how often its draws are used: a result that is chosen "
                "among several is not covered."
            ),
            stacklevel=2,
        )


def is_entry(name: str) -> bool:
    """Whether a file of a run directory has the name of an entry."""
    return re.fullmatch(FOLDER + r"/[0-9a-f]{16}\.json", name) is not None


def names(base: Base) -> list[str]:
    """The files of all entries, relative to the run directory."""
    return [name for name in base.storage.files(FOLDER) if name.endswith(".json")]


def entries(base: Base) -> tuple[dict[str, Any], ...]:
    """All entries, oldest first by their writers' clocks.

    Raises:
        Damaged: an entry was changed; leaving it out would count too few results.
    """
    found = [base.read_json(name) for name in names(base)]
    return tuple(sorted(found, key=lambda entry: str(entry.get("time"))))


def tries(base: Base) -> Tries:
    """What the draws of a base run were asked.

    Raises:
        Damaged: as `entries`.
    """
    seed = base.identity.settings.seed
    return Tries(_try(name, base.read_json(name), seed) for name in names(base))


def _try(name: str, entry: Mapping[str, Any], seed: int) -> Try:
    """An entry; an old one has no kind or seed, and is of a recertified run."""
    kind, what = str(entry.get("kind", "recertify")), str(entry.get("what", "not recorded"))
    own = entry.get("seed", seed)
    return Try(kind, str(entry.get("fingerprint")), what, own, name.removesuffix(".json")[-16:])
