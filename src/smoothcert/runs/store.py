"""A run directory: run.json, inputs.parquet, and a pair of Parquet files per finished block.

    run.json                      what the run is
    inputs.parquet                index, content hash and (if known) label of every input
    certificates/00000.parquet    a row per input of the block
    votes/00000.parquet           the label of every draw, through `codec`
    events.jsonl                  timings; the only file that differs between equal runs

A block is finished when its certificates are there; its votes were written before them.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from smoothcert.certificate import Certificate, Certification, Record, Votes
from smoothcert.errors import StoreError
from smoothcert.runs import codec
from smoothcert.runs.files import read_table, table_bytes, write_whole
from smoothcert.runs.manifest import Identity, Manifest

_VOTES = tuple(f.name for f in fields(Votes))
_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("content", pa.string()),
        ("method", pa.string()),
        ("candidate", pa.int32()),
        ("outcome", pa.string()),
        ("radius", pa.float64()),
        ("q", pa.float64()),
        ("runner_up", pa.float64()),
        ("k", pa.int64()),
        ("n", pa.int64()),
        ("cached_k", pa.int64()),
        ("cached_n", pa.int64()),
        ("flips", pa.int64()),
        ("zeta", pa.float64()),
        ("losers", pa.int64()),
        ("budget", pa.string()),
        ("evaluations", pa.int64()),
    ]
)
_VOTES_SCHEMA = pa.schema([("index", pa.int64()), *((name, pa.binary()) for name in _VOTES)])


class StoredRecords(Sequence[Record]):
    """A run's records by position, one block of them in memory at a time."""

    def __init__(self, run: "Run") -> None:
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


@dataclass(frozen=True, eq=False)
class Run:
    """A run directory, finished or not."""

    path: Path
    manifest: Manifest

    @staticmethod
    def open(path: Path | str) -> "Run":
        """Open an existing run.

        Raises:
            StoreError: there is none, or its run.json is damaged or of another format.
        """
        path = Path(path)
        try:
            text = (path / "run.json").read_text()
        except FileNotFoundError:
            raise StoreError(f"{path} is no run directory: it has no run.json") from None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{path}/run.json cannot be read: {error}") from error
        return Run(path, Manifest.from_json(text, str(path)))

    @staticmethod
    def create(
        path: Path | str,
        manifest: Manifest,
        contents: Sequence[str],
        labels: Sequence[int] | None,
        extra: Mapping[str, bytes] | None = None,
    ) -> "Run":
        """Start a run in an empty or new directory, with `extra` files by name.

        Raises:
            StoreError: the directory holds something already, or cannot be written.
        """
        path = Path(path)
        require_unused(path)
        table = pa.table(
            {
                "index": pa.array(manifest.identity.indices, pa.int64()),
                "content": pa.array(contents, pa.string()),
                "label": pa.array(labels or [None] * len(contents), pa.int32()),
            }
        )
        aside = path.with_name(f".{path.name}.new")
        try:
            shutil.rmtree(aside, ignore_errors=True)
            for folder in ("certificates", "votes"):
                (aside / folder).mkdir(parents=True)
            write_whole(aside / "inputs.parquet", table_bytes(table))
            for name, data in (extra or {}).items():
                write_whole(aside / name, data)
            write_whole(aside / "run.json", manifest.to_json().encode())
            aside.rename(path)
        except OSError as error:
            raise StoreError(f"Cannot create {path}: {error.strerror}") from error
        return Run(path, manifest)

    @property
    def identity(self) -> Identity:
        """What decides the run's bytes."""
        return self.manifest.identity

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.resolve().name

    @cached_property
    def blocks(self) -> tuple[range, ...]:
        """The positions of the inputs in each block."""
        count, size = len(self.identity.indices), self.identity.block_inputs
        return tuple(range(start, min(start + size, count)) for start in range(0, count, size))

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the blocks that are not finished."""
        done = {path.stem for path in (self.path / "certificates").glob("*.parquet")}
        return tuple(b for b in range(len(self.blocks)) if _stem(b) not in done)

    def require_complete(self) -> None:
        """Raise StoreError if blocks are missing."""
        if self.missing:
            raise StoreError(
                f"{self.path} is unfinished: {len(self.missing)} of {len(self.blocks)} blocks "
                "are missing. Finish it by repeating its command with --resume."
            )

    @cached_property
    def labels(self) -> tuple[int | None, ...]:
        """True classes by position; None where unknown."""
        return tuple(read_table(self.path / "inputs.parquet")["label"].to_pylist())

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """Content hashes by position."""
        return tuple(read_table(self.path / "inputs.parquet")["content"].to_pylist())

    def write_block(self, block: int, records: Sequence[Record], seconds: float) -> None:
        """Store a block: votes, then certificates, then its timing."""
        certificates = [_row(record.certificate) for record in records]
        votes = [
            {"index": record.certificate.index}
            | {name: codec.encode(getattr(record.votes, name)) for name in _VOTES}
            for record in records
        ]
        for folder, rows, schema in (
            ("votes", votes, _VOTES_SCHEMA),
            ("certificates", certificates, _SCHEMA),
        ):
            data = table_bytes(pa.Table.from_pylist(rows, schema))
            write_whole(self.path / folder / f"{_stem(block)}.parquet", data)
        evaluations = sum(record.certificate.evaluations for record in records)
        event = {"block": block, "evaluations": evaluations, "seconds": round(seconds, 6)}
        with (self.path / "events.jsonl").open("a") as file:
            file.write(json.dumps(event) + "\n")

    def read_block(self, block: int) -> tuple[Record, ...]:
        """The records of a block, in order.

        Raises:
            StoreError: a file is missing or damaged, or the two do not belong together.
        """
        certificates = self.read_certificates(block)
        rows = read_table(self.path / "votes" / f"{_stem(block)}.parquet").to_pylist()
        expected = [self.identity.indices[position] for position in self.blocks[block]]
        if not expected == [c.index for c in certificates] == [row.get("index") for row in rows]:
            raise StoreError(
                f"Block {block} of {self.path} does not hold the inputs it should; it was "
                "copied from another run or damaged. Delete it and run again with --resume."
            )
        return tuple(
            Record(certificate, Votes(**{name: codec.decode(row[name]) for name in _VOTES}))
            for certificate, row in zip(certificates, rows, strict=True)
        )

    def read_certificates(self, block: int) -> tuple[Certificate, ...]:
        """The certificates of a block, without reading its votes."""
        path = self.path / "certificates" / f"{_stem(block)}.parquet"
        try:
            return tuple(_certificate(row) for row in read_table(path).to_pylist())
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{path} does not hold certificates of this format ({error!r}). Delete it and "
                "run again with --resume."
            ) from error

    @cached_property
    def certificates(self) -> tuple[Certificate, ...]:
        """All certificates of the finished blocks, in order."""
        done = sorted(set(range(len(self.blocks))) - set(self.missing))
        return tuple(c for block in done for c in self.read_certificates(block))

    def records(self, positions: Sequence[int]) -> Iterator[Record]:
        """Records by increasing position, reading each block once."""
        size, block, held = self.identity.block_inputs, -1, ()
        for position in positions:
            if position // size != block:
                block = position // size
                held = self.read_block(block)
            yield held[position % size]

    def certification(self) -> Certification:
        """The run as `certify` or `recertify` returned it; records are read when asked for.

        Raises:
            StoreError: the run is unfinished or damaged.
        """
        self.require_complete()
        identity = self.identity
        return Certification(
            identity.settings,
            identity.method,
            str(self.manifest.origin.get("model", self.name)),
            identity.model,
            identity.num_classes,
            identity.shape,
            StoredRecords(self),
            self.pilot_evaluations,
        )

    @property
    def pilot_evaluations(self) -> int:
        """Evaluations spent on planning, beside those of the certificates."""
        return int(self.manifest.origin.get("pilot_evaluations", 0))

    @cached_property
    def block_seconds(self) -> dict[int, float]:
        """Seconds that each finished block took, where the event was written."""
        try:
            lines = (self.path / "events.jsonl").read_text().splitlines()
        except OSError:
            return {}
        seconds = {}
        for line in lines:
            try:
                event = json.loads(line)
                seconds[int(event["block"])] = float(event["seconds"])
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off by a crash; timings are not evidence
        return seconds

    @property
    def seconds(self) -> float:
        """Seconds spent sampling, over all blocks."""
        return sum(self.block_seconds.values())


def require_unused(path: Path | str) -> None:
    """Raise StoreError if a new run cannot go there because something is there already."""
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(
            f"{path} already exists and is not empty. Pass --resume to continue a run there, "
            "or choose another --out."
        )


def _stem(block: int) -> str:
    return f"{block:05d}"


def _row(certificate: Certificate) -> dict[str, Any]:
    row = certificate.to_json()
    return row | {"budget": json.dumps(row["budget"])}


def _certificate(row: Mapping[str, Any]) -> Certificate:
    return Certificate.from_json({**row, "budget": json.loads(row["budget"])})
