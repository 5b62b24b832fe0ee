"""A model as people name it, taken apart in one place; see `vocabulary.MODEL_FORMS`."""

import re
from dataclasses import dataclass
from pathlib import Path

from smoothcert import zoo
from smoothcert.classifiers.recognized import PICKLED
from smoothcert.errors import ModelError
from smoothcert.vocabulary import HUBS, MODES

READ = (".onnx", ".pt2", ".safetensors")
"""Suffixes of the model files that are read."""

_ADDRESS = re.compile(r"((?:[\w.-]+@)?)([a-z0-9+]+://[^?]+/[^/?]+(?:\?.*)?)")


@dataclass(frozen=True)
class ModelReference:
    """The parts of `compiled:arch@weights.safetensors`, `x.onnx#logits`, `timm:name`, `m:factory`.

    Attributes:
        text: as it was given.
        mode: the arithmetic, one of `vocabulary.MODES`.
        hub: one of `vocabulary.HUBS`; empty for a file or a factory.
        name: what the hub calls it; else all of the reference but the mode and the output.
        architecture: before the `@`; empty where the file says it.
        file: path or address of the file; empty for a hub's name and a factory.
        output: of an ONNX model, after the `#`; empty where none is named.
    """

    text: str
    mode: str = MODES[0]
    hub: str = ""
    name: str = ""
    architecture: str = ""
    file: str = ""
    output: str = ""

    @staticmethod
    def parse(text: str) -> "ModelReference":
        """Take a reference apart; whether there is such a model is not looked at.

        Raises:
            ModelError: there is a `#` and no name behind it.
        """
        mode, colon, plain = text.partition(":")
        if not colon or mode not in MODES:
            mode, plain = MODES[0], text
        hub, colon, name = plain.partition(":")
        if colon and hub in HUBS:
            return ModelReference(text, mode, hub, name)
        plain, output = _split_output(plain)
        if found := _ADDRESS.fullmatch(plain):
            parts = (found[1].removesuffix("@"), found[2])
            return ModelReference(text, mode, "", plain, *parts, output)
        if ":" in plain and "@" not in plain and not _names_a_file(plain):
            return ModelReference(text, mode, "", plain)
        architecture, at, file = plain.partition("@")
        if not at or "/" in architecture or Path(plain).is_file():  # a path with an @ in it
            architecture, file = "", plain
        return ModelReference(text, mode, "", plain, architecture, file, output)

    @property
    def is_code(self) -> bool:
        """Whether loading it imports a module and calls a function, as `package.module:factory`."""
        return not self.hub and not self.file

    @property
    def is_address(self) -> bool:
        """Whether its file is in an object store."""
        return "://" in self.file

    @property
    def path(self) -> Path | None:
        """The file on this machine; None for a hub's name, a factory or an address.

        Raises:
            ModelError: weights that do not come with the package.
        """
        if not self.file or self.is_address:
            return None
        built_in = self.architecture and self.file.startswith("pretrained-")
        if built_in and Path(self.file).suffix not in READ:
            return zoo.pretrained(self.architecture, self.file.removeprefix("pretrained-"))
        return Path(self.file)

    def at(self, file: Path | str) -> "ModelReference":
        """The same model with its file elsewhere."""
        mode = "" if self.mode == MODES[0] else f"{self.mode}:"
        architecture = f"{self.architecture}@" if self.architecture else ""
        output = f"#{self.output}" if self.output else ""
        return ModelReference.parse(f"{mode}{architecture}{file}{output}")


def _names_a_file(plain: str) -> bool:
    suffix = Path(plain).suffix
    return suffix in READ or suffix in PICKLED


def _split_output(plain: str) -> tuple[str, str]:
    """A reference without the output that it names, and that name.

    The name is empty where none is given, and where the file itself is named so.
    """
    found = re.fullmatch(r"(.+?\.onnx(?:\?[^#]*)?)#(.*)", plain, re.DOTALL)
    if not found or Path(plain).is_file():
        return plain, ""
    if not found[2]:
        raise ModelError(f"{plain!r} names no output after '#'; give x.onnx#logits or x.onnx")
    return found[1], found[2]
