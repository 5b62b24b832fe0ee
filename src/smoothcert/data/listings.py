"""Files that say what images show: classes.txt, metadata.csv, metadata.jsonl, Tiny-ImageNet's."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from smoothcert.data.inputs import whole_numbers
from smoothcert.data.layouts import children, some
from smoothcert.errors import InvalidInput
from smoothcert.files import read_regular

MOST_LIST_BYTES = 2**24  # of classes.txt
MOST_TABLE_BYTES = 2**28

_NO_TEXT = re.compile("[\0\x80-\x84\x86-\x9f]")  # from UTF-16, Shift-JIS, Windows-1252 misread
_INTEGER = re.compile(r"-?\d+(\.0*)?")

LABELS = ("label", "labels", "fine_label", "target", "class", "y")
"""Columns that are read as true classes, in any table."""

TINY_IMAGENET = "val_annotations.txt"
_UNREAD = "metadata.parquet"
TABLES = ("metadata.csv", "metadata.jsonl", TINY_IMAGENET)


def text_of(path: Path, most: int, older: bool = False) -> str:
    """A text file, in UTF-8 or, if its first bytes say so, UTF-16.

    Args:
        path: the file.
        most: its maximum size in bytes.
        older: whether to read Latin-1 too. Any bytes are valid Latin-1, so only if the text is
            compared with known names.
    """
    data = read_regular(path, most, InvalidInput)
    try:
        marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1") if older else "\0"
    if _NO_TEXT.search(text):
        raise InvalidInput(f"{path} is not a text file in UTF-8. Save it as UTF-8.")
    return text


def class_list(path: Path) -> tuple[str, ...]:
    """The names in a classes.txt, one per line; empty lines and outer spaces are ignored.

    Raises:
        InvalidInput: a name is repeated.
        ValueError: there are no names.
    """
    lines = text_of(path, MOST_LIST_BYTES, older=True).splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ValueError(f"{path} names no class; write one name per line, or remove it")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InvalidInput(
            f"{path} must name every class folder once, in the order of the classifier's classes; "
            f"it has {len(names)} names, {len(set(names))} of them different ({some(twice)} twice)."
        )
    return names


@dataclass(frozen=True)
class Listed:
    """What a table says about the images in its folder and below: names and labels, row by row."""

    path: Path
    files: tuple[str, ...]
    labels: tuple[int, ...] | tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The classes, if they have names instead of numbers."""
        return frozenset(label for label in self.labels if isinstance(label, str))


def listed(folder: Path) -> Listed | None:
    """What a table in a folder says; None if there is none, or it has no column of labels.

    Raises:
        InvalidInput: there are two tables, or one of another form.
    """
    there = [path for path in children(folder)[1] if path.name.lower() in (*TABLES, _UNREAD)]
    if len(there) > 1 or any(path.name.lower() == _UNREAD for path in there):
        raise InvalidInput(
            f"{folder} has {some(path.name for path in there)}. Keep one metadata.csv or "
            "metadata.jsonl, with the columns file_name and label."
        )
    if not there:
        return None
    path = there[0]
    rows = _tiny_rows(path) if path.name.lower() == TINY_IMAGENET else _rows(path)
    if not rows:
        raise InvalidInput(f"{path} has no rows. Remove it, or list the images.")
    return _checked(path, rows)


def _tiny_rows(path: Path) -> list[dict[str, Any]]:
    """File, class, and a box that is not needed, separated by tabs."""
    lines = [line.split("\t") for line in text_of(path, MOST_TABLE_BYTES).splitlines() if line]
    if any(len(line) != 6 for line in lines):
        raise InvalidInput(
            f"{path} does not have Tiny-ImageNet's six columns. Write a metadata.csv instead."
        )
    return [{"file_name": f"images/{line[0]}", "label": line[1]} for line in lines]


def _rows(path: Path) -> list[dict[str, Any]]:
    text = text_of(path, MOST_TABLE_BYTES)
    try:
        if path.suffix.lower() == ".jsonl":
            lines = [line for line in text.split("\n") if line.strip()]
            rows = [json.loads(line, object_pairs_hook=partial(_row, path)) for line in lines]
        else:
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            reader.fieldnames = _columns(reader.fieldnames or (), path)
            rows = list(reader)
    except InvalidInput:
        raise
    except (ValueError, csv.Error, RecursionError) as error:
        raise InvalidInput(f"{path} is not a readable table: {error}") from error
    if long := [number for number, row in enumerate(rows) if isinstance(row, dict) and None in row]:
        raise InvalidInput(
            f"{path} has more values than columns in row {long[0] + 1}. Put values that have "
            "commas in quotes."
        )
    if not all(isinstance(row, dict) and isinstance(row.get("file_name"), str) for row in rows):
        raise InvalidInput(
            f"{path} must have file_name in every row, the image's path relative to the table's "
            "folder, with commas between columns."
        )
    return rows


def _row(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A row of JSON, by its columns."""
    names = _columns([name for name, _ in pairs], path)
    return dict(zip(names, (value for _, value in pairs), strict=True))


def _columns(names: Sequence[str], path: Path) -> list[str]:
    """The columns; those that are read have lower-case names without outer spaces."""
    plain = {name: name.strip().lower() for name in names}
    known = [p if (p := plain[name]) in ("file_name", "split", *LABELS) else name for name in names]
    if twice := [name for name, count in Counter(known).items() if name and count > 1]:
        raise InvalidInput(f"{path} has the column {twice[0]} twice. Keep one of them.")
    return known


def _checked(path: Path, rows: Sequence[dict[str, Any]]) -> Listed | None:
    column = label_column([name for name in LABELS if any(name in row for row in rows)], path)
    if column is None:
        return None
    if any("split" in row for row in rows):
        raise InvalidInput(f"{path} has a column split. Give each split its own folder and table.")
    files = tuple(row["file_name"].replace("\\", "/").removeprefix("./") for row in rows)
    if outside := [f for f in files if f.startswith("/") or ".." in f.split("/") or "\0" in f]:
        raise InvalidInput(
            f"{path} names {outside[0]!r}, which is not in its folder. Move the image there, or "
            "remove the row."
        )
    if twice := [file for file, count in Counter(files).items() if count > 1]:
        raise InvalidInput(f"{path} names {some(twice)} twice. Remove the repeated rows.")
    return Listed(path, files, label_values([row.get(column) for row in rows], path, column))


def label_column(candidates: Sequence[str], where: Path | str) -> str | None:
    """The only candidate, or None if there is none; of CIFAR-100's two kinds, the fine one.

    Raises:
        InvalidInput: there are several candidates.
    """
    if set(candidates) == {"fine_label", "coarse_label"}:
        return "fine_label"
    if len(candidates) > 1:
        raise InvalidInput(
            f"{where} has several columns that may hold the classes: {some(candidates)}. Keep one "
            "of them in the file, or rename the others."
        )
    return candidates[0] if candidates else None


def label_values(
    values: Sequence[Any], path: Path, column: str
) -> tuple[int, ...] | tuple[str, ...]:
    """Labels, all as whole numbers or all as names.

    Raises:
        InvalidInput: some are neither, or are missing.
    """
    texts = [value.strip() if isinstance(value, str) else value for value in values]
    if all(isinstance(v, str) and v for v in texts):
        texts = [_number(v) for v in texts]
    if all(isinstance(v, str) and v for v in texts):
        return tuple(map(str, texts))
    if (numbers := whole_numbers(texts)) is not None:
        return tuple(numbers)
    raise InvalidInput(
        f"{path} must have either whole numbers or names in every row of its column {column}."
    )


def _number(text: str) -> int | float | str:
    """A text as a number, if it is one."""
    if _INTEGER.fullmatch(text):
        return int(text.partition(".")[0])
    try:
        float(text)
    except ValueError:
        return text
    return float("nan")  # not the number of a class
