"""How fast work goes and how long the rest will take, from counts that arrive at intervals."""

from bisect import bisect_right
from itertools import pairwise
from threading import Lock

SHORTEST, LONGEST = 4.5, 29.5
"""Seconds between two lines of a log: a little less than is promised, five and thirty, since
somebody must ask in time."""


class Eta:
    """The speed of work of known size, updated as it gets done.

    The speed is that of the later half of what is done: a slow start (loading,
    compiling, a cold cache) is soon forgotten, and the window grows with the work, so that no
    burst of a worker's counts moves it much. Where more than half of that time is a single wait,
    such as for compiling, the speed is not known. Between two counts the estimate counts down, for
    as long as counts were apart before.

    Where speed stays within 10 % after the start, the estimate is within 20 % (and a hundredth of
    the whole) of what it will take from the first tenth on; tests/cli/test_eta.py.
    """

    def __init__(self, total: int, start: float) -> None:
        """Begin.

        Args:
            total: how much there is to do now; for a resumed run, what is left.
            start: the clock's seconds.
        """
        self.total: int = total
        self.done: int = 0
        self._last, self._gap = start, 0.0
        self._times: list[float] = [start]
        self._counts: list[int] = [0]

    def update(self, count: int, now: float) -> None:
        """Add to what is done."""
        self._gap = max(self._gap, now - self._last) if self.done else 0.0
        self.done, self._last = self.done + count, now
        # Enough points for a window to begin at, however often counts arrive.
        if self.done - self._counts[-1] >= self.total / 1000:
            self._times.append(now)
            self._counts.append(self.done)

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 1.0

    def speed(self, now: float) -> float:
        """Per second, in the later half of what is done; 0 while it is not known."""
        # Back to the start where the window would hold a single step.
        begin = bisect_right(self._counts, self.done / 2) - 1
        begin = max(0, min(begin, len(self._counts) - 3))
        times = [*self._times[begin:], self._last, now]
        seconds = self._last - times[0]
        if not seconds or max(b - a for a, b in pairwise(times)) > (now - times[0]) / 2:
            return 0.0
        return (self.done - self._counts[begin]) / seconds

    def seconds_left(self, now: float) -> float | None:
        """Seconds until all is done; None while it is not known."""
        if not (speed := self.speed(now)):
            return None
        waited = min(now - self._last, self._gap)
        return max(0.0, (self.total - self.done) / speed - waited)


class Milestones:
    """When a log gets a line: before five seconds are over, then at every tenth, but not twice in
    five seconds, and at least every half minute."""

    def __init__(self, start: float) -> None:
        """Begin; shorter work than the first line takes is silent."""
        self._time, self._share, self._written = start, 0.0, False

    def reached(self, share: float, now: float) -> bool:
        """Whether it is time for another line, which is then noted as written."""
        since, tenths = now - self._time, int(share * 10 + 1e-9) - int(self._share * 10 + 1e-9)
        if since < SHORTEST or (self._written and not tenths and since < LONGEST):
            return False
        self._time, self._share, self._written = now, share, True
        return True


class Log:
    """The lines that a log gets about work of known size, by whoever asks often enough.

    The lines follow from the time, not from the counts: a batch, or a worker's block, may take
    longer than a reader waits.
    """

    def __init__(self, title: str, total: int, start: float) -> None:
        """Begin; `total` and `start` as for `Eta`."""
        self._title, self._start = title, start
        self._eta, self._due = Eta(total, start), Milestones(start)
        self._lock = Lock()  # counts come from one thread, questions from another

    def update(self, count: int, now: float) -> None:
        """Add to what is done."""
        with self._lock:
            self._eta.update(count, now)

    def line(self, now: float) -> str:
        """The line that is due now; empty if none is."""
        with self._lock:
            if not self._due.reached(self._eta.share, now):
                return ""
            return f"{self._title}: {self._state(now)}"

    def _state(self, now: float) -> str:
        gone, left = now - self._start, self._eta.seconds_left(now)
        done = f"{min(self._eta.done, self._eta.total):,} of {self._eta.total:,}"
        if left is None:
            part = f"{self._eta.share:.0%}, {done}"
            return f"{part} after {duration(gone)}; the time left is not known yet"
        return (
            f"{self._eta.share:.0%}, {done}, about {self._eta.speed(now):,.0f}/s, "
            f"{duration(left)} left of about {duration(gone + left)}"
        )


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"
