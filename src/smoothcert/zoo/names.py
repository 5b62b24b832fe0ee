"""Names of architectures, with what stands before the network: `cifar_resnet110+cifar100`.

After the `+` comes a word of `NORMALIZATIONS`, or constants: `resnet50+mean=0.5+std=0.25`, for all
channels or each (`mean=0.48,0.45,0.41`).
"""

import re
from dataclasses import dataclass
from functools import cached_property

from smoothcert import vocabulary
from smoothcert.errors import ModelError, did_you_mean


@dataclass(frozen=True)
class Normalization:
    """A per-channel centring and scaling of inputs in [0, 1]; none without constants.

    Attributes:
        mean: subtracted; one for each channel, or one for all.
        std: divided by afterwards, as many.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @cached_property
    def word(self) -> str:
        """What stands after the `+`."""
        for word, known in NORMALIZATIONS.items():
            if known == self:
                return word
        mean, std = (",".join(f"{value:.9g}" for value in v) for v in (self.mean, self.std))
        return f"mean={mean}+std={std}"

    @property
    def text(self) -> str:
        """The constants, for people."""
        mean, std = (", ".join(f"{value:.6g}" for value in v) for v in (self.mean, self.std))
        return f"mean {mean}; std {std}"

    @property
    def in_float32(self) -> "Normalization":
        """The constants as the layer has them, each in its shortest decimal form."""
        import numpy as np

        def short(values: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(float(str(np.float32(value))) for value in values)

        return Normalization(short(self.mean), short(self.std))


NORMALIZATIONS = {
    "none": Normalization(),
    **{word: Normalization(**one) for word, one in vocabulary.NORMALIZATIONS.items()},
    **{
        f"{word}-mean": Normalization(vocabulary.NORMALIZATIONS[word]["mean"], (1.0,) * 3)
        for word in ("cifar10", "imagenet")
    },
}
"""By word; `-mean` only centres, which Salman et al. (2019) offer instead."""

WORDS = ", ".join(NORMALIZATIONS)

ALIASES = {
    "cifar100_resnet110": ("cifar_resnet110", "cifar100"),  # Jeong et al. (2023)
    "imagenet32_resnet110": ("cifar_resnet110", "cifar10"),  # Salman et al. (2019)
}
"""Names that checkpoints have for an architecture on another data set: its name here, and the
normalization it was trained with."""


@dataclass(frozen=True)
class Architecture:
    """A name taken apart.

    Attributes:
        base: the name before the `+`, in the zoo; empty if the file is to say it.
        normalization: after the `+`; None if nothing is.
        usual: the word that an alias stands for; else empty.
    """

    base: str
    normalization: Normalization | None = None
    usual: str = ""

    @property
    def name(self) -> str:
        """The name in the zoo, with the word."""
        return self.base + (f"+{self.normalization.word}" if self.normalization else "")

    @staticmethod
    def parse(name: str) -> "Architecture":
        """Take a name apart, without checking that the zoo has it.

        Raises:
            ModelError: what follows the `+` is no normalization.
        """
        base, plus, words = name.partition("+")
        base, usual = ALIASES.get(base, (base, ""))
        return Architecture(base, _parsed(words, name) if plus else None, usual)


def _parsed(words: str, name: str) -> Normalization:
    if words in NORMALIZATIONS:
        return NORMALIZATIONS[words]
    number = r"\d+(?:\.\d*)?(?:e-\d+)?"
    numbers = rf"{number}(?:,{number})*"
    found = re.fullmatch(rf"mean=({numbers})(?:\+std=({numbers}))?", words)
    if not found:
        near = did_you_mean(words, NORMALIZATIONS) or "."
        raise ModelError(
            f"{words!r} in {name!r} is no normalization{near} "
            f"After the '+' give one of {WORDS}, or the constants as in "
            "+mean=0.485,0.456,0.406+std=0.229,0.224,0.225"
        )
    mean = tuple(float(part) for part in found[1].split(","))
    std = tuple(float(part) for part in found[2].split(",")) if found[2] else (1.0,) * len(mean)
    return checked(Normalization(mean, std), name)


def checked(found: Normalization, where: str) -> Normalization:
    """The normalization with its constants in float32, if they are for inputs in [0, 1].

    Raises:
        ModelError: a mean outside [0, 1], a deviation that is not in (0, 2], or unequal numbers.
    """
    if len(found.mean) != len(found.std):
        raise ModelError(
            f"{where!r} has {len(found.mean)} means and {len(found.std)} deviations. Give as many."
        )
    for value in (*found.mean, *(std / 2 for std in found.std)):
        if not 0 <= value <= 1 or (0.0 in found.std):
            raise ModelError(
                f"The normalization of {where!r} ({found.text}) is not for inputs in [0, 1], which "
                "a classifier gets. Constants for values to 255 are divided by 255: name those."
            )
    return found.in_float32
