"""What was asked of which noise: a certificate is proven for what was fixed before its noise.

A model, budget or method chosen by results on the same draws was not fixed before: docs/theory.md,
section 6.
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

SECTION = "docs/theory.md, section 6"


class SeedReused(SmoothcertWarning):
    """Draws of this seed were looked at before, so the model may have been chosen on them."""


@dataclass(frozen=True)
class Try:
    """One question about the draws of a seed; equal questions have one answer, hence one key.

    Attributes:
        kind: `recertify`, `plan`, `screen`, `decide` or `certify`.
        model: fingerprint of the classifier.
        what: the settings, as readable text.
        seed: seed of the draws.
        key: 16 hexadecimal digits.
    """

    kind: str
    model: str
    what: str
    seed: int
    key: str

    @staticmethod
    def of(kind: str, model: str, what: str, seed: int, settings: object) -> "Try":
        """Make one with the key that follows from kind, model and the settings' text."""
        digits = sha256(repr((kind, model, settings)).encode()).hexdigest()
        return Try(kind, model, what, seed, digits[:16])


class Tries:
    """What a cache was asked. Plans are counted separately, since they prove nothing.

    Args:
        asked: earlier questions.
    """

    def __init__(self, asked: Iterable[Try] = ()) -> None:
        """Start from earlier questions; see the class."""
        self._asked: dict[str, Try] = {one.key: one for one in asked}

    def __repr__(self) -> str:
        """The counts."""
        return f"Tries(results={self.results}, models={self.models}, plans={self.plans})"

    @property
    def asked(self) -> tuple[Try, ...]:
        """All questions, plans included, each once."""
        return tuple(self._asked.values())

    def add(self, one: Try) -> None:
        """Count a question unless it was asked before, here and for this process."""
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
        """How many results the cache has given, for any model."""
        return len(self._results)

    @property
    def models(self) -> int:
        """How many models these results are about."""
        return len({one.model for one in self._results})

    @property
    def plans(self) -> int:
        """How many plans were shown."""
        return len(self.asked) - self.results

    def of(self, model: str) -> int:
        """How many of the results are about the model with this fingerprint."""
        return sum(one.model == model for one in self._results)

    def to_json(self, model: str) -> dict[str, int]:
        """The counts, with those of one model."""
        facts = {"results": self.results, "models": self.models, "plans": self.plans}
        return facts | {"of_this_model": self.of(model)}


_here: dict[str, Try] = {}
"""What this process has asked of cached draws."""


def remember(one: Try) -> None:
    """Record that this process has shown a result from these draws."""
    _here[one.key] = one


def warn_if_used(
    new: Try, of_this_cache: Iterable[Try] = (), elsewhere: Iterable[Try] = (), depth: int = 3
) -> None:
    """Warn if the draws of a seed that should be new were already used to judge the same model.

    Args:
        new: what is about to be asked.
        of_this_cache: what was asked, about any model, of the cache that a fresh seed replaces.
        elsewhere: what else is known; what this process has asked is added.
        depth: how far up the stack the caller is that the warning points to.
    """
    same = (t for t in (*_here.values(), *elsewhere) if t.model == new.model)
    for one in (*of_this_cache, *same):
        if one.seed == new.seed and one.key != new.key:
            warnings.warn(SeedReused(_reused(new.seed, one)), stacklevel=depth)
            return


def _reused(seed: int, before: Try) -> str:
    return (
        f"The draws of seed {seed} were looked at before ({before.kind}: {before.what}). If they "
        "were used to choose this model, its certificates do not hold at alpha: in experiments, "
        "an error of 0.05 became 0.42 to 0.75. Certify what you will quote with draws that "
        "nothing has looked at: --seed random, or --fresh-seed random when recertifying "
        f"(in Python, likewise 'random'). See {SECTION}."
    )


def number_of(seed: Seed) -> int:
    """The seed, or 64 random bits of the operating system; the caller checks the range."""
    if isinstance(seed, str) and seed == "random":
        return secrets.randbits(64)
    return whole(seed, "seed (or 'random')")
