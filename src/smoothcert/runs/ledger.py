"""ledger.jsonl in a base run: every model that was evaluated against its cache.

The guarantee needs a model that was fixed without looking at the cached noise. Choosing the
best of many on one cache breaks it, so a report says how many models a cache has served.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smoothcert.classifiers.protocol import Classifier
from smoothcert.runs.store import Run

_NAME = "ledger.jsonl"


def enter(base: Run, run: Run, classifier: Classifier) -> None:
    """Note a finished recertification in its base run."""
    spent = run.pilot_evaluations + sum(c.evaluations for c in run.certificates)
    note(base.path, classifier.name, classifier.fingerprint, spent, str(run.path))


def note(directory: Path, name: str, fingerprint: str, evaluations: int, where: str) -> None:
    """Append one line; a base run that cannot be written to keeps no ledger."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"time": now, "model": name, "fingerprint": fingerprint}
    entry |= {"evaluations": evaluations, "result": where}
    try:
        with (directory / _NAME).open("a") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError:
        return


def entries(directory: Path) -> tuple[dict[str, Any], ...]:
    """All readable lines, oldest first."""
    found = []
    try:
        lines = (directory / _NAME).read_text().splitlines()
    except OSError:
        return ()
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # cut off by a crash
    return tuple(found)


def models_served(directory: Path) -> int:
    """How many different models the cache has been used for."""
    return len({entry.get("fingerprint") for entry in entries(directory)})
