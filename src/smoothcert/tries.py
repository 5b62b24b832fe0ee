"""What was asked of which noise: a certificate is proven for what was fixed before its noise.

A model, a budget or a method that was chosen by results on the same draws was not: docs/theory.md,
"Several models, or several tries, on one cache".
"""

import secrets
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from smoothcert.errors import SmoothcertWarning
from smoothcert.scalars import whole

Seed = int | Literal["random"]
"""A noise seed, 0..2^64 - 1, or `random` for one that nobody has drawn from."""

SECTION = 'docs/theory.md, "Several models, or several tries, on one cache"'


class SeedReused(SmoothcertWarning):
    """Draws of this seed were looked at before, so that they may have chosen the model."""


@dataclass(frozen=True)
class Try:
    """One question to the draws of a seed; equal questions have one key, as they have one answer.

    Attributes:
        kind: `recertify`, `plan`, `screen`, `decide` or `certify`.
        model: fingerprint of the classifier.
        what: the settings, for people.
        seed: of the draws.
        key: 16 hexadecimal digits.
    """

    kind: str
    model: str
    what: str
    seed: int
    key: str

    @staticmethod
    def of(kind: str, model: str, what: str, seed: int, settings: object) -> "Try":
        """With the key that follows from kind, model and the settings' own text."""
        digits = sha256(repr((kind, model, settings)).encode()).hexdigest()
        return Try(kind, model, what, seed, digits[:16])


class Tries:
    """What a cache was asked. Plans are counted apart, since they state nothing as proven.

    Args:
        asked: what it was asked before.
    """

    def __init__(self, asked: Iterable[Try] = ()) -> None:
        """Start from what was asked; see the class."""
        self._asked: dict[str, Try] = {one.key: one for one in asked}

    def __repr__(self) -> str:
        """The counts."""
        return f"Tries(results={self.results}, models={self.models}, plans={self.plans})"

    @property
    def asked(self) -> tuple[Try, ...]:
        """All of it, plans included, each question once."""
        return tuple(self._asked.values())

    def add(self, one: Try) -> None:
        """Count a question, unless it was asked before; for this process too."""
        self._asked[one.key] = one
        remember(one)

    def beside(self, some: Iterable[Try]) -> "Tries":
        """All others."""
        keys = {one.key for one in some}
        return Tries(one for one in self.asked if one.key not in keys)

    @property
    def _results(self) -> list[Try]:
        return [one for one in self.asked if one.kind != "plan"]

    @property
    def results(self) -> int:
        """How many results the cache has given, of whatever model."""
        return len(self._results)

    @property
    def models(self) -> int:
        """How many models these are of."""
        return len({one.model for one in self._results})

    @property
    def plans(self) -> int:
        """How many plans were shown."""
        return len(self.asked) - self.results

    def of(self, model: str) -> int:
        """How many of the results are of the model with this fingerprint."""
        return sum(one.model == model for one in self._results)

    def to_json(self, model: str) -> dict[str, int]:
        """The counts, with those of one model."""
        facts = {"results": self.results, "models": self.models, "plans": self.plans}
        return facts | {"of_this_model": self.of(model)}


_here: dict[str, Try] = {}
"""What this process has asked of cached draws."""


def remember(one: Try) -> None:
    """Note that this process has shown a result of these draws."""
    _here[one.key] = one


def warn_if_used(
    new: Try, of_this_cache: Iterable[Try] = (), elsewhere: Iterable[Try] = (), depth: int = 3
) -> None:
    """Warn if the draws of a seed that should be new were looked at to judge the same model.

    Args:
        new: what is about to be asked.
        of_this_cache: what the cache was asked that a fresh seed is to replace; of any model.
        elsewhere: what else is known; what this process has asked is added.
        depth: how far up the stack the caller is whom the warning is about.
    """
    same = (t for t in (*_here.values(), *elsewhere) if t.model == new.model)
    for one in (*of_this_cache, *same):
        if one.seed == new.seed and one.key != new.key:
            warnings.warn(SeedReused(_reused(new.seed, one)), stacklevel=depth)
            return


def _reused(seed: int, before: Try) -> str:
    return (
        f"The draws of seed {seed} were looked at before ({before.kind}: {before.what}). If they "
        "were used to choose this model, its certificates do not hold at alpha: an error of 0.05 "
        "was measured to become 0.42 to 0.75. Certify what you will quote with draws that "
        "nothing has looked at: --seed random, or --fresh-seed random when recertifying "
        f"(in Python, 'random' likewise). See {SECTION}."
    )


def number_of(seed: Seed) -> int:
    """The seed, or 64 random bits of the operating system; ranges are checked by who uses it."""
    if isinstance(seed, str) and seed == "random":
        return secrets.randbits(64)
    return whole(seed, "seed (or 'random')")
