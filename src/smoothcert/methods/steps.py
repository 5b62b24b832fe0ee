"""The plan of one input for the exact test: what it gets, as a function of its cached votes."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from smoothcert.errors import InvalidInput

if TYPE_CHECKING:
    from smoothcert.bounds.ordering import Looks

_ONE_LOOK, _TWO_LOOKS = 4, 7  # numbers of a step


@dataclass(frozen=True)
class Step:
    """What one input gets from a number of cached votes on.

    Attributes:
        least: the smallest number of votes for the class.
        winners: cached votes for the class to replay, the first ones; all, if there are fewer.
        others: for each other class, cached draws to replay that did not vote for it, the first
            ones; 0 where the other classes are bounded by what is left of the class.
        fresh: fresh draws, in place of replays.
        second: votes to replay in all if there is a second look; 0 for a single look.
        fewest, most: votes lost at the first look, both included, with which there is a second.
    """

    least: int
    winners: int = 0
    others: int = 0
    fresh: int = 0
    second: int = 0
    fewest: int = 0
    most: int = 0


@dataclass(frozen=True)
class Steps:
    """An input's plan: steps by rising `least`, the first 0; fixed before its votes are seen."""

    steps: tuple[Step, ...]

    @staticmethod
    def of(flat: Iterable[int]) -> "Steps":
        """Read `flat`.

        Raises:
            InvalidInput: not a plan.
        """
        values = [int(value) for value in flat]
        two = values[:1] == [_TWO_LOOKS]
        width, rest = (_TWO_LOOKS, values[1:]) if two else (_ONE_LOOK, values)
        rows = [Step(*rest[i : i + width]) for i in range(0, len(rest), width)]
        least = [row.least for row in rows]
        if width * len(rows) != len(rest) or not rows or least != sorted({0, *least}):
            raise InvalidInput(f"This is not the plan of an input: {values!r:.80}")
        if min(values) < 0 or len({row.others for row in rows}) > 1:
            raise InvalidInput(
                f"A plan has counts >= 0 and one number for the others: {rows!r:.80}"
            )
        return Steps(tuple(rows))

    @cached_property
    def flat(self) -> tuple[int, ...]:
        """The steps' numbers, one after the other; with second looks, first how many a step has."""
        rows = [(s.least, s.winners, s.others, s.fresh) for s in self.steps]
        if not any(step.second for step in self.steps):
            return tuple(value for row in rows for value in row)
        more = [(s.second, s.fewest, s.most) for s in self.steps]
        return _TWO_LOOKS, *(
            v for pair in zip(rows, more, strict=True) for row in pair for v in row
        )

    def at(self, k: int) -> Step:
        """The step of so many cached votes."""
        return next(step for step in reversed(self.steps) if step.least <= k)


@lru_cache(maxsize=256)
def looks_of(flat: tuple[int, ...], n: int) -> "Looks":
    """What a plan evaluates at 0, 1, ..., n cached votes, from `Steps.flat`.

    Raises:
        InvalidInput: not a plan, or a second look that replays less than the first.
    """
    from smoothcert.bounds import exact_stages  # loads a compiler

    plan, votes = Steps.of(flat), np.arange(n + 1)
    place = np.searchsorted([s.least for s in plan.steps], votes, side="right") - 1
    first, fresh, second, fewest, most = (
        np.array([getattr(s, name) for s in plan.steps], np.int64)[place]
        for name in ("winners", "fresh", "second", "fewest", "most")
    )
    first = np.minimum(first, votes)
    second = np.where(second > 0, np.minimum(second, votes), first)
    return exact_stages.looks(first, second, fewest, most, fresh)


def goes_on(plan: "Looks", k: int, lost: int) -> bool:
    """Whether so many votes lost at the first look ask for a second."""
    return bool(plan.least[k] <= lost <= plan.most[k])
