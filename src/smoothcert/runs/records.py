"""The records of a run, read on demand."""

from collections.abc import Callable, Sequence
from typing import overload

from smoothcert.certificate import Certificate, Record


class StoredRecords(Sequence[Record]):
    """A run's records by position, one block of them in memory at a time."""

    def __init__(
        self,
        count: int,
        per_block: int,
        read: Callable[[int], tuple[Record, ...]],
        certificates: Callable[[], tuple[Certificate, ...]],
    ) -> None:
        """Read nothing yet."""
        self._count, self._per_block, self._read = count, per_block, read
        self._certificates = certificates
        self._block, self._held = -1, ()

    def __repr__(self) -> str:
        """How many there are."""
        return f"StoredRecords({self._count:,})"

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates alone, for which no vote is read."""
        return self._certificates()

    def __len__(self) -> int:
        """Count the inputs."""
        return self._count

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
        block, row = divmod(position % len(self), self._per_block)
        if block != self._block:
            self._held, self._block = self._read(block), block
        return self._held[row]
