"""The order of classes by name: from a classes.txt, or sorted, where that is unambiguous."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

from smoothcert.data.layouts import children, some
from smoothcert.data.listings import MOST_LIST_BYTES, class_list, text_of
from smoothcert.errors import InvalidInput

AS_LISTED = "list the classes in a classes.txt there, in the classifier's order"
_WHOLE = re.compile(r"-?\d+")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")
_LIST_SUFFIXES = ("", ".txt", ".names", ".lst", ".labels", ".json")
_NO_NAMES = {
    *("class", "classes", "classname", "classnames", "name", "names", "label", "labels"),
    *("category", "folder", "id", "index"),
}
"""How the first line of a list with a heading looks."""


def listing(folders: Iterable[Path]) -> Path | None:
    """The classes.txt in these folders, if there is one.

    Raises:
        InvalidInput: there are several, and they differ.
    """
    found = [path for folder in folders for path in lists_in(folder)]
    if len({class_list(path) for path in found}) > 1:
        raise InvalidInput(
            f"{some(found)} differ. Keep the one in the order of the classifier's classes."
        )
    return found[0] if found else None


def lists_in(folder: Path) -> list[Path]:
    """The files called classes.txt in a folder, in any case."""
    return [path for path in children(folder)[1] if path.name.lower() == "classes.txt"]


def as_listed(path: Path, needed: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """The classes of a list, each with the required spelling (accents have two spellings).

    Returns:
        The names, and a note on where their order is from.

    Raises:
        InvalidInput: a required class is missing, or a line is not the name of a class.
    """
    spelled = {_plain(name): name for name in needed}
    listed = class_list(path)
    if lacking := sorted(spelled.keys() - set(map(_plain, listed))):
        raise InvalidInput(
            f"{path} must name every class once, one per line, in the order of the classifier's "
            f"classes; it lacks {some(map(repr, lacking))}, and has {some(map(repr, listed))}."
        )
    more = [name for name in listed if _plain(name) not in spelled]
    if odd := [name for name in more if _no_class(name, listed)]:
        raise InvalidInput(
            f"{path} has the line {odd[0]!r}, which is probably not a class but would count as "
            "one. Remove it: every line is a class."
        )
    names = tuple(spelled.get(_plain(name), name) for name in listed)
    return names, f"Classes in the order of {path}."


def _no_class(line: str, lines: Sequence[str]) -> bool:
    """Whether a line is a comment, a rule, or a heading with a title or the number of lines."""
    title = re.sub(r"[\s_:-]", "", line.lower()) in _NO_NAMES or line == str(len(lines) - 1)
    bare = not any(map(str.isalnum, line))
    return bare or line.startswith(("#", "//", ";")) or (line == lines[0] and title)


def _plain(name: str) -> str:
    return normalize("NFC", name.strip())


def require_distinct(where: Path | str, names: Iterable[str], listed: bool) -> None:
    """Refuse two names that look alike, and two that differ in case unless a list has them."""
    seen = dict[str, str]()
    for name in sorted(names):
        plain = _plain(name)
        like = plain if listed or len(plain) == 1 else plain.casefold()
        if like in seen:
            raise InvalidInput(
                f"{where} has the classes {seen[like]!r} and {name!r}, probably the same class. "
                + ("Give them different names." if listed else f"Merge them, or {AS_LISTED}.")
            )
        seen[like] = name


def require_order(where: Path | str, names: Iterable[str]) -> None:
    """Refuse numbers that sorting puts in another order, or with numbers missing."""
    ordered = sorted(names)
    moved = list[str]()
    for prefix in {_NUMBER.split(name)[0] for name in ordered}:
        alike = [n for n in ordered if _NUMBER.search(n) and _NUMBER.split(n)[0] == prefix]
        moved += alike if alike != sorted(alike, key=_natural) else []
    whole = [int(name) for name in ordered if _WHOLE.fullmatch(name)]
    gaps = len(whole) == len(ordered) and whole not in (
        [*range(len(whole))],
        [*range(1, len(whole) + 1)],
    )
    if 2 * len(moved) >= len(ordered) > 0:
        shown, why = sorted(moved), "as text 10 comes before 2 (torchvision sorts so)"
    elif gaps:
        shown, why = ordered, "they are not 0, 1, ... or 1, 2, ... without a gap"
    else:
        return
    raise InvalidInput(
        f"{where} has numbered classes, {some(shown)}, whose order is not certain: {why}. To "
        f"make labels certain, {AS_LISTED}."
    )


def _natural(name: str) -> list[Any]:
    parts: list[Any] = _NUMBER.split(name)
    parts[1::2] = map(float, parts[1::2])
    return parts


def require_no_other(folders: Iterable[Path], classes: Sequence[str]) -> str:
    """Refuse a file that has the same classes in another order, whatever its name.

    Returns:
        A note, if it is Tiny-ImageNet's wnids.txt, whose order is rarely intended.
    """
    for path in (file for folder in folders for file in children(folder)[1]):
        if path.suffix.lower() not in _LIST_SUFFIXES or len(classes) < 2:
            continue
        names = _names_in(path)
        if not set(classes) <= set(names) or tuple(names[: len(classes)]) == tuple(classes):
            continue
        said = f"{path} has the classes in an order that is not sorted"
        if path.name == "wnids.txt":
            return f"{said}: rename it to classes.txt if that is the classifier's order."
        raise InvalidInput(
            f"{said} ({some(names)}). If that is the classifier's order, {AS_LISTED}; if not, "
            "remove it."
        )
    return ""


def _names_in(path: Path) -> list[str]:
    """The names in a file that may list some, one per line or as JSON; empty if it does not."""
    if not path.is_file() or path.stat().st_size > MOST_LIST_BYTES:
        return []
    try:
        text = text_of(path, MOST_LIST_BYTES, older=True)
        if path.suffix.lower() != ".json":
            return [line.strip() for line in text.splitlines() if line.strip()]
        found = json.loads(text)
        if isinstance(found, dict) and _are_numbers(found.values()):
            return sorted(found, key=lambda name: found[name])
        if isinstance(found, dict) and all(map(str.isdecimal, found)):
            found = [found[number] for number in sorted(found, key=int)]
    except (OSError, ValueError, RecursionError, InvalidInput):
        return []
    found = found if isinstance(found, list) else []
    firsts = [entry[0] if isinstance(entry, list) and entry else entry for entry in found]
    return [str(name) for name in firsts] if all(isinstance(n, str) for n in firsts) else []


def _are_numbers(values: Iterable[Any]) -> bool:
    """Whether they number classes: 0, 1, ... in any order."""
    whole = [value for value in values if type(value) is int]
    return sorted(whole) == [*range(len(list(values)))]
