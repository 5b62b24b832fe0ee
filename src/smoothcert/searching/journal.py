"""What a search has done so far, a file for each step, so that it can stop and go on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.files import make_folder, read_regular, write_whole
from smoothcert.runs.validation import UNREADABLE
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit

_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Journal:
    """Steps by name, each done once. A search that goes on does all of them again, and so the same.

    Attributes:
        folder: for its files.
        asked: what the search was asked for; a step of another search is not found.
        limit: when to stop, or None.
    """

    folder: Path
    asked: Mapping[str, Any]
    limit: TimeLimit | None = None

    @staticmethod
    def begun(folder: Path, asked: Mapping[str, Any], limit: TimeLimit | None) -> "Journal":
        """A new one, or one that goes on.

        Raises:
            Mismatch: the folder has the steps of a search that was asked for something else.
        """
        asked = json.loads(json.dumps(asked))
        make_folder(folder)
        first = Journal(folder, {}).step("asked", lambda: dict(asked))
        if differing := [name for name in asked if first.get(name) != asked[name]]:
            raise Mismatch(
                f"{folder.parent} has a search with another {differing[0]} "
                f"({first.get(differing[0])!s:.60}, not {asked[differing[0]]!s:.60}). It goes on "
                "with what it began with; begin another in a new folder."
            )
        return Journal(folder, asked, limit)

    def step(self, name: str, compute: Callable[[], Any]) -> Any:
        """What a step gave, in plain values; computed unless it was before.

        Raises:
            TimeIsUp: it was not, and there is no time.
        """
        if (known := self._known(name)) is not None:
            return json.loads(known)
        if self.limit is not None and self.limit.over:
            raise TimeIsUp
        return self.keep(name, compute())

    def has(self, name: str) -> bool:
        """Whether a step is done."""
        return self._known(name) is not None

    def keep(self, name: str, value: Any) -> Any:
        """Store what a step gave, and return it in plain values."""
        told, body = self._told(name), json.dumps(value)
        write_whole(self._file(told), f"{_seal(told, body)}\n{body}".encode())
        return json.loads(body)

    def _known(self, name: str) -> str | None:
        told = self._told(name)
        try:
            file = read_regular(self._file(told), _MOST_BYTES, InvalidInput)
            seal, _, body = file.decode().partition("\n")
        except (FileNotFoundError, InvalidInput, *UNREADABLE):
            return None  # what is damaged is done again
        return body if seal == _seal(told, body) else None

    def _told(self, name: str) -> str:
        return json.dumps([name, self.asked], sort_keys=True)

    @property
    def steps(self) -> int:
        """How many are done."""
        return len(list(self.folder.glob("*.json")))

    def end(self) -> None:
        """Forget all steps, but not what was asked for."""
        asked = self._file(json.dumps(["asked", {}]))
        for file in self.folder.iterdir():
            if file != asked:
                file.unlink()

    def _file(self, told: str) -> Path:
        return self.folder / f"{sha256(told.encode()).hexdigest()[:32]}.json"


def _seal(told: str, body: str) -> str:
    """A checksum of a step's name and result, which shows damage."""
    return sha256(f"{told}\n{body}".encode()).hexdigest()
