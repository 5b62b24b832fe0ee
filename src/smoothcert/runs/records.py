"""The records of a run, read when asked for."""

from collections.abc import Sequence
from typing import overload

from smoothcert.certificate import Record
from smoothcert.runs.store import Run


class StoredRecords(Sequence[Record]):
    """A run's records by position, one block of them in memory at a time."""

    def __init__(self, run: Run) -> None:
        """Read nothing yet."""
        self._run, self._block = run, -1
        self._held: tuple[Record, ...] = ()

    def __len__(self) -> int:
        """Count the inputs."""
        return len(self._run.identity.indices)

    @overload
    def __getitem__(self, position: int) -> Record: ...

    @overload
    def __getitem__(self, position: slice) -> tuple[Record, ...]: ...

    def __getitem__(self, position: int | slice) -> Record | tuple[Record, ...]:
        """Read a record, or a tuple of them for a slice."""
        if isinstance(position, slice):
            return tuple(self[p] for p in range(*position.indices(len(self))))
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        block, row = divmod(position % len(self), self._run.identity.block_inputs)
        if block != self._block:
            self._held, self._block = self._run.read_block(block), block
        return self._held[row]
