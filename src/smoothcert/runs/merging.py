"""Merge parts of one run that were computed in different places: a check and a copy."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.runs import ledger, manifest, pilots, plan_file
from smoothcert.runs.store import Run
from smoothcert.runs.tables import FOLDERS, block_name
from smoothcert.runs.verify import check_attached
from smoothcert.storage.base import MOST_BYTES, Storage
from smoothcert.storage.opening import open_storage


def merge(parts: Sequence[Run], directory: Storage | Path | str) -> Run:
    """Copy the finished blocks of several directories of one run into a new one.

    Every file is checked before the new directory appears. Blocks that no part has stay missing;
    the run's command with --resume computes them.

    Args:
        parts: directories of the same run, such as its shards from different machines.
        directory: a new or empty directory, as for `Run.open`.

    Raises:
        InvalidInput: there are no parts.
        Mismatch: they are of different runs, or differ in a block, a plan or an attached file.
        Damaged: a file of a part has changed since it was written.
        StoreError: the directory is in use or cannot be written.
    """
    storage = open_storage(directory)
    storage.require_unused(resumes=False)
    if not parts:
        raise InvalidInput("There is nothing to merge: give at least one run directory.")
    for part in parts:
        parts[0].identity.require(part.identity, str(parts[0].storage))
    storage.create(_files(parts))
    return Run(storage, parts[0].manifest)


def _files(parts: Sequence[Run]) -> Iterator[tuple[str, bytes]]:
    """Names and checked contents of what the merged run holds, run.json last."""
    first = parts[0]
    for part in parts[1:]:
        if "probe_answers" in part.manifest.origin:
            first.require_answers(part.manifest.origin["probe_answers"])
    _require_equal("inputs.parquet", [(p.storage, (p.contents, p.labels)) for p in parts])
    yield "inputs.parquet", first.read("inputs.parquet")
    if first.identity.method.has_plan:
        _require_equal(plan_file.NAME, [(p.storage, plan_file.read_plan(p)) for p in parts])
        yield plan_file.NAME, first.read(plan_file.NAME)
    if pilots.keeps_pilot(first):
        _require_equal(pilots.NAME, [(p.storage, p.read(pilots.NAME)) for p in parts])
        yield pilots.NAME, first.read(pilots.NAME)
    _require_equal("an attached file", [(p.storage, p.attached) for p in parts])
    check_attached(first)
    for name in first.attached:
        yield name, first.storage.read(name, MOST_BYTES)
    for block in range(len(first.blocks)):
        having = [part for part in parts if part.has(block)]
        _require_equal(f"block {block}", [(p.storage, p.read_block(block)) for p in having])
        for folder in FOLDERS if having else ():
            name = block_name(folder, block)
            if folder != "events" or having[0].read_event(block):
                yield name, having[0].read(name)
    # By name, as copied parts share entries.
    kept = ((part, (*ledger.names(part), *pilots.shown(part))) for part in parts)
    yield from {name: part.read(name) for part, names in kept for name in names}.items()
    yield manifest.NAME, first.storage.read(manifest.NAME, MOST_BYTES)


def _require_equal(what: str, found: Sequence[tuple[Storage, object]]) -> None:
    for path, content in found[1:]:
        if content != found[0][1]:
            raise Mismatch(
                f"{found[0][0]} and {path} are of one run, but differ in {what}: their devices "
                "compute differently, or one was tampered with. Verify both with --replay, and "
                "merge without the wrong one."
            )
