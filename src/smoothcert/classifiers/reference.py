"""A model reference, parsed in one place; see `vocabulary.MODEL_FORMS`."""

import re
from dataclasses import dataclass
from pathlib import Path

from smoothcert import zoo
from smoothcert.classifiers.arguments import NO_ARGUMENTS, Arguments
from smoothcert.classifiers.recognized import PICKLED
from smoothcert.errors import ModelError
from smoothcert.vocabulary import CHECKPOINTS, HUBS, MODEL_FORMATS, MODES

READ = tuple(MODEL_FORMATS)
"""Suffixes of the model files that are read."""

_PARTED = "|".join(re.escape(suffix) for suffix in (".onnx", *CHECKPOINTS))
"""Suffixes of files of which a part can be named after a `#`."""

_WITH_ARGUMENTS = re.compile(r"([^\W\d][\w.]*:[^\W\d]\w*),(.*)", re.DOTALL)
"""`package.module:factory`, and what follows its first comma."""

_ADDRESS = re.compile(r"((?:[\w.:+=,-]+@)?)([a-z0-9+]+://[^?]+/[^/?]+(?:\?.*)?)")


@dataclass(frozen=True)
class ModelReference:
    """The parts of `compiled:arch@w.safetensors`, `x.onnx#logits`, `timm:name`, `m:f+p.json`.

    Attributes:
        text: the reference as given.
        mode: the arithmetic, one of `vocabulary.MODES`.
        hub: one of `vocabulary.HUBS`; empty for a file or a factory.
        name: the hub's name for it; else the whole reference without the mode and the output.
        architecture: the part before the `@`, with the normalization after its `+`, or
            `package.module:Class,width=24`; empty if the file states it.
        file: path or URI of the file; empty for a hub's name and a factory.
        output: of an ONNX model, after the `#`, or the entry of a checkpoint; empty if none is
            named.
        preprocessing: path of the JSON file after a `+`, which says what is done to images before
            a torch model gets them; empty for nothing.
        code: `package.module:factory` or `package.module:Class`, if it is one.
        arguments: what that is called with.
    """

    text: str
    mode: str = MODES[0]
    hub: str = ""
    name: str = ""
    architecture: str = ""
    file: str = ""
    output: str = ""
    preprocessing: str = ""
    code: str = ""
    arguments: Arguments = NO_ARGUMENTS

    @staticmethod
    def parse(text: str) -> "ModelReference":
        """Parse a reference, without checking whether there is such a model.

        Raises:
            ModelError: there is a `#` without a name after it, or arguments are malformed.
        """
        mode, colon, plain = text.partition(":")
        if not colon or mode not in MODES:
            mode, plain = MODES[0], text
        plain, front = _split_preprocessing(plain)
        hub, colon, name = plain.partition(":")
        if colon and hub in HUBS:
            return ModelReference(text, mode, hub, name, preprocessing=front)
        if _has_arguments(plain) and not Path(plain).is_file():
            return ModelReference(text, mode, "", plain, "", "", "", front, *_called(plain, text))
        plain, output = _split_output(plain)
        if found := _ADDRESS.fullmatch(plain):
            architecture, file = found[1].removesuffix("@"), found[2]
        elif ":" in plain and "@" not in plain and not _names_a_file(plain):
            return ModelReference(text, mode, "", plain, preprocessing=front, code=plain)
        else:
            architecture, file = _split_file(plain)
        code = architecture.partition("+")[0] if ":" in architecture else ""
        called = _called(code if file else plain, text)
        return ModelReference(text, mode, "", plain, architecture, file, output, front, *called)

    @property
    def is_code(self) -> bool:
        """Whether loading it imports a module and calls a function, as `package.module:factory`.

        Also where the weights are in a file: `package.module:Class@weights.pth`.
        """
        return not self.hub and (not self.file or ":" in self.architecture)

    @property
    def is_of_the_zoo(self) -> bool:
        """Whether its file holds weights, and so has a network of the zoo around them."""
        suffix = (self.path or Path(self.file)).suffix
        return suffix in (".safetensors", *CHECKPOINTS) and not (self.hub or self.is_code)

    @property
    def is_address(self) -> bool:
        """Whether its file is in an object store."""
        return "://" in self.file

    @property
    def path(self) -> Path | None:
        """The local file; None for a hub's name, a factory or a URI.

        Raises:
            ModelError: weights that do not come with the package.
        """
        if not self.file or self.is_address:
            return None
        built_in = self.architecture and self.file.startswith("pretrained-")
        if built_in and Path(self.file).suffix not in READ:
            base = zoo.Architecture.parse(self.architecture).base
            return zoo.pretrained(base, self.file.removeprefix("pretrained-"))
        return Path(self.file)

    def at(self, file: Path | str) -> "ModelReference":
        """The same model with another path of its file."""
        mode = "" if self.mode == MODES[0] else f"{self.mode}:"
        architecture = f"{self.architecture}@" if self.architecture else ""
        output = f"#{self.output}" if self.output else ""
        front = f"+{self.preprocessing}" if self.preprocessing else ""
        return ModelReference.parse(f"{mode}{architecture}{file}{output}{front}")


def _has_arguments(code: str) -> bool:
    """Whether it is `package.module:factory,` and arguments, and no file has weights."""
    found = _WITH_ARGUMENTS.fullmatch(code)
    if found is None or "@" in code:
        return False
    return "=" in found[2] or not _names_a_file(code)  # c:x,y.onnx is a file


def _called(code: str, text: str) -> tuple[str, Arguments]:
    """`package.module:name`, and the arguments after its comma."""
    found = _WITH_ARGUMENTS.fullmatch(code)
    return (found[1], Arguments.parse(found[2], text)) if found else (code, NO_ARGUMENTS)


def _split_file(plain: str) -> tuple[str, str]:
    """What stands before the `@`, and the file; a path may have an @ in it."""
    before, at, file = plain.partition("@")
    is_path = "/" in before and not _has_arguments(before.partition("+")[0])
    return ("", plain) if not at or is_path or Path(plain).is_file() else (before, file)


def _names_a_file(plain: str) -> bool:
    suffix = Path(plain).suffix
    return suffix in READ or suffix in PICKLED


def _split_preprocessing(plain: str) -> tuple[str, str]:
    """A reference without the `+FILE.json` at its end, and that file; empty if there is none."""
    if not plain.endswith(".json") or Path(plain).is_file():
        return plain, ""
    parts = plain.split("+")
    splits = [("+".join(parts[:at]), "+".join(parts[at:])) for at in range(1, len(parts))]
    found = next((split for split in splits if Path(split[1]).is_file()), None)
    return found or (splits[-1] if splits else (plain, ""))


def _split_output(plain: str) -> tuple[str, str]:
    """A reference without the name of its output or entry, and that name.

    The name is empty if none is given, or if the `#` is part of the file's name.
    """
    found = re.fullmatch(rf"(.+?(?:{_PARTED})(?:\?[^#]*)?)#(.*)", plain, re.DOTALL)
    if not found or Path(plain).is_file():
        return plain, ""
    if not found[2]:
        raise ModelError(
            f"{plain!r} has no output name after '#'; give x.onnx#logits or x.onnx, and of a "
            "checkpoint an entry, as in x.pth#ema"
        )
    return found[1], found[2]
