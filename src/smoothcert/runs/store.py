"""A run: run.json, inputs.parquet, and three files per finished block, in a folder or a bucket.

    run.json                      what the run is
    inputs.parquet                index, content hash and (if known) label of every input
    plan.parquet                  what every input gets, in planned runs (`plan_file`)
    votes/00000.parquet           the label of every draw, through `vote_codec`
    events/00000.json             how long the block took; differs between equal runs
    certificates/00000.parquet    a row per input of the block
    ledger/*.json                 what this run's draws were asked (`ledger`)

A block is finished when its certificates are there; its votes were written before them. Every file
carries a checksum (`sealed`). docs/store-format.md says all of it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from smoothcert.certificate import Certificate, Certification, Record
from smoothcert.errors import Damaged, Mismatch, StoreError
from smoothcert.methods import stated
from smoothcert.runs import ledger
from smoothcert.runs import manifest as manifests
from smoothcert.runs.manifest import Identity, Manifest
from smoothcert.runs.records import StoredRecords
from smoothcert.runs.sealed import digest, json_bytes, read_sealed, seal, table_bytes
from smoothcert.runs.tables import (
    FOLDERS,
    block_name,
    certificates_of,
    certificates_table,
    inputs_of,
    inputs_table,
    votes_named_by,
    votes_of,
    votes_table,
)
from smoothcert.runs.validation import (
    MOST_MANIFEST_BYTES,
    UNREADABLE,
    check_attached,
    number,
)
from smoothcert.sampling.known_answers import agree
from smoothcert.storage.base import Storage
from smoothcert.storage.local import LocalFolder, no_run
from smoothcert.storage.opening import open_storage

_Content = TypeVar("_Content")
_AGAIN = "Repeat the run's command with --resume: only what is damaged is sampled again."
_RESTORE = "Restore it from a copy, or make the run again in a new directory."
_CENTURY = 3.2e9  # seconds
_DELETE = "No certificate depends on it: delete it to continue without it."
_ADVICE = {"votes": _AGAIN, "certificates": _AGAIN, "events": _DELETE, "ledger": _DELETE}


@dataclass(frozen=True, eq=False)
class Run:
    """A run directory, finished or not.

    Attributes:
        storage: its location.
        manifest: its run.json.
    """

    storage: Storage
    manifest: Manifest = field(repr=False)

    @staticmethod
    def open(where: Storage | Path | str) -> "Run":
        """Open an existing run.

        Args:
            where: a path, or a URI such as `s3://bucket/folder`.

        Returns:
            The run; only its run.json is read.

        Raises:
            StoreError: there is no run, or its run.json has another format.
            Damaged: its run.json was changed or truncated.
            InvalidInput: a URI that cannot be used.
        """
        storage = open_storage(where)
        try:
            data = storage.read(manifests.NAME, MOST_MANIFEST_BYTES)
        except FileNotFoundError:
            why = no_run(storage.path) if isinstance(storage, LocalFolder) else "it has no run.json"
            raise StoreError(f"{storage} is not a run directory: {why}") from None
        return Run(storage, Manifest.from_bytes(data, str(storage)))

    @staticmethod
    def create(
        where: Storage | Path | str,
        manifest: Manifest,
        contents: Sequence[str],
        labels: Sequence[int | None] | None,
        extra: Mapping[str, bytes] | None = None,
        attached: Mapping[str, bytes] | None = None,
    ) -> "Run":
        """Start a run in an empty or new directory.

        Args:
            where: the directory, as for `open`.
            manifest: its run.json, which names the SHA-256 of attached files.
            contents: content hashes of the inputs.
            labels: their true classes, if known.
            extra: files by name, to be sealed.
            attached: files by name, stored unchanged.

        Returns:
            The run, without blocks.

        Raises:
            StoreError: the directory is not empty, or cannot be written.
        """
        attached = attached or {}
        check_attached({name: sha256(data).hexdigest() for name, data in attached.items()})
        new = Run(open_storage(where), manifest)
        table = inputs_table(manifest.identity.indices, contents, labels)
        ours = {"inputs.parquet": table_bytes(table), **(extra or {})}
        sealed = {name: new.sealed(name, data) for name, data in ours.items()}
        last = {manifests.NAME: manifest.to_bytes()}
        new.storage.create((sealed | dict(attached) | last).items())
        return new

    @property
    def identity(self) -> Identity:
        """What determines the run's bytes."""
        return self.manifest.identity

    @property
    def place(self) -> Storage:
        """`storage`, under its earlier name."""
        return self.storage

    @property
    def path(self) -> Path:
        """The local directory.

        Raises:
            StoreError: it is in an object store.
        """
        if not isinstance(self.storage, LocalFolder):
            raise StoreError(f"{self.storage} is not a local directory. Copy the run to one.")
        return self.storage.path

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.storage.name

    @property
    def model(self) -> str:
        """The model's name in memory, or its reference, or the directory's name."""
        origin = self.manifest.origin
        return str(origin.get("name") or origin.get("model") or self.name)

    @cached_property
    def _hash(self) -> str:
        return self.identity.hash

    def write(self, name: str, data: bytes) -> str:
        """Seal a file and write it, or raise StoreError.

        Args:
            name: relative to the directory, with slashes.
            data: with a `BLANK` in it.

        Returns:
            The digits of its seal.
        """
        data = self.sealed(name, data)
        self.storage.write(name, data)
        return digest(data)

    def sealed(self, name: str, data: bytes) -> bytes:
        """The data of a file of this name, with its seal in place of `BLANK`."""
        return seal(data, f"{self._hash}/{name}")

    def read(self, name: str) -> bytes:
        """Read a file by name, or raise Damaged if it is missing or one bit of it was changed."""
        advice = _ADVICE.get(name.partition("/")[0], _RESTORE)
        return read_sealed(self.storage, name, self._hash, advice)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file by name; Damaged as for `read`, or if it is not an object."""
        try:
            return dict(json.loads(self.read(name)).items())
        except UNREADABLE as error:
            raise Damaged(f"{self.storage.uri_of(name)} is not JSON: {error}. {_DELETE}") from error

    @property
    def attached(self) -> Mapping[str, str]:
        """Attached files that are stored with it: SHA-256 by name."""
        return self.manifest.origin.get("files", {})

    @cached_property
    def blocks(self) -> tuple[range, ...]:
        """The positions of the inputs in each block."""
        count, size = len(self.identity.indices), self.identity.block_inputs
        return tuple(range(start, min(start + size, count)) for start in range(0, count, size))

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the blocks that are not finished."""
        done, blocks = set(self.storage.files("certificates")), range(len(self.blocks))
        return tuple(b for b in blocks if block_name("certificates", b) not in done)

    @property
    def finished(self) -> tuple[int, ...]:
        """The numbers of the blocks that are."""
        missing = set(self.missing)
        return tuple(block for block in range(len(self.blocks)) if block not in missing)

    @cached_property
    def block_files(self) -> frozenset[str]:
        """The names of the files that the blocks of a run have when they are finished."""
        blocks = range(len(self.blocks))
        return frozenset(block_name(folder, block) for folder in FOLDERS for block in blocks)

    def has(self, block: int) -> bool:
        """Whether a block is finished, by any worker."""
        return self.storage.exists(block_name("certificates", block))

    def require_answers(self, answers: str) -> None:
        """Raise Mismatch unless the model's logits on the run's first noise are as at the start.

        Args:
            answers: the logits now, see `known_answers`; earlier runs recorded none.
        """
        stored = self.manifest.origin.get("probe_answers")
        if stored is not None and not agree(stored, answers):
            raise Mismatch(
                f"The model gives different logits than when {self.storage} was started, although "
                "its fingerprint is the same: code, files or settings that it uses were changed, "
                "or this processor computes it differently. Continue with what the run was "
                "started with, or write to a new directory."
            )

    def require_complete(self) -> None:
        """Raise StoreError if blocks are missing."""
        if self.missing:
            raise StoreError(
                f"{self.storage} is unfinished: {len(self.missing)} of {len(self.blocks)} blocks "
                "are missing. Finish it by repeating its command with --resume."
            )

    @cached_property
    def labels(self) -> tuple[int | None, ...]:
        """True classes by position; None where unknown."""
        return tuple(self._inputs["label"].to_pylist())

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """Content hashes by position."""
        return tuple(self._inputs["content"].to_pylist())

    @cached_property
    def _inputs(self) -> pa.Table:
        data = self.read("inputs.parquet")
        try:
            return inputs_of(data, self.identity.indices)
        except UNREADABLE as error:
            where = self.storage.uri_of("inputs.parquet")
            raise Damaged(f"{where} is damaged: {error}. {_RESTORE}") from error

    def write_block(self, block: int, records: Sequence[Record], seconds: float) -> None:
        """Store a block: votes, then its timing, then certificates, which finish it.

        Args:
            block: its number.
            records: of its inputs, in order.
            seconds: the time it took.
        """
        data = table_bytes(votes_table(records, self.identity.method))
        votes = self.write(block_name("votes", block), data)
        evaluations = sum(record.certificate.evaluations for record in records)
        event = {"block": block, "evaluations": evaluations, "seconds": round(seconds, 6)}
        self.write(block_name("events", block), json_bytes(event))
        # They name their votes, since on some devices another worker's votes may differ.
        data = table_bytes(certificates_table(records), {"votes": votes})
        self.write(block_name("certificates", block), data)

    def read_block(self, block: int) -> tuple[Record, ...]:
        """The records of a block, in order.

        Raises:
            Damaged: a file is missing or changed, or votes and certificates do not match.
        """
        votes, certificates = self._files(block)
        found = self._decoded(block, votes_of, votes)
        pairs = zip(self._decoded(block, certificates_of, certificates), found, strict=True)
        return tuple(Record(certificate, of) for certificate, of in pairs)

    def _files(self, block: int) -> tuple[bytes, bytes]:
        """Votes and certificates as they are stored, checked but not decoded."""
        certificates = self.read(block_name("certificates", block))
        votes = self.read(block_name("votes", block))
        if self._decoded(block, votes_named_by, certificates) != digest(votes):
            raise Damaged(
                f"Votes and certificates of block {block} of {self.storage} do not match. {_AGAIN}"
            )
        return votes, certificates

    def read_certificates(self, block: int) -> tuple[Certificate, ...]:
        """The certificates of a block, without reading its votes."""
        return self._decoded(block, certificates_of, self.read(block_name("certificates", block)))

    def _decoded(
        self, block: int, of: Callable[[bytes, Identity, Sequence[int]], _Content], data: bytes
    ) -> _Content:
        """The content of a sealed file; a sealed file with wrong content is by another writer."""
        positions = self.blocks[block]
        try:
            return of(data, self.identity, self.identity.indices[positions.start : positions.stop])
        except UNREADABLE as error:
            raise Damaged(
                f"Block {block} of {self.storage} is not in this format: {error}. {_AGAIN}"
            ) from error

    def drop_damaged(self) -> tuple[int, ...]:
        """Remove the finished blocks that are damaged, so that they are missing; name them.

        Raises:
            StoreError: they cannot be read or removed.
        """
        damaged = []
        for block in self.finished:
            try:
                self._files(block)
            except Damaged:
                damaged.append(block)
                self.storage.remove(block_name("certificates", block))
        for block in range(len(self.blocks)):
            try:
                self.read_event(block)
            except Damaged:
                self.storage.remove(block_name("events", block))
        return tuple(damaged)

    @cached_property
    def certificates(self) -> tuple[Certificate, ...]:
        """All certificates of the finished blocks, in order."""
        return tuple(c for block in self.finished for c in self.read_certificates(block))

    def records(self, positions: Sequence[int]) -> Iterator[Record]:
        """Records at increasing positions, reading each block once."""
        return map(self.stored_records.__getitem__, positions)

    def certification(self) -> Certification:
        """The run as `certify` or `recertify` returned it; records are read on demand.

        Raises:
            StoreError: the run is unfinished or damaged.
        """
        self.require_complete()
        identity = self.identity
        facts = (stated(identity.method), self.model, identity.model, identity.num_classes)
        votes = (identity.shape, self.stored_records, self.pilot_evaluations, ledger.tries(self))
        labels = None if all(label is None for label in self.labels) else self.labels
        return Certification(identity.settings, *facts, *votes, labels)

    @property
    def stored_records(self) -> StoredRecords:
        """All records by position, read on demand."""
        inputs, per_block = len(self.identity.indices), self.identity.block_inputs
        alone = partial(getattr, self, "certificates")  # which can be pickled
        return StoredRecords(inputs, per_block, self.read_block, alone)

    @property
    def pilot_evaluations(self) -> int:
        """Evaluations spent on planning, in addition to those of the certificates."""
        return int(self.manifest.origin.get("pilot_evaluations", 0))

    def read_event(self, block: int) -> dict[str, Any] | None:
        """A block's timing, or None if there is none; Damaged if it was changed."""
        name = block_name("events", block)
        return self.read_json(name) if self.storage.exists(name) else None

    @cached_property
    def block_seconds(self) -> dict[int, float]:
        """Seconds that each finished block took, where known."""
        events = ((block, self.read_event(block)) for block in range(len(self.blocks)))
        try:
            return {b: number(e["seconds"], "seconds", 0, _CENTURY) for b, e in events if e}
        except UNREADABLE as error:
            where = self.storage.uri_of("events")
            raise Damaged(f"A file of {where} is damaged: {error}. {_DELETE}") from error

    @property
    def seconds(self) -> float:
        """Seconds spent sampling, over all blocks."""
        return sum(self.block_seconds.values())
