"""Files that say what images show: classes.txt, metadata.csv, metadata.jsonl, Tiny-ImageNet's."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcert.errors import InvalidInput
from smoothcert.regular import read_regular
from smoothcert.sampling.layouts import some

_MOST_LIST_BYTES = 2**24  # of classes.txt
_MOST_TABLE_BYTES = 2**28

LABELS = ("label", "labels", "fine_label", "target", "class", "y")
"""Columns that are taken to hold true classes, in any table."""

TINY_IMAGENET = "val_annotations.txt"
TABLES = ("metadata.csv", "metadata.jsonl", TINY_IMAGENET)


def text_of(path: Path, most: int) -> str:
    """A text file, in UTF-8 or, if its first bytes say so, UTF-16; else in Latin-1."""
    data = read_regular(path, most, InvalidInput)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in data:
            raise InvalidInput(f"{path} is no text file. Save it as UTF-8.") from None
        return data.decode("latin-1")


def class_list(path: Path) -> tuple[str, ...]:
    """The names in a classes.txt, one a line; empty lines and spaces around do not count.

    Raises:
        InvalidInput: a name is there twice.
        ValueError: there is none.
    """
    lines = text_of(path, _MOST_LIST_BYTES).splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ValueError(f"{path} names no class; write one name a line, or remove it")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InvalidInput(
            f"{path} must name every class folder once, in the order of the classifier's classes; "
            f"it has {len(names)} names, {len(set(names))} of them different ({some(twice)} twice)."
        )
    return names


@dataclass(frozen=True)
class Listed:
    """What a table says of the images beside and below it: file names and labels, row by row."""

    path: Path
    files: tuple[str, ...]
    labels: tuple[int, ...] | tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The classes, if they are named and not numbered."""
        return frozenset(label for label in self.labels if isinstance(label, str))


def listed(folder: Path) -> Listed | None:
    """What a table in a folder says, or None: there is none, or it has no column of labels.

    Raises:
        InvalidInput: there are two, or one that is not such a table.
    """
    there = [folder / name for name in TABLES if (folder / name).is_file()]
    if len(there) > 1 or (folder / "metadata.parquet").is_file():
        found = [path.name for path in there] or ["metadata.parquet"]
        raise InvalidInput(
            f"{folder} has {some(found)}. One metadata.csv or metadata.jsonl is read, with the "
            "columns file_name and label."
        )
    if not there:
        return None
    path = there[0]
    rows = _tiny_rows(path) if path.name == TINY_IMAGENET else _rows(path)
    if not rows:
        raise InvalidInput(f"{path} has no rows. Remove it, or list the images.")
    return _checked(path, rows)


def _tiny_rows(path: Path) -> list[dict[str, Any]]:
    """File and class, and a box that is not needed, with tabs between."""
    lines = [line.split("\t") for line in text_of(path, _MOST_TABLE_BYTES).splitlines() if line]
    if any(len(line) != 6 for line in lines):
        raise InvalidInput(f"{path} is not Tiny-ImageNet's, of six columns. Write a metadata.csv.")
    return [{"file_name": f"images/{line[0]}", "label": line[1]} for line in lines]


def _rows(path: Path) -> list[dict[str, Any]]:
    text = text_of(path, _MOST_TABLE_BYTES)
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (ValueError, csv.Error, RecursionError) as error:
        raise InvalidInput(f"{path} is not a readable table: {error}") from error
    if not all(isinstance(row, dict) and isinstance(row.get("file_name"), str) for row in rows):
        raise InvalidInput(
            f"{path} must have file_name in every row, the image's path from the folder of "
            "the table, with commas between columns."
        )
    return rows


def _checked(path: Path, rows: Sequence[dict[str, Any]]) -> Listed | None:
    column = label_column([name for name in LABELS if any(name in row for row in rows)], path)
    if column is None:
        return None
    if any("split" in row for row in rows):
        raise InvalidInput(f"{path} has a column split. Give each split a folder and a table.")
    files = tuple(row["file_name"].replace("\\", "/").removeprefix("./") for row in rows)
    if outside := [f for f in files if f.startswith("/") or ".." in f.split("/") or "\0" in f]:
        raise InvalidInput(f"{path} names {outside[0]!r}, which is not in its folder.")
    if twice := [file for file, count in Counter(files).items() if count > 1]:
        raise InvalidInput(f"{path} names {some(twice)} twice.")
    return Listed(path, files, _labels([row.get(column) for row in rows], path, column))


def label_column(candidates: Sequence[str], where: Path | str) -> str | None:
    """The only candidate, or None for none; of CIFAR-100's two kinds, the fine one.

    Raises:
        InvalidInput: there are several.
    """
    if set(candidates) == {"fine_label", "coarse_label"}:
        return "fine_label"
    if len(candidates) > 1:
        raise InvalidInput(
            f"{where} has several columns that may hold the classes: {some(candidates)}. Leave one "
            "of them in the file, or rename the others."
        )
    return candidates[0] if candidates else None


def _labels(values: Sequence[Any], path: Path, column: str) -> tuple[int, ...] | tuple[str, ...]:
    """All as whole numbers, or all as names."""
    texts = [value.strip() if isinstance(value, str) else value for value in values]
    if all(isinstance(v, int) and not isinstance(v, bool) for v in texts):
        return tuple(texts)
    if all(isinstance(v, str) and v for v in texts):
        numbers = [_number(v) for v in texts]
        if all(isinstance(n, int) for n in numbers):
            return tuple(numbers)  # pyright: ignore[reportReturnType]
        if not any(n is not None for n in numbers):
            return tuple(texts)
    raise InvalidInput(
        f"{path} must have, in its column {column}, either whole numbers or names, in every row."
    )


def _number(text: str) -> int | float | None:
    """A text as the number that it is, if it is one."""
    try:
        return int(text) if text.removeprefix("-").isdecimal() else float(text)
    except ValueError:
        return None
