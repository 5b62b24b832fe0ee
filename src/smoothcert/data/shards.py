"""Parquet files in a folder: which of them make up a split."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothcert.data.images import is_image
from smoothcert.data.layouts import children, named, no_split, some
from smoothcert.errors import InvalidInput

PARQUET = (".parquet", ".parq", ".pq")
_MOST_FOLDERS = 64  # subfolders to look through: more are classes
_DEPTH = 2  # configuration/split/0000.parquet

_OF = re.compile(r"(?P<split>.+?)-(?P<number>\d+)-of-(?P<count>\d+)(-[0-9a-f]+)?")
_UNNAMED = re.compile(r"(part-)?(?P<number>\d+)([-.].*)?")
_COUNTED = re.compile(r"(?P<split>.+?)[-_.](?P<number>\d+)")


@dataclass(frozen=True)
class _Shard:
    """A file, and what its name says: folder, split, part and number of parts.

    `number` is None for a whole split, `count` for parts that do not state their total.
    """

    path: Path
    folder: str
    split: str
    number: int | None = None
    count: int | None = None


def split_files(path: Path, split: str) -> list[Path] | None:
    """The Parquet files of a split, in order; None if the folder holds none at all.

    Splits go by whole names: `test.parquet`, `test-00000-of-00002.parquet`, `test_0.parquet`,
    `test/0000.parquet`, also in a folder for each configuration, or in `data`.

    Raises:
        InvalidInput: there are only others, several match, or parts are missing.
    """
    shards = [_shard(file, path) for file in _files(path, _DEPTH)]
    if not shards:
        return None
    shards = [_whole_name(shard, shards) for shard in shards]
    names = sorted({shard.split for shard in shards})
    wanted = "" if names == [""] else named(split, names)
    if wanted is None:
        if (path / split).is_dir() and not any(s.path.is_relative_to(path / split) for s in shards):
            return None
        raise no_split(split, path, [name for name in names if name])
    mine = [shard for shard in shards if shard.split == wanted]
    if len(groups := sorted({shard.folder for shard in mine})) > 1:
        raise InvalidInput(
            f"{path} has the split {wanted!r} in {some(g or '.' for g in groups)}. Give one of "
            "these folders, or a file, as --data."
        )
    return _complete(path, wanted, mine)


def _files(folder: Path, depth: int) -> list[Path]:
    """Parquet files in a folder and its subfolders, except those of images or classes."""
    folders, files = children(folder)
    found = [f for f in files if f.suffix.lower() in PARQUET and f.stem != "metadata"]
    if not found and any(is_image(file.name) for file in files):
        return []
    below = folders if depth and len(folders) <= _MOST_FOLDERS else []
    return found + [file for child in below for file in _files(child, depth - 1)]


def _shard(file: Path, root: Path) -> _Shard:
    """A file's place, by its name or, if that is a number, by its folder's name."""
    folders = file.relative_to(root).parts[:-1]
    stem = file.name[: -len(file.suffix)]
    if match := _OF.fullmatch(stem):
        parts = int(match["number"]), int(match["count"])
        return _Shard(file, "/".join(folders), match["split"], *parts)
    if match := _UNNAMED.fullmatch(stem):
        split = folders[-1] if folders else ""
        return _Shard(file, "/".join(folders[:-1]), split, int(match["number"]))
    return _Shard(file, "/".join(folders), stem)


def _whole_name(shard: _Shard, shards: Sequence[_Shard]) -> _Shard:
    """test_0 is a part of test if there are parts from 0 or 1 and no test; else it is whole."""
    match = _COUNTED.fullmatch(shard.split) if shard.number is None else None
    if not match:
        return shard
    alike = [_COUNTED.fullmatch(s.split) for s in shards if s.folder == shard.folder]
    numbers = sorted(int(m["number"]) for m in alike if m and m["split"] == match["split"])
    taken = any(s.split == match["split"] for s in shards)
    if taken or numbers not in ([*range(len(numbers))], [*range(1, len(numbers) + 1)]):
        return shard
    return _Shard(shard.path, shard.folder, match["split"], int(match["number"]))


def _complete(path: Path, split: str, shards: Sequence[_Shard]) -> list[Path]:
    """The files in the order of their parts, if every part exists exactly once."""
    ordered = sorted(shards, key=lambda shard: (shard.number or 0, shard.path.name))
    numbers = [-1 if shard.number is None else shard.number for shard in ordered]
    counts = {shard.count for shard in ordered}
    whole = [[-1], [*range(len(numbers))]]
    if counts == {None}:
        whole.append([*range(1, len(numbers) + 1)])
    if len(counts) > 1 or numbers not in whole or counts.isdisjoint({None, len(numbers)}):
        raise InvalidInput(
            f"{path} has {some(s.path.name for s in ordered)} of the split {split!r}, which is "
            "not every part exactly once. Complete the parts, or give one file as --data."
        )
    return [shard.path for shard in ordered]
