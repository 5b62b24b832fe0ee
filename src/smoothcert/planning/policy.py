"""Policies: how many evaluations to spend where."""

from dataclasses import dataclass

from smoothcert.errors import InvalidInput, did_you_mean

_POLICIES = "uniform:M, budget:B (a count, or a fraction of a run from scratch), retain:R, radius:R"


@dataclass(frozen=True)
class Policy:
    """A spending policy: `uniform`, `budget`, `retain` or `radius`, and its number."""

    kind: str
    value: float

    @staticmethod
    def parse(text: str) -> "Policy":
        """Read `kind:number`.

        Raises:
            InvalidInput: an unknown kind, or a number out of range.
        """
        if not isinstance(text, str):
            raise InvalidInput(f"A policy must be {_POLICIES}; got {text!r:.60}")
        kind, _, number = text.partition(":")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        ranges = {"uniform": (1, 1e9), "budget": (0, 1e15), "retain": (0, 1), "radius": (0, 1e6)}
        low, high = ranges.get(kind, (1, 0))
        if not low <= value <= high or (kind == "uniform" and value != int(value)):
            near = "" if kind in ranges else did_you_mean(kind, ranges)
            raise InvalidInput(f"A policy must be {_POLICIES}; got {text!r}{near}")
        return Policy(kind, value)

    def total(self, inputs: int, n: int) -> float:
        """The total evaluations it allows; a tenth of all cached draws where it sets no limit."""
        if self.kind == "uniform":
            return self.value * inputs
        if self.kind == "budget":
            return self.value if self.value > 1 else self.value * inputs * n
        return inputs * n / 10
