"""Names of tensors without the prefixes of what was around the network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from smoothcert.errors import ModelError
from smoothcert.zoo.names import Normalization, checked

Tensors = Mapping[str, torch.Tensor]

_MEANS = ("mean", "means")
_DEVIATIONS = ("std", "stds", "sd", "sds")
_MOST_CHANNELS = 64


@dataclass(frozen=True)
class Unwrapped:
    """Tensors without the outermost parts of their names, which all of them share.

    Attributes:
        tensors: by their shorter names.
        prefix: what was taken off: `1.module.`; empty for nothing.
        normalization: the one whose constants were among them, and are not any more.
    """

    tensors: Tensors
    prefix: str = ""
    normalization: Normalization | None = field(default=None)

    @property
    def stood_behind(self) -> bool:
        """Whether it was not the first in a Sequential: something without weights was before it.

        So names begin with `1.` where a network stands behind the NormalizeLayer of the field.
        """
        return any(part.isdigit() and int(part) for part in self.prefix.split("."))

    def stated(self, asked: Normalization | None, name: str) -> tuple[Normalization | None, str]:
        """The normalization by the file of this name, or as asked for, and how it is known.

        Raises:
            ModelError: the two differ.
        """
        if self.normalization is None:
            return asked, "as the reference says"
        if asked not in (None, self.normalization):
            raise ModelError(
                f"{name} holds a normalization ({self.normalization.text}), and the reference "
                f"names another, {asked.word!r}. Leave out the '+' and its word."
            )
        return self.normalization, "whose constants are in the file"


def unwrapped(tensors: Tensors, name: str) -> Iterator[Unwrapped]:
    """The tensors without ever more of the prefixes that they share, beginning with none.

    Where two of them look like a normalization's constants, they are first taken out, then left.
    """
    if pair := _constants(tensors):
        means, deviations = (tensors[key] for key in pair)
        rest = {key: value for key, value in tensors.items() if key not in pair}
        text = tuple(tuple(v.flatten().tolist()) for v in (means, deviations))
        found = checked(Normalization(*text), f"{name} ({pair[0]}, {pair[1]})")
        yield from _shorter(rest, found)
    yield from _shorter(tensors, None)


def _shorter(tensors: Tensors, normalization: Normalization | None) -> Iterator[Unwrapped]:
    prefix = ""
    while True:
        yield Unwrapped(tensors, prefix, normalization)
        first = {key.partition(".")[0] for key in tensors}
        if len(first) != 1 or not all("." in key for key in tensors):
            return
        shared = f"{first.pop()}."
        prefix += shared
        tensors = {key.removeprefix(shared): value for key, value in tensors.items()}


def _constants(tensors: Tensors) -> tuple[str, str] | None:
    """The names of the only two tensors that are a normalization's, as `0.means` and `0.sds`."""
    found = []
    for key in tensors:
        parent, dot, last = key.rpartition(".")
        if last not in _MEANS:
            continue
        for other in _DEVIATIONS:
            pair = (key, f"{parent}{dot}{other}")
            if pair[1] in tensors and _per_channel(tensors[key], tensors[pair[1]]):
                found.append(pair)
    return found[0] if len(found) == 1 else None


def _per_channel(means: torch.Tensor, deviations: torch.Tensor) -> bool:
    sizes = [size for size in means.shape if size != 1]
    few = len(sizes) <= 1 and 0 < means.numel() <= _MOST_CHANNELS
    return few and means.shape == deviations.shape and means.is_floating_point()
