"""Folders of images: a layout that is certain is read, and any other is refused."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath

from smoothcert.data import classes as orders
from smoothcert.data.classes import AS_LISTED
from smoothcert.data.images import IMAGE_FILES, OTHER_IMAGES, is_image
from smoothcert.data.inputs import known_labels, require_named
from smoothcert.data.layouts import (
    children,
    is_split,
    is_system,
    named,
    no_split,
    require_links,
    some,
)
from smoothcert.data.listings import LABELS, Listed, class_list, listed
from smoothcert.data.pictures import Pictures
from smoothcert.errors import InvalidInput

_NO_CLASSES = frozenset(
    (
        *("images", "image", "imgs", "img", "jpegimages", "pictures"),
        *("masks", "labels", "annotations"),
    )
)
"""Names of sibling folders that say what is in them, not what the images show."""

_MOST_LOOKED_AT = 1000  # folders to look at for a hint


@dataclass(frozen=True)
class _Place:
    """The place of a split: its folder, the requested folder, and the other splits."""

    root: Path
    asked: Path
    others: tuple[Path, ...]

    @property
    def above(self) -> tuple[Path, ...]:
        """The folder, and the parents that describe it: all splits have one order."""
        here = self.root.absolute()
        whole = (here.parent,) if self.root == self.asked and is_split(here.name) else ()
        return tuple(dict.fromkeys((self.root, self.asked, *whole)))

    @cached_property
    def class_list(self) -> Path | None:
        """The classes.txt that applies here, if there is one."""
        return orders.listing((*self.above, *self.others))


def pictures(path: Path, split: str) -> Pictures:
    """The images of a folder.

    Labels come from a metadata.csv or metadata.jsonl (Hugging Face's imagefolder: file_name and
    label), from Tiny-ImageNet's val_annotations.txt, or from a subfolder per class.

    Raises:
        InvalidInput: no images, or a layout in which it is not certain what the classes are.
    """
    place = _place(path, split)
    table, base = listed(place.root), place.root
    if table is None and path != place.root:
        table, base = listed(path), path
    return _by_table(place, table, base) if table else _by_folders(place)


def _place(path: Path, split: str) -> _Place:
    folders, _ = children(path)
    listing = orders.listing([path])
    classes = set(class_list(listing)) if listing else set[str]()
    names = [folder.name for folder in folders if folder.name not in classes]
    splits = [name for name in names if is_split(name)]
    found = named(split, names)
    if found is None and splits:
        error = no_split(split, path, splits)
        if len(splits) < len(folders):
            error = InvalidInput(f"{error} Or, if these are classes, {AS_LISTED}.")
        raise error
    if found is None:
        here = path.absolute()
        beside = children(here.parent)[0] if is_split(here.name) else []
        others = [o for o in beside if is_split(o.name) and o.name != here.name]
        return _Place(path, path, tuple(others))
    _require_no_class(path / found, [path / name for name in names if name not in splits])
    others = [path / name for name in splits if name != found]
    return _Place(path / found, path, tuple(others))


def _require_no_class(root: Path, beside: Sequence[Path]) -> None:
    """Refuse a split that looks like the class folders next to it."""
    if not is_split(root.name):
        return  # it was asked for explicitly
    like = [o.name for o in beside if o != root and _images(children(o)[1])]
    if like and _images(children(root)[1]):
        raise InvalidInput(
            f"{root} may be a split or a class: {some(like)} next to it also hold images. Give "
            f"the folder itself if it is the data, or {AS_LISTED}."
        )


def _images(files: Iterable[Path]) -> list[Path]:
    """Those of the files that are images.

    Raises:
        InvalidInput: some are images of a kind that is not read.
    """
    files = list(files)
    found = [file for file in files if is_image(file.name)]
    other = [file.name for file in files if file.suffix.lower() in OTHER_IMAGES]
    if other:
        raise InvalidInput(
            f"{files[0].parent} holds {some(other)}, of a kind that is not read. Save images as "
            ".png, arrays as one .npz, or remove them from the folder."
        )
    return found


def _empty(place: _Place) -> InvalidInput:
    walk = islice(os.walk(place.root), _MOST_LOOKED_AT)
    deep = (Path(there) for there, _, files in walk if any(map(is_image, files)))
    hint = ""
    if place.others and place.root != place.asked:
        hint = f" {place.asked} also has {some(o.name for o in place.others)}: give --split."
    elif found := next(deep, None):
        hint = f" There are images deeper, such as {found}: give --data {found.parent}."
    elif names := [file.name for file in children(place.root)[1]]:
        hint = f" It holds {some(names)}, which are not read."
    return InvalidInput(
        f"The folder {place.root} is empty: no images ({', '.join(sorted(IMAGE_FILES))}), neither "
        f"directly nor in one subfolder per class.{hint}"
    )


def _by_folders(place: _Place) -> Pictures:
    root = place.root
    require_links(root)
    folders, files = children(root)
    direct = _images(files)
    inside = {folder.name: _of_class(folder, root) for folder in folders}
    if not direct and not any(inside.values()):
        raise _empty(place)
    if not any(inside.values()):
        return _found(place, [(file, None) for file in direct], (), _unread_tables(files))
    if direct:
        raise InvalidInput(
            f"{root} has images ({some(f.name for f in direct)}) next to folders of images "
            f"({some(n for n in inside if inside[n])}). Give each class a folder, or list all "
            "images in a metadata.csv with the columns file_name and label."
        )
    classes, note = _class_order(place, inside)
    rows = [(file, label) for label, name in enumerate(classes) for file in inside.get(name, ())]
    return _found(place, rows, classes, note)


def _of_class(folder: Path, root: Path) -> list[Path]:
    """The images of a class, none of them deeper."""
    require_links(folder)
    deeper, files = children(folder)
    for below in deeper:
        if any(is_image(file.name) for file in children(below)[1]):
            raise InvalidInput(
                f"{root} has images in folders of folders, as in {below.relative_to(root)}. "
                f"Images must be in {root} or one folder below: if {folder.name} is a split or a "
                f"data set, give --split {folder.name} or --data {folder}; else move the images up."
            )
    return _images(files)


def _unread_tables(files: Iterable[Path]) -> str:
    """A note on files that may contain labels and are not read."""
    names = [f.name for f in files if f.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json")]
    return (
        f"Not read: {some(names)} (labels are read from metadata.csv or .jsonl, columns file_name "
        f"and {', '.join(LABELS[:-1])} or {LABELS[-1]})."
        if names
        else ""
    )


def _class_order(place: _Place, inside: dict[str, list[Path]]) -> tuple[tuple[str, ...], str]:
    """The names of the classes, as the folders are named, and how they were ordered."""
    if place.class_list:
        named_here = [name for name in inside if inside[name]]
        orders.require_distinct(place.root, named_here, listed=True)
        return orders.as_listed(place.class_list, named_here)
    if none := [name for name in inside if not inside[name]]:
        raise InvalidInput(
            f"{place.root} has folders without images: {some(none)}. Remove them if they are not "
            f"classes, or {AS_LISTED}."
        )
    if odd := [name for name in inside if name.lower() in _NO_CLASSES]:
        raise InvalidInput(
            f"{place.root} has a folder {odd[0]}, which is probably not a class. Give "
            f"--data {place.root / odd[0]} for images without labels, or {AS_LISTED}."
        )
    return _ordered(place, frozenset(inside))


def _ordered(place: _Place, names: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Sorted, with those that only another split has."""
    known = {other.name: _names_of(other) for other in place.others}
    wider = {other: there for other, there in known.items() if there > names}
    known_all = max(wider.values(), key=len, default=names)
    for other, there in known.items():
        train = other.lower().startswith("train")
        if not there <= known_all and (there & known_all or train):
            raise InvalidInput(
                f"{place.root} and {other} have different classes: only one has "
                f"{some(sorted(names ^ there))}. To make labels certain, {AS_LISTED}."
            )
    orders.require_distinct(place.root, known_all, listed=False)
    orders.require_order(place.root, known_all)
    lacking = sorted(known_all - names)
    source = next((other for other, there in wider.items() if there == known_all), "")
    classes = tuple(sorted(known_all))
    note = "Classes in sorted order."
    if lacking:
        note = f"Classes sorted, with those of {source} that are not here: {some(lacking)}."
    other = orders.require_no_other(place.above, classes)
    return classes, f"{note} {other}".strip()


def _names_of(split: Path) -> frozenset[str]:
    """The classes of another split; none if its layout is not certain."""
    table = listed(split)
    names = table.names if table else frozenset(folder.name for folder in children(split)[0])
    return names if {name.lower() for name in names} - _NO_CLASSES else frozenset()


def _by_table(place: _Place, table: Listed, base: Path) -> Pictures:
    within = "" if base == place.root else f"{place.root.name}/"
    said = dict(zip(table.files, table.labels, strict=True))
    said = {file: label for file, label in said.items() if file.startswith(within)}
    there = {str(file.relative_to(base).as_posix()): file for file in _below(place.root)}
    there |= {file: base / file for file in said if is_image(file) and (base / file).is_file()}
    if missing := sorted(said.keys() - there.keys()):
        raise InvalidInput(
            f"{table.path} names images that do not exist: {some(missing)}. Restore them, or "
            "remove their rows."
        )
    if unsaid := sorted(there.keys() - said.keys()):
        raise InvalidInput(
            f"{table.path} does not name {some(unsaid)}. List all images of the folder in it, or "
            "remove these."
        )
    if not said:
        raise _empty(place)
    _require_agreement(table, said)
    note = f"Labels from {table.path}."
    if not table.names:
        numbers = known_labels([int(said[file]) for file in sorted(said)], str(table.path))
        classes = class_list(place.class_list) if place.class_list else ()
        require_named(numbers or (), classes, str(table.path))
        known = numbers or [None] * len(said)
        rows = [(there[f], number) for f, number in zip(sorted(said), known, strict=True)]
        return _found(place, rows, classes, note)
    names = table.names  # of all splits, if the table covers all
    classes, more = (
        orders.as_listed(place.class_list, names) if place.class_list else _ordered(place, names)
    )
    number = {name: label for label, name in enumerate(classes)}
    rows = [(there[file], number[str(said[file])]) for file in sorted(said)]
    return _found(place, rows, classes, f"{note} {more}")


def _require_agreement(table: Listed, said: Mapping[str, int | str]) -> None:
    """Refuse images in a folder of one class that the table says are of another."""
    for file, label in said.items():
        folder = PurePosixPath(file).parent.name
        if folder != label and folder in table.names:
            raise InvalidInput(
                f"{table.path} says that {file} is {label!r}, but it is in the folder of the class "
                f"{folder!r}. Correct one of them."
            )


def _below(root: Path) -> list[Path]:
    """All images of a folder and the folders in it."""
    found = list[Path]()
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not is_system(name)]
        found += _images(Path(folder) / name for name in files if not is_system(name))
    return found


def _found(
    place: _Place,
    rows: Sequence[tuple[Path, int | None]],
    classes: tuple[str, ...],
    note: str,
) -> Pictures:
    """The images in these files; labels if all have one."""
    labels = [label for _, label in rows if label is not None]
    return Pictures(
        str(place.asked),
        len(rows),
        lambda index: rows[index][0],
        lambda index: rows[index][0].relative_to(place.root).as_posix(),
        labels if len(labels) == len(rows) else None,
        classes,
        (note,) if note else (),
    )
