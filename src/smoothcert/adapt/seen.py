"""What a model's file shows of the images that it wants: proposed, never assumed."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcert.adapt.shapes import Dims
from smoothcert.classifiers.fitting import adapting
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.preprocessing_files import given
from smoothcert.errors import InvalidInput

_ANY_PURPOSE, _COLUMNS = "config.json", "columns.json"
_BESIDE = ("preprocess.json", "preprocessor_config.json", _ANY_PURPOSE)


@dataclass(frozen=True)
class Seen:
    """What a model's file and its folder show.

    Attributes:
        model: its reference as given.
        name: the name of its input.
        shape: of its input; an unknown size is a word.
        whole: whether it takes bytes.
        normalizes: its first operations with constants, as far as they are arithmetic.
        probabilities: whether its scores are.
        beside: files in its folder that say what to put in front.
        unusable: sentences about such files that cannot be used.
        adapted: what `adapt` has put in front, as JSON; empty for nothing.
    """

    model: str
    name: str
    shape: Dims
    whole: bool
    normalizes: tuple[str, ...]
    probabilities: bool
    beside: tuple[Path, ...]
    unusable: tuple[str, ...]
    adapted: str

    @property
    def channels_last(self) -> bool:
        """Whether the shape is of images with channels last."""
        return len(self.shape) == 4 and self.shape[3] in (1, 3) and self.shape[1] not in (1, 3)

    @property
    def _columns(self) -> bool:
        """Whether the first file beside it says what a table's columns are."""
        return bool(self.beside) and self.beside[0].name.endswith(_COLUMNS)

    @property
    def proposed(self) -> tuple[str, ...]:
        """The options of `adapt` that the shape, the type and the files speak for."""
        found = []
        if self.beside and not self.normalizes:
            found.append(f"--preprocess {shlex.quote(str(self.beside[0]))}")
        if self.whole:
            found.append("--scale 255")
        if self.channels_last:
            found.append("--layout nhwc")
        elif len(self.shape) == 2 and not self._columns:
            found.append("--layout flat")
        return tuple(found)

    @property
    def lines(self) -> tuple[str, ...]:
        """What is seen, a sentence each."""
        shape = ", ".join(str(size or "?") for size in self.shape)
        lines = [f"Its input {self.name!r} is ({shape}), {'bytes' if self.whole else 'floats'}."]
        if self.adapted:
            return (*lines, f"It was made by adapt: {self.adapted}")
        if self.channels_last:
            lines.append("That is channels last; images here have channels first.")
        elif len(self.shape) == 2:
            lines.append(
                "That is a row of values; images here are (B, C, H, W). For a table's rows, give "
                "--preprocess and its columns file in place of --layout flat."
            )
        if self.shape and isinstance(self.shape[0], int):
            lines.append(f"It takes only batches of {self.shape[0]}; adapt opens that if it can.")
        if self.normalizes:
            lines.append(
                f"It begins with {', '.join(self.normalizes)} by constants, so it may normalize by "
                "itself; a second normalization would be wrong."
            )
        elif not self.beside:
            lines.append(
                "It does not begin with a normalization. Most networks are trained on normalized "
                "images: if this one was, add --mean and --std with the numbers of its training "
                "(imagenet, cifar10, half, or your own), and --channels bgr if it takes blue first."
            )
        if self.beside:
            files = ", ".join(path.name for path in self.beside)
            lines.append(f"Beside it there is {files}, which may say how inputs are prepared.")
        lines += self.unusable
        if self.probabilities:
            lines.append("Its scores are probabilities, which are fine as they are.")
        return tuple(lines)

    @property
    def command(self) -> str:
        """The command that is proposed; empty where nothing speaks for one."""
        fixed = bool(self.shape) and isinstance(self.shape[0], int)
        if self.adapted or not (self.proposed or fixed):
            return ""
        return adapting(self.model, " ".join(self.proposed)).strip("`")

    def describe(self, wanted: Preprocessing) -> str:
        """What is seen and proposed; or what the given options would put in front."""
        lines = list(self.lines)
        if wanted:
            lines.append(f"In front would be: {wanted.describe()}. Add --out FILE to write it.")
            lines += [f"Note: {warning}" for warning in self.warnings(wanted)]
        elif self.command:
            lines += ["Proposed:", f"  {self.command}"]
        return "\n".join(lines)

    def record(self, wanted: Preprocessing) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "model": self.model,
            "shape": list(self.shape),
            "seen": list(self.lines),
            "proposed": self.command or None,
            "front": wanted.record(),
            "warnings": list(self.warnings(wanted)),
        }

    def warnings(self, wanted: Preprocessing) -> tuple[str, ...]:
        """What looks wrong with these options for this model."""
        found = []
        if self.normalizes and (wanted.mean or wanted.std):
            found.append(
                f"the model begins with {', '.join(self.normalizes)} by constants: check that it "
                "does not normalize by itself too."
            )
        if self.channels_last and wanted.layout == "nchw":
            found.append("the model's shape is channels last: is --layout nhwc missing?")
        return tuple(found)


def beside(source: Path, shape: Dims) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The files beside a model that can be put in front of it, and why others cannot.

    Args:
        source: the model's file.
        shape: of its input. A columns file is for rows of as many values as it has features.
    """
    usable, reasons = [], []
    columns = sorted(source.parent.glob(f"*{_COLUMNS}"))
    for file in (*(source.parent / name for name in _BESIDE), *columns):
        if not file.is_file():
            continue
        try:
            ranges = given(file, {})[0].ranges
        except InvalidInput as error:
            if file.name != _ANY_PURPOSE:
                reasons.append(f"Not used: {error}")
        else:
            if ranges is None or [*shape[1:]] == [len(ranges.low)]:
                usable.append(file)
    return tuple(usable), tuple(reasons)
