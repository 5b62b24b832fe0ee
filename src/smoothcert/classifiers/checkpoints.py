"""Weights in files: safetensors, and checkpoints of torch.save, read as weights only.

A checkpoint is a dictionary with the tensors somewhere in it. They are found by structure, not
by name: an entry whose values are tensors and whose keys are text.
"""

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smoothcert.classifiers.blame import first_line, message_of
from smoothcert.classifiers.pytorch import read_weights
from smoothcert.classifiers.quiet import quiet
from smoothcert.classifiers.recognized import why_unreadable
from smoothcert.errors import ModelError

Tensors = Mapping[str, torch.Tensor]

_DEPTH = 2
"""An entry of an entry may hold the tensors. Below that come optimizers' states."""

_MOST_SHARED, _SPARE = 4, 2**22
"""Tensors may take so many times the file's bytes, as they may share some, and so many more."""

_NAMED = ("arch", "architecture")
_SETTINGS = ("hyper_parameters", "hparams", "args", "config")
"""Keys under which checkpoints say their architecture, and of dictionaries that have those."""

_ASIDE = ("n_averaged",)
"""What torch's AveragedModel keeps beside the weights."""


@dataclass(frozen=True)
class Stored:
    """What a file of weights holds.

    Attributes:
        name: the file's name, for messages.
        entries: the tensors of each entry, by its path in the file; an empty path is the file.
        architecture: the one that it records; empty if none.
        is_ours: whether this package wrote it.
    """

    name: str
    entries: Mapping[str, Tensors]
    architecture: str = ""
    is_ours: bool = False

    def chosen(self, entry: str, fits: Callable[[Tensors], bool]) -> Tensors:
        """The tensors of the named entry, or of the only one that fits.

        Args:
            entry: its path, as after the `#` of a reference; empty for the only one.
            fits: whether tensors can belong to the network.

        Raises:
            ModelError: there is no such entry, or several fit.
        """
        if entry and entry not in self.entries:
            listed = self._listed([path for path in self.entries if path])
            raise ModelError(
                f"{self.name} has no entry {entry!r} with tensors; it has {listed or 'no entries'}."
            )
        fitting = [path for path in self.entries if fits(self.entries[path])]
        found = [entry] if entry else fitting or [*self.entries]
        if len(found) == 1:
            return self.entries[found[0]]
        how = "several entries that fit" if fitting else "several entries, none of which fits"
        raise ModelError(
            f"{self.name} holds {how}: {self._listed(found)}. Name one, as in "
            f"{self.name}#{found[0]:.60}"
        )

    def _listed(self, paths: list[str]) -> str:
        return ", ".join(f"{path:.60} ({len(self.entries[path])} tensors)" for path in paths[:8])


def read(path: Path) -> Stored:
    """What a file of weights holds.

    Raises:
        ModelError: it is damaged, holds more than tensors, numbers and text, or no tensors.
    """
    if path.suffix == ".safetensors":
        tensors, metadata = read_weights(path)
        recorded = metadata.get("architecture", "")
        ours = isinstance(recorded, str) and bool(recorded)
        return Stored(path.name, {"": tensors}, recorded if ours else "", ours)
    _check_size(path)
    content = _unpickled(path)
    entries = dict(_entries(content))
    if not entries:
        raise ModelError(
            f"{path.name} holds no weights: no dictionary of tensors by name, at most {_DEPTH} "
            f"deep, but {_described(content)}. Save network.state_dict()."
        )
    room = _MOST_SHARED * path.stat().st_size + _SPARE
    for at, tensors in entries.items():
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if size > room:
            raise ModelError(
                f"The tensors of {path.name}{at and '#'}{at:.60} would take {size} bytes, far "
                f"more than the file has ({path.stat().st_size}). It is damaged."
            )
        for key, tensor in tensors.items():
            _require_plain(tensor, key, path.name)
    return Stored(path.name, entries, _recorded(content))


def _check_size(path: Path) -> None:
    """Refuse an archive that unpacks to more than it has bytes: torch.save does not compress."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path.name} is not a readable checkpoint of torch.save: {first_line(error)}. "
            f"{why_unreadable(path)}"
        ) from error
    if unpacked > path.stat().st_size:
        raise ModelError(
            f"{path.name} would unpack to {unpacked} bytes and has {path.stat().st_size}. "
            "torch.save does not compress: save the weights again."
        )


_FORBIDDEN = re.compile(r"(?:Unsupported (?:global|class)|GLOBAL)[: ]+(?:GLOBAL )?([\w.]*\w)")
"""What torch says of anything but tensors, numbers and text."""


def _unpickled(path: Path) -> Any:
    """The content, by torch's reader of weights only, which imports and calls nothing else."""
    try:
        with path.open("rb") as file, quiet():
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle each have their own kinds
        said = message_of(error).rpartition("WeightsUnpickler error: ")[2].strip()
        if found := _FORBIDDEN.search(said):
            raise ModelError(
                f"{path.name} holds {found[1]!r}, which is no tensor, number or text. "
                "Reading that could run code in the file, so it is not read. If you trust it, load "
                "it with the code that it came from, and save the weights alone: "
                "torch.save(network.state_dict(), 'weights.pth')"
            ) from error
        why = first_line(error) if said == message_of(error).strip() else said.splitlines()[0]
        raise ModelError(
            f"{path.name} is not a readable checkpoint of torch.save: {why.rstrip('.')}. "
            f"{why_unreadable(path)}"
        ) from error


def _entries(
    content: Any, path: str = "", depth: int = 0, seen: set[int] | None = None
) -> Iterator[tuple[str, Tensors]]:
    """Every entry that is a dictionary of tensors by name, with its path; one object is one."""
    seen = set() if seen is None else seen
    if not isinstance(content, Mapping) or id(content) in seen:
        return
    seen.add(id(content))
    if not all(isinstance(key, str) for key in content):  # as in an optimizer's state
        return
    if not any(isinstance(value, Mapping) for value in content.values()):
        tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
        held = {key: value.detach() for key, value in tensors.items() if key not in _ASIDE}
        if any(value.is_floating_point() and value.ndim for value in held.values()):
            yield path, held
        return
    if depth < _DEPTH:
        for key, value in content.items():
            yield from _entries(value, f"{path}.{key}" if path else key, depth + 1, seen)


def _recorded(content: Any) -> str:
    """The architecture that a checkpoint records; empty if none."""
    places = [content, *(content.get(key) for key in _SETTINGS)]
    for place in places:
        for key in _NAMED if isinstance(place, Mapping) else ():
            if isinstance(place.get(key), str):
                return place[key][:60]
    return ""


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"the keys {', '.join(f'{key!r:.60}' for key in [*content][:5]) or '(none)'}"
    return f"a {type(content).__name__}"


def _require_plain(tensor: torch.Tensor, key: str, name: str) -> None:
    plain = type(tensor) is torch.Tensor and not tensor.is_quantized
    if not plain or tensor.layout != torch.strided or tensor.is_complex() or tensor.is_meta:
        raise ModelError(
            f"The tensor {key!r:.60} in {name} is not a plain one, but {tensor.layout} of "
            f"{tensor.dtype}. Build the network in your own code, and pass package.module:factory."
        )


def require_faithful(network: torch.nn.Module, tensors: Tensors, name: str) -> None:
    """Check that a network has these weights exactly, and that they are numbers.

    Raises:
        ModelError: infinite weights or NaN, or values that the network's types do not hold.
    """
    for key, loaded in network.state_dict().items():
        given = tensors.get(key)
        if given is None or not isinstance(loaded, torch.Tensor):
            continue
        if given.is_floating_point() and not bool(torch.isfinite(given).all()):
            raise ModelError(
                f"The weights {key!r:.60} in {name} are not all finite. Its training diverged, or "
                "the file is damaged: take an earlier checkpoint."
            )
        kinds = [t.is_floating_point() for t in (given, loaded)]
        if kinds[0] != kinds[1] or not torch.equal(loaded.cpu().to(given.dtype), given):
            raise ModelError(
                f"The tensor {key!r:.60} in {name} is {given.dtype}, and the network's "
                f"{loaded.dtype} does not have its values. Convert one to the other's type."
            )
