"""What the distribution's own metadata asks for, and what of it is installed."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata

NAME = "smoothcert"
_REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[([\w,\s.-]*)\])?\s*([^;]*?)\s*(?:;(.*))?")
_EXTRA = re.compile(r"extra == ['\"]([\w.-]+)['\"]")


@dataclass(frozen=True)
class Wanted:
    """One requirement.

    Attributes:
        name: of the distribution.
        extras: of it that are asked for.
        versions: as the metadata writes them, `>=2.0`; empty for any.
        extra: of ours that asks for it; empty if it is always asked for.
    """

    name: str
    extras: tuple[str, ...]
    versions: str
    extra: str

    @staticmethod
    def parse(text: str) -> "Wanted":
        """Read a line of Requires-Dist."""
        found = _REQUIREMENT.fullmatch(text)
        assert found is not None, text
        name, extras, versions, marker = found.groups()
        ours = _EXTRA.search(marker or "")
        listed = tuple(extra.strip() for extra in (extras or "").split(",") if extra.strip())
        return Wanted(name, listed, versions.strip("() "), ours[1] if ours else "")

    def __str__(self) -> str:
        """As pip takes it."""
        return f"{self.name}{self.versions}"


@dataclass(frozen=True)
class Part:
    """A requirement and what is there of it.

    Attributes:
        wanted: the requirement.
        version: what is installed, or None.
        good: whether that is a version that is asked for.
    """

    wanted: Wanted
    version: str | None
    good: bool

    @property
    def name(self) -> str:
        """Of the distribution."""
        return self.wanted.name

    @property
    def text(self) -> str:
        """The version, or what is wrong."""
        if self.version is None:
            return "is not installed"
        return self.version if self.good else f"{self.version} is not {self.wanted.versions}"


def needs(lines: Iterable[str] | None = None) -> Mapping[str, tuple[Wanted, ...]]:
    """What each extra asks for, by its name; what is always asked for under the empty name.

    Args:
        lines: of Requires-Dist; by default those of the installed distribution.

    Raises:
        PackageNotFoundError: there is no installed distribution.
    """
    if lines is None:
        lines = metadata.requires(NAME) or ()
    found: dict[str, dict[str, Wanted]] = {"": {}}
    for wanted in map(Wanted.parse, lines):
        found.setdefault(wanted.extra, {})[f"{wanted.name}{wanted.extras}"] = wanted
    return {extra: tuple(_whole(extra, found)) for extra in found}


def _whole(extra: str, found: Mapping[str, Mapping[str, Wanted]]) -> Iterator[Wanted]:
    """An extra with those of ours that it includes."""
    seen: set[str] = set()
    queue = [extra]
    while queue:
        for wanted in found.get(queue.pop(0), {}).values():
            if wanted.name == NAME:
                queue += wanted.extras
            elif wanted.name not in seen:
                seen.add(wanted.name)
                yield wanted


def parts(wanted: Iterable[Wanted]) -> Sequence[Part]:
    """What is installed of these."""
    return [_part(one) for one in wanted]


def _part(wanted: Wanted) -> Part:
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return Part(wanted, None, False)
    return Part(wanted, version, _allowed(version, wanted.versions))


def _allowed(version: str, versions: str) -> bool:
    """Whether a version is one of these; True where nothing is installed that can tell."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(versions).contains(version, prereleases=True)


def clashes(wanted: Mapping[str, Sequence[Wanted]]) -> list[str]:
    """What installed parts ask of each other and do not get, as a torchvision for another torch."""
    found: list[str] = []
    for name in sorted({one.name for group in wanted.values() for one in group}):
        with suppress(metadata.PackageNotFoundError):
            for line in metadata.requires(name) or ():
                asked = Wanted.parse(line)
                if ";" in line or not asked.versions or "@" in asked.versions:
                    continue  # of some platforms or extras only, or any version will do
                part = _part(asked)
                if part.version is not None and not part.good:
                    found.append(f"{name} needs {asked}, and {part.version} is installed")
    return found
