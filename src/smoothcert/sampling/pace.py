"""How fast a classifier is evaluated, from the counts of a sampler as they arrive."""

import time
from bisect import bisect_right
from collections.abc import Callable

from smoothcert.sampling.engine import Progress

_WARM_UP = 0.1  # of what is done: threads start, code is compiled, caches fill


class Pace:
    """Passes counts of evaluations on, and measures their speed without the first tenth."""

    def __init__(
        self, progress: Progress | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin now; `clock` gives seconds."""
        self._progress, self._clock = progress, clock
        self._times, self._counts = [clock()], [0]

    def __call__(self, evaluations: int) -> None:
        """Count evaluations that were just finished."""
        self._counts.append(self.done + evaluations)
        self._times.append(self._clock())
        if self._progress is not None:
            self._progress(evaluations)

    @property
    def done(self) -> int:
        """Evaluations in all."""
        return self._counts[-1]

    @property
    def seconds(self) -> float:
        """From the beginning to the last count."""
        return self._times[-1] - self._times[0]

    @property
    def speed(self) -> float:
        """Evaluations per second after the warm-up; 0 while it is not known."""
        begin = bisect_right(self._counts, self.done * _WARM_UP)
        begin = begin if 0 < begin < len(self._counts) - 1 else 0
        seconds = self._times[-1] - self._times[begin]
        return (self.done - self._counts[begin]) / seconds if seconds > 0 else 0.0
