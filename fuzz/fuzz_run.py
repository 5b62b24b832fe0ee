"""The run reader: whatever a run directory holds, it works or raises an error of the package.

Every file is sealed again after it was mutated, as a stranger who wants to deceive would do, so
that the fuzzer gets behind the checksums. run.json is mutated as JSON too, and tables as tables
whose Parquet is sound; else hardly any execution would get past the parser.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
from pyarrow import parquet
from seeds import Choices, runs

from smoothcert.certificate import Certificate
from smoothcert.errors import SmoothcertError
from smoothcert.report import tables
from smoothcert.runs import ledger, manifest, pilots, plan_file, sealed, store, validation, verify
from smoothcert.runs import tables as blocks
from smoothcert.runs import vote_codec as codec
from smoothcert.runs.store import Run
from smoothcert.storage import local as folder

_JSON = (0, -1, 1, 2, 10**12, 2**63, 10**30, True, None, "", "x", "../../x", [], {}, [1], 0.5, -0.1)
_JSON = (*_JSON, float("nan"), float("inf"), {"kind": "irs"}, "sequential", "uniform:-1", [[]] * 3)
_CELLS = (0, 1, -1, 2**31 - 1, 2**40, 2**63 - 1, float("nan"), float("inf"), -1.0, 0.5, 1e300, None)
_TEXTS = (
    "",
    "rs",
    "irs",
    "joint",
    "CERTIFIED",
    "{}",
    "[]",
    '{"a": "b"}',
    "[" * 2000,
    "=1+1",
    "0" * 16,
)

_PARQUET, _VERIFY = 248, 254
"""First bytes from which an execution goes over the disk, and verifies the whole run."""

_RARE = 16
"""One of so many of them does, since they are ten times as slow and would crowd out the rest."""


@cache
def _original() -> dict[tuple[int, str], bytes]:
    """Every file of the two runs, by run and name."""
    return {
        (number, path.relative_to(run.path).as_posix()): path.read_bytes()
        for number, run in enumerate(runs())
        for path in sorted(run.path.rglob("*"))
        if path.is_file() and "ledger" not in path.parts
    }


def seeds() -> list[bytes]:
    """A first mutation of each kind."""
    files_ = range(len(_original()))
    quick = [bytes([kind, 0, file, 0, 1, 0]) for kind in range(3) for file in files_]
    return [*quick, *(bytes([kind, 0, 0, 0, 1, 0]) for kind in (_PARQUET, _VERIFY))]


def target(data: bytes) -> None:
    """First byte: run.json, certificates or votes as they are when read; rarely, a file on disk."""
    choices, kind = Choices(data[1:]), data[0] if data else 0
    if kind >= _PARQUET and crc32(data) % _RARE:
        kind %= 3
    if kind < _PARQUET and kind % 3 == 0:
        _manifest(choices)
    elif kind < _PARQUET and kind % 3 == 1:
        _table(choices, "certificates/00000.parquet", blocks.certificates_in)
    elif kind < _PARQUET and kind % 3 == 2:
        _table(choices, "votes/00000.parquet", blocks.votes_in)
    else:
        _file(choices, kind)


def _manifest(choices: Choices) -> None:
    """run.json, sealed and parsed; a good one is the same when written and read again."""
    body = json.loads(_original()[choices.below(2), manifest.NAME])
    for _ in range(1 + choices.below(3)):
        _change(body, choices)
    body["seal"] = sealed.BLANK
    try:
        found = manifest.Manifest.from_bytes(
            sealed.seal(json.dumps(body).encode(), "run.json"), "x"
        )
    except SmoothcertError:
        return
    assert manifest.Manifest.from_bytes(found.to_bytes(), "again") == found
    assert found.identity.hash
    assert found.identity.settings.noise.slack(found.identity.shape) >= 0


def _table(choices: Choices, name: str, read: Callable[..., Any]) -> None:
    """Rows of a sound table, changed; what comes through is what certificates are made of."""
    run = runs()[choices.below(2)]
    table = _tables()[run.path, name]
    changed = _mutated(table, choices)
    if changed is None:
        return
    try:
        found = read(changed, run.identity, run.identity.indices[:2])
    except (SmoothcertError, *validation.UNREADABLE):
        return  # what Run turns into Damaged
    for thing in found:
        if isinstance(thing, Certificate):
            assert thing.explain(0.5)
            assert 0 <= thing.alpha <= 4
            assert tables.floor_to(thing.radius, 4)


def _file(choices: Choices, kind: int) -> None:
    """A file of a run on disk: its bytes edited, or its content, read as everything reads it."""
    (number, name), whole = list(_original().items())[choices.below(len(_original()))]
    run = runs()[number]
    edited = kind < _VERIFY or choices.below(2) == 0
    mutated = choices.edited(whole) if edited else _content(name, whole, choices)
    if mutated is None:
        return
    sealed_as = name if name == manifest.NAME else f"{run.identity.hash}/{name}"
    path = run.path / name
    try:
        marked = b"smoothcert-sha256:" in mutated
        path.write_bytes(sealed.seal(mutated, sealed_as) if marked else mutated)
        _use(run.path, name, number, kind >= _VERIFY)
    except SmoothcertError:
        return
    finally:
        path.write_bytes(whole)


def _content(name: str, whole: bytes, choices: Choices) -> bytes | None:
    if name.endswith(".json"):
        body = json.loads(whole)
        for _ in range(1 + choices.below(3)):
            _change(body, choices)
        return json.dumps(body).encode()
    file = parquet.ParquetFile(pa.BufferReader(whole))
    table = _mutated(file.read(use_threads=False), choices)
    notes = {k.decode(): v.decode() for k, v in file.metadata.metadata.items() if k == b"votes"}
    return None if table is None else sealed.table_bytes(table, notes)


@cache
def _tables() -> dict[tuple[Path, str], pa.Table]:
    """The first block of both runs."""
    names = ("certificates/00000.parquet", "votes/00000.parquet")
    return {(r.path, n): parquet.ParquetFile(r.path / n).read() for r in runs() for n in names}


def _mutated(table: pa.Table, choices: Choices) -> pa.Table | None:
    for _ in range(1 + choices.below(4)):
        row, number = choices.below(len(table)), choices.below(len(table.schema))
        field, values = table.schema[number], table.column(number).to_pylist()
        if pa.types.is_binary(field.type):
            values[row] = _blob(values[row] or b"", choices)
        elif pa.types.is_string(field.type):
            values[row] = _TEXTS[choices.below(len(_TEXTS))]
        else:
            values[row] = _CELLS[choices.below(len(_CELLS))]
        try:
            column = pa.array(values, field.type)
        except (pa.ArrowException, OverflowError, TypeError):
            return None  # a value that its column cannot hold
        table = table.set_column(number, field, column)
    return table


def _blob(blob: bytes, choices: Choices) -> bytes:
    """Labels that differ from the stored ones, or bytes that are none."""
    if choices.below(4) == 0:
        return choices.edited(blob)
    try:
        labels = codec.decode(blob).copy()
    except SmoothcertError:  # changed before
        return blob
    labels = labels[: choices.below(len(labels) + 1)] if choices.below(4) == 0 else labels
    for _ in range(choices.below(4)):
        if len(labels):
            labels[choices.below(len(labels))] = (-1, 0, 1, 2, 255, 2**31 - 1)[choices.below(6)]
    return codec.encode(labels)


def _change(node: Any, choices: Choices) -> None:
    """Replace, remove or add something somewhere in a JSON tree."""
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not keys:
        return
    key = keys[choices.below(len(keys))]
    if isinstance(node[key], dict | list) and node[key] and choices.below(4):
        _change(node[key], choices)
    elif key == "seal":
        return
    elif choices.below(6) == 0:
        del node[key]
    else:
        node[key] = deepcopy(_JSON[choices.below(len(_JSON))])


def _use(path: Path, name: str, number: int, check: bool) -> None:
    """Read what there is to read of a run that has this file."""
    run = Run.open(path)
    if check:
        for problem in verify.verify(run, runs()[0] if number else None).problems:
            assert isinstance(problem, str)
        return
    if name == manifest.NAME:
        assert (
            manifest.Manifest.from_bytes(run.manifest.to_bytes(), "again").identity == run.identity
        )
        assert run.attached.keys() >= set()
        assert len(run.identity.indices) >= len(run.blocks) > 0
    elif name == "inputs.parquet":
        assert len(run.contents) == len(run.labels) == len(run.identity.indices)
    elif name == plan_file.NAME:
        assert all(share.evaluations >= 0 for share in plan_file.read_plan(run))
    elif name == pilots.NAME:
        assert pilots.read_pilot(run).votes.evaluations >= 0
    elif name.startswith("events"):
        assert run.seconds >= 0
    elif name.startswith("certificates"):
        for certificate in run.read_certificates(int(Path(name).stem)):
            assert isinstance(certificate, Certificate)
            assert certificate.explain(0.5)
            assert certificate.alpha >= 0
    else:
        run.read_block(int(Path(name).stem))
    assert ledger.tries(run).models >= 0


if __name__ == "__main__":
    import driver

    runs()
    watched = [blocks, codec, folder, ledger, manifest, plan_file, sealed, store, validation]
    driver.main(target, seeds(), [*watched, verify])
