"""The contents of a data folder, without system files, and which of them is a split."""

from collections.abc import Iterable, Sequence
from os import scandir
from os.path import exists, isdir
from pathlib import Path

from smoothcert.errors import InvalidInput, did_you_mean

_SYSTEM = frozenset(
    (
        *("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
        *("lost+found", "__pycache__", "#recycle", "#snapshot", "@recycle", "recycler"),
        *("system volume information", "icon\r"),
    )
)
"""What operating systems, file servers and Python leave behind, in lower case."""

_SPLITS = frozenset(
    (
        *("train", "training", "test", "testing", "val", "valid", "validation"),
        *("dev", "eval", "evaluation", "holdout"),
    )
)
"""Folders with these names (in any case) are not classes unless classes.txt says so."""

SHOWN = 5


def is_system(name: str) -> bool:
    """Whether a file or folder is not data: hidden, or put there by a system."""
    return name.startswith(".") or name.lower() in _SYSTEM


def is_split(name: str) -> bool:
    """Whether it is a usual name of a split."""
    return name.lower() in _SPLITS


def children(folder: Path) -> tuple[list[Path], list[Path]]:
    """The subfolders and the files of a folder, each in the order of their names."""
    with scandir(folder) as entries:
        known = [entry for entry in entries if not is_system(entry.name)]
    # Only links are resolved, which may be circular: no stat for each of a million images.
    there = sorted((e.name, isdir(e.path) if e.is_symlink() else e.is_dir()) for e in known)
    folders = [folder / name for name, is_folder in there if is_folder]
    return folders, [folder / name for name, is_folder in there if not is_folder]


def require_links(folder: Path) -> None:
    """Raise InvalidInput if a link in a folder is broken: its target may be a class."""
    with scandir(folder) as entries:
        links = [e.path for e in entries if e.is_symlink() and not is_system(e.name)]
    if broken := sorted(path for path in links if not exists(path)):
        raise InvalidInput(f"{broken[0]} is a broken link. Restore its target, or remove it.")


def named(split: str, names: Iterable[str]) -> str | None:
    """The name that is the split, in another case if it does not exist as written.

    Raises:
        InvalidInput: it exists in two other cases.
    """
    names = tuple(names)
    if split in names:
        return split
    near = [name for name in names if name.lower() == split.lower()]
    if len(near) > 1:
        raise InvalidInput(
            f"The split {split!r} may be {' or '.join(map(repr, near))}. Give one of them."
        )
    return near[0] if near else None


def no_split(split: str, where: Path | str, names: Sequence[str]) -> InvalidInput:
    """The error about a missing split, with the existing ones."""
    near = did_you_mean(split, names)
    return InvalidInput(
        f"{where} has no split {split!r}{near or '.'} It has {some(names)}: give --split "
        f"{names[0] if len(names) == 1 else 'NAME'}."
    )


def some(names: Iterable[object]) -> str:
    """The first of them, with commas, and the number of the rest."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
