"""A time limit: a signal that comes at a known time, and does not wait for a block to end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from smoothcert.errors import InvalidInput
from smoothcert.sampling.engine import Progress

_MOST = 1e6  # minutes, about two years


class TimeIsUp(KeyboardInterrupt):
    """The minutes that a command was given are over.

    A KeyboardInterrupt, so that whatever lets Ctrl-C through lets it through.
    """


@dataclass(frozen=True)
class TimeLimit:
    """When to stop.

    Attributes:
        minutes: from the start of sampling.
        clock: gives seconds.
        started: when sampling began, on the clock.
    """

    minutes: float
    clock: Callable[[], float] = time.monotonic
    started: float = field(default=-1.0)

    def __post_init__(self) -> None:
        """Refuse no time at all, and begin now."""
        if not 0 < self.minutes <= _MOST:
            raise InvalidInput(f"--minutes must be above 0 and at most 10^6; got {self.minutes:g}")
        if self.started < 0:
            object.__setattr__(self, "started", self.clock())

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.started + 60 * self.minutes - self.clock()

    @property
    def over(self) -> bool:
        """Whether it is time to stop."""
        return self.left <= 0

    def watched(self, progress: Progress) -> Progress:
        """The same callback, which raises TimeIsUp once the time is over.

        It is called after every batch, and for other processes a few times a second.
        """

        def report(evaluations: int) -> None:
            progress(evaluations)
            if self.over:
                raise TimeIsUp

        return report
