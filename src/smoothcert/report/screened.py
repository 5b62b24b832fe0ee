"""What stands beside dataset certificates: size and speed of the models, and their original."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smoothcert.report.curves import of_all
from smoothcert.runs.store import Run
from smoothcert.summary import correct_radii
from smoothcert.text import level, visible

_MOST = 2.0**60  # bytes, or evaluations a second, that a file can state


@dataclass(frozen=True)
class Cost:
    """Size and speed of a model; nothing is proven of them.

    Attributes:
        bytes: of its file, or None if it is in none that is at hand.
        per_second: evaluations a second while it was sampled, noise included, by one worker; or
            None if that was not measured.
        base: identity hash of the original's run that it was screened on; may be empty.
        original: of that original, where known.
    """

    bytes: int | None = None
    per_second: float | None = None
    base: str = ""
    original: "Cost | None" = None

    def to_json(self) -> dict[str, Any]:
        """Plain values of the model itself."""
        speed = self.per_second
        return {"bytes": self.bytes, "per_second": speed and float(f"{speed:.4g}")}

    @staticmethod
    def from_json(row: Any) -> "Cost":
        """Read what a file of screenings says; whatever is not a plain number is unknown."""
        found = row if isinstance(row, Mapping) else {}
        size, speed = (_number(found.get(name)) for name in ("bytes", "per_second"))
        base, beside = found.get("base_hash", ""), found.get("original")
        original = None if beside is None else Cost.from_json(beside)
        return Cost(None if size is None else int(size), speed, str(base), original)

    @property
    def cells(self) -> tuple[str, str]:
        """Size and speed as text, empty where unknown."""
        size = "" if self.bytes is None else _bytes(self.bytes)
        speed = float(f"{self.per_second or 0.0:.3g}")
        return size, "" if not speed else f"{speed:,.0f}" if speed >= 100 else f"{speed:g}"


@dataclass(frozen=True)
class Original:
    """What the original's own certificates prove of all its inputs together.

    Attributes:
        name: of its run.
        inputs: their number.
        alpha: the error of these statements, which is not that of a screening
            (docs/theory.md, section 11).
        wrong: how many certificates may be wrong, except with probability alpha.
        radii: certified radii of the label, -1 where there is none.
        acr: lower limit of the mean radius.
        evaluations: forward passes.
    """

    name: str
    inputs: int
    alpha: float
    wrong: int
    radii: tuple[float, ...]
    acr: float
    evaluations: int

    @staticmethod
    def of(run: Run) -> "Original":
        """From its finished run."""
        together = of_all(run)[1]
        radii = correct_radii(run.certificates, run.labels)
        spent = run.pilot_evaluations + sum(c.evaluations for c in run.certificates)
        facts = (visible(run.name), together.inputs, together.beta, together.wrong)
        return Original(*facts, tuple(radii.tolist()), together.acr, spent)

    def accuracy(self, radii: Sequence[float]) -> tuple[float, ...]:
        """Lower limits of certified accuracy, at all radii at once."""
        reached = (sum(own >= radius for own in self.radii) for radius in radii)
        return tuple(max(0, count - self.wrong) / self.inputs for count in reached)

    def to_json(self, radii: Sequence[float]) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "acr": self.acr,
            "certified_accuracy": [
                {"radius": radius, "accuracy": share}
                for radius, share in zip(radii, self.accuracy(radii), strict=True)
            ],
            "alpha": self.alpha,
            "evaluations": self.evaluations,
        }

    @property
    def says(self) -> str:
        """What its row claims."""
        return (
            f"The row of the original ({self.name}) is of its own certificates, all inputs "
            f"together, with probability 1 − {level(self.alpha)} (docs/theory.md, section 11). It "
            "is no part of what the screening states."
        )


def _number(value: Any) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return value if plain and math.isfinite(value) and 0 <= value < _MOST else None


def _bytes(size: int) -> str:
    """With three digits: 63.6 KB."""
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= one:
            return f"{float(f'{size / one:.3g}'):g} {unit}"
    return f"{size} B"
