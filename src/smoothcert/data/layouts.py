"""What lies in a folder of data, without what systems put there, and which of it is a split."""

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
"""Folders of such names are no classes, whatever their case, unless classes.txt says so."""

SHOWN = 5


def is_system(name: str) -> bool:
    """Whether a file or folder is none of the data: hidden, or put there by a system."""
    return name.startswith(".") or name.lower() in _SYSTEM


def is_split(name: str) -> bool:
    """Whether data sets name a split so."""
    return name.lower() in _SPLITS


def children(folder: Path) -> tuple[list[Path], list[Path]]:
    """The subfolders and the files of a folder, each in the order of their names."""
    with scandir(folder) as entries:
        known = [entry for entry in entries if not is_system(entry.name)]
    # Only links are followed, which may lead in circles: no stat for each of a million pictures.
    there = sorted((e.name, isdir(e.path) if e.is_symlink() else e.is_dir()) for e in known)
    folders = [folder / name for name, is_folder in there if is_folder]
    return folders, [folder / name for name, is_folder in there if not is_folder]


def require_links(folder: Path) -> None:
    """Raise InvalidInput if a link in a folder leads nowhere: what is missing may be a class."""
    with scandir(folder) as entries:
        links = [e.path for e in entries if e.is_symlink() and not is_system(e.name)]
    if broken := sorted(path for path in links if not exists(path)):
        raise InvalidInput(
            f"{broken[0]} is a link to what is not there. Restore what it leads to, or remove it."
        )


def named(split: str, names: Iterable[str]) -> str | None:
    """The one of the names that is the split, in another case if it is not there as written.

    Raises:
        InvalidInput: it is there in two other cases.
    """
    names = tuple(names)
    if split in names:
        return split
    near = [name for name in names if name.lower() == split.lower()]
    if len(near) > 1:
        raise InvalidInput(f"The split {split!r} may be {' or '.join(map(repr, near))}: say which.")
    return near[0] if near else None


def no_split(split: str, where: Path | str, names: Sequence[str]) -> InvalidInput:
    """The error about a split that is not there, with those that are."""
    near = did_you_mean(split, names)
    return InvalidInput(
        f"{where} has no split {split!r}{near or '.'} It has {some(names)}: give --split "
        f"{names[0] if len(names) == 1 else 'NAME'}."
    )


def some(names: Iterable[object]) -> str:
    """The first of them, with commas, and how many more there are."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
