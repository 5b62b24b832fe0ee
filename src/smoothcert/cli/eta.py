"""How fast work goes and how long the rest will take, from counts that arrive at intervals."""

from bisect import bisect_right


class Eta:
    """The speed of work of known size, updated as it gets done.

    The speed is that of the later half of what is done: a slow start (loading,
    compiling, a cold cache) is soon forgotten, and the window grows with the work, so that no
    burst of a worker's counts moves it much. Between two counts the estimate counts down, for as
    long as counts were apart before.

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
        self._start = self._last = start
        self._gap = 0.0
        self._times: list[float] = []
        self._counts: list[int] = []

    def update(self, count: int, now: float) -> None:
        """Add to what is done."""
        self._gap = max(self._gap, now - self._last) if self._times else 0.0
        self.done, self._last = self.done + count, now
        # Enough points for a window to begin at, however often counts arrive.
        if not self._counts or self.done - self._counts[-1] >= self.total / 1000:
            self._times.append(now)
            self._counts.append(self.done)

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def speed(self) -> float:
        """Per second, in the later half of what is done; 0 while it is not known."""
        if not self._times:
            return 0.0
        begin = max(0, bisect_right(self._counts, self.done / 2) - 1)
        seconds = self._last - self._times[begin]
        if seconds > 0:
            return (self.done - self._counts[begin]) / seconds
        return self.done / (self._last - self._start) if self._last > self._start else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Seconds until all is done; None while it is not known."""
        if not self.speed:
            return None
        waited = min(now - self._last, self._gap)
        return max(0.0, (self.total - self.done) / self.speed - waited)


class Milestones:
    """When a log gets a line: every tenth or ten minutes, but not twice in half a minute."""

    def __init__(self, start: float) -> None:
        """Begin; the first half minute gets none, so short work is silent."""
        self._time, self._share = start, 0.0

    def reached(self, share: float, now: float) -> bool:
        """Whether it is time for another line, which is then noted as written."""
        since = now - self._time
        if since < 30 or (share - self._share < 0.0999 and since < 600):
            return False
        self._time, self._share = now, share
        return True


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
