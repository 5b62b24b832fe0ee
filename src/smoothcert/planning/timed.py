"""Time as a budget: how many evaluations fit into the minutes of a policy.

The speed is measured on selection draws, or on noise that nothing counts, before the first counted
draw. So the number is a budget like any other that was fixed beforehand (docs/theory.md, sections 2
and 13).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.methods import Exact, Method, Reuse, Sized
from smoothcert.planning import Policy
from smoothcert.sampling.pace import Pace
from smoothcert.sampling.sampler import Sampler
from smoothcert.sampling.tuning import BatchConfig, speed

_ByPolicy = TypeVar("_ByPolicy", Sized, Exact, Reuse, Exact | Reuse)

_USED = 0.97  # of the time; the rest is for the last blocks, which end apart, and for the summary
_BLOCK = 0.010  # seconds that a block takes beside its evaluations: batches run out, it is written
_MEASURED, _SHARE = 6.0, 0.08  # seconds, and of the time: what is measured at least
_OTHERS = 0.8  # of the first process's speed, by each further one: they share memory and cores


def minutes_of(method: Method) -> float | None:
    """The minutes that the policy of a method allows, if it says minutes."""
    if not isinstance(method, Sized | Exact | Reuse):
        return None
    rule = Policy.parse(method.policy, scratch=isinstance(method, Sized))
    return rule.value if rule.kind == "minutes" else None


TUNED = 10
"""Minutes from which a search for the fastest batches, some seconds long, pays off."""

LATEST = 1.08
"""Times the minutes: when a command stops whose machine became slower than it was measured."""


def tuned_for(method: Method, evaluations: int) -> int:
    """The evaluations to choose a batch size for: 0 if there is no time for a search."""
    minutes = minutes_of(method)
    return evaluations if minutes is None or minutes >= TUNED else 0


def counted(method: _ByPolicy, budget: int | None) -> _ByPolicy:
    """The method that a plan is made by: one of minutes with the evaluations that fit into them.

    Raises:
        ValueError: the number is missing, or there is one that nothing asks for.
    """
    minutes = minutes_of(method)
    if (minutes is None) != (budget is None):
        raise ValueError(f"a plan by {method.policy} with the number of evaluations {budget}")
    return method if budget is None else replace(method, policy=f"budget:{budget}")


@dataclass(frozen=True)
class Timing:
    """How long a certification may take, since when, and what computes it.

    Attributes:
        minutes: of the policy.
        started: when they began, on the clock.
        workers: processes of this machine that compute, this one included.
        loading: seconds until another one has loaded model and data.
        blocks: of the run.
        clock: gives seconds.
    """

    minutes: float
    started: float
    workers: int = 1
    loading: float = 0.0
    blocks: int = 0
    clock: Callable[[], float] = time.monotonic

    @staticmethod
    def of(method: Method, workers: int = 1, loading: float = 0.0) -> "Timing | None":
        """From now on; None if the policy of the method does not say minutes."""
        minutes = minutes_of(method)
        return None if minutes is None else Timing(minutes, time.monotonic(), workers, loading)

    @property
    def left(self) -> float:
        """Seconds that are left for evaluations."""
        beside = self.blocks * _BLOCK / self.workers
        return self.minutes * 60 * _USED - beside - (self.clock() - self.started)

    @property
    def measured(self) -> float:
        """Seconds for which the speed is measured at least."""
        return min(_MEASURED, self.minutes * 60 * _SHARE)

    def fits(self, per_second: float, done: int = 0) -> int:
        """How many evaluations fit into the time at this process's speed, with those done."""
        left = self.left
        others = (self.workers - 1) * _OTHERS * max(0.0, left - self.loading)
        return done + int(per_second * max(0.0, left + others))

    def trial(self, sampler: Sampler, inputs: Inputs) -> float:
        """Evaluations per second on noise that nothing counts."""
        config = BatchConfig(sampler.classifier, sampler.batch_size)
        return speed(config, inputs.item(0), sampler.settings.noise, self.measured)

    def selecting(self, pace: Pace, total: int) -> Callable[[int], None]:
        """Count with `pace`, and raise InvalidInput once the draws clearly do not fit."""

        def count(evaluations: int) -> None:
            pace(evaluations)
            left = self.left
            slow = pace.seconds > self.measured and pace.done + 2 * pace.speed * left < total
            if left <= 0 or slow:
                self.require(pace.done + pace.speed * left, total, "selection draws of all inputs")

        return count

    def require(self, fit: float, needed: int, what: str) -> None:
        """Raise InvalidInput unless more evaluations fit than a plan needs beforehand."""
        if fit <= needed:
            raise InvalidInput(
                f"About {max(0, round(fit)):,} evaluations fit into {self.minutes:g} minutes here, "
                f"but the {what}, from which the plan is made, alone take {needed:,}. Allow more "
                "minutes, or take fewer inputs."
            )
