"""The time that is left, by a clock of our own: right within 20 % after the first tenth."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from smoothcert.cli.eta import Eta, Log, Milestones, duration

TOTAL = 100_000


def steady(step: int = 256, speed: float = 1000.0) -> Iterator[tuple[float, int]]:
    """(time, count) of batches."""
    done = 0
    while done < TOTAL:
        count = min(step, TOTAL - done)
        done += count
        yield done / speed, count


def blocks(workers: int, size: int = 1000) -> Iterator[tuple[float, int]]:
    """Workers that each report a block when it is done, not all at the same moment."""
    each, count = workers * size / 1000.0, TOTAL // size
    ends = (
        (number + 1 + worker / workers) * each
        for worker in range(workers)
        for number in range(count)
    )
    return ((end, size) for end in sorted(ends)[:count])


def late(seconds: float) -> Iterator[tuple[float, int]]:
    """Nothing for a while (compiling), then steady."""
    return ((seconds + time, count) for time, count in steady())


def warming() -> Iterator[tuple[float, int]]:
    """The first 3 % at a fifth of the speed."""
    time = 0.0
    done = 0
    for _, count in steady():
        done += count
        time += count / (200.0 if done < 0.03 * TOTAL else 1000.0)
        yield time, count


def slowing() -> Iterator[tuple[float, int]]:
    """By 10 % from the first batch to the last."""
    time, done = 0.0, 0
    for _, count in steady():
        done += count
        time += count / (1000.0 * (1 - 0.1 * done / TOTAL))
        yield time, count


def wavering() -> Iterator[tuple[float, int]]:
    """Batches that take between half and one and a half of the usual time."""
    time = 0.0
    for number, (_, count) in enumerate(steady()):
        time += count / 1000.0 * (0.5 + number * 0.618 % 1)
        yield time, count


def worst(stream: Iterator[tuple[float, int]], skip: float = 0.1) -> float:
    """The largest error after the first tenth, in units of what is allowed, at any moment."""
    counts = list(stream)
    end = counts[-1][0]
    eta, errors = Eta(TOTAL, 0.0), []
    for (time, count), (after, _) in pairwise(counts):
        eta.update(count, time)
        if after == time:  # no moment between two
            continue
        for now in (time, (time + after) / 2, after - 1e-9):
            if eta.share >= skip:
                left = eta.seconds_left(now)
                assert left is not None
                errors.append(abs(left - (end - now)) / (0.2 * (end - now) + 0.01 * end))
    assert len(errors) > 200
    return max(errors)


@pytest.mark.parametrize(
    "stream",
    [
        steady(),
        steady(step=10),
        blocks(1),
        blocks(2),
        blocks(4, size=250),
        late(300.0),
        warming(),
        slowing(),
        wavering(),
    ],
    ids=["steady", "rows", "blocks", "two", "four", "late", "warming", "slowing", "wavering"],
)
def test_within_a_fifth_at_every_moment(stream):
    assert worst(stream) <= 1


def test_the_check_sees_a_wrong_estimate():
    """The control: work that becomes three times as slow halfway could not be foreseen."""
    counts = list(steady())
    half = counts[len(counts) // 2][0]
    assert worst((t if t < half else half + 3 * (t - half), c) for t, c in counts) > 1


def test_before_anything_is_known_and_after_all_is_done():
    eta = Eta(1000, 50.0)
    assert eta.seconds_left(60.0) is None
    eta.update(100, 60.0)
    assert eta.seconds_left(60.0) is None  # it may have been loading until 59.9
    eta.update(100, 70.0)
    assert eta.seconds_left(70.0) == pytest.approx(80.0)  # 100 in 10 seconds, twice
    eta.update(800, 80.0)
    assert (eta.seconds_left(80.0), eta.share) == (0.0, 1.0)
    nothing = Eta(0, 0.0)
    assert (nothing.seconds_left(1.0), nothing.share) == (None, 1.0)
    more = Eta(100, 0.0)  # a total is an upper bound at times, and an estimate at others
    more.update(50, 1.0)
    more.update(70, 2.0)
    assert (more.seconds_left(2.0), more.share) == (0.0, 1.0)


def test_a_worker_that_hangs_does_not_count_down_to_nothing():
    eta = Eta(1000, 0.0)
    for second in range(1, 51):
        eta.update(10, float(second))
    assert eta.seconds_left(50.0) == pytest.approx(50.0)
    assert eta.seconds_left(50.5) == pytest.approx(49.5)
    assert eta.seconds_left(60.0) == pytest.approx(49.0)
    assert eta.seconds_left(90.0) is None


def test_a_long_wait_after_the_first_counts_is_not_taken_for_the_speed():
    """A short run in a fresh installation: evaluate a block, compile for 8 s, then go on."""
    eta, end, time, wait = Eta(100_000, 0.0), 12.0, 1.2, 8.0
    while eta.done < 100_000:
        eta.update(250, time)
        time += wait if eta.done == 7750 else 0.007
        for now in (time - 0.007, time - 1e-9):
            left = eta.seconds_left(now)
            assert left is None or abs(left - (end - now)) < (8.5 if eta.done < 7750 else 0.6)
    assert time == pytest.approx(end, abs=0.1)
    assert left is not None  # it is said again after the wait


def test_memory_does_not_grow_with_the_counts():
    eta = Eta(10**6, 0.0)
    for number in range(20_000):
        eta.update(50, number * 0.01)
    assert len(eta._times) <= 1001


def seconds(until: int, look: float = 0.25) -> list[float]:
    """When a log is asked whether it is due a line."""
    return [step * look for step in range(round(until / look) + 1)]


def lines_at(length: int, until: int | None = None) -> list[float]:
    """When steady work of this length gets its lines."""
    milestones = Milestones(0.0)
    return [t for t in seconds(until or length) if milestones.reached(t / length, t)]


@pytest.mark.parametrize("length", [6, 20, 60, 600, 3600, 86_400])
def test_a_line_within_five_seconds_then_at_least_every_thirty(length):
    found = [0.0, *lines_at(length)]
    assert 0 < found[1] < 5
    assert all(4.5 <= after - before < 30 for before, after in pairwise(found))
    assert length - found[-1] < 30


def test_lines_are_few():
    assert not lines_at(1, until=4)
    assert lines_at(20) == [4.5, 9.0, 13.5, 18.0]  # each tenth takes two seconds
    assert lines_at(100)[:4] == [4.5, 10.0, 20.0, 30.0]  # at every tenth
    assert len(lines_at(3600)) <= 3600 / 29 + 10


def log_of(total: int, counts: dict[float, int], until: int) -> dict[float, str]:
    """The lines of a log by a clock of our own, with these counts at these times."""
    log, found = Log("Certifying", total, 0.0), {}
    for now in seconds(until):
        if now in counts:
            log.update(counts[now], now)
        if line := log.line(now):
            found[now] = line
    return found


def test_a_log_says_what_is_done_how_fast_and_how_long():
    found = log_of(100_000, {float(second): 1000 for second in range(1, 101)}, 100)
    first = "Certifying: 4%, 4,000 of 100,000, about 1,000/s, 1 min 36 s left of about 1 min 40 s"
    assert found[4.5] == first
    assert found[30.0].startswith("Certifying: 30%, 30,000 of 100,000, about 1,000/s, 1 min 10 s")


def test_a_log_without_counts_says_that_nothing_is_known():
    """A batch of a minute, which counts only when it is done."""
    found = log_of(4000, {60.0: 1000, 120.0: 1000, 180.0: 1000}, 200)
    assert list(found)[:3] == [4.5, 34.0, 60.0]
    nothing = "Certifying: 0%, 0 of 4,000 after 34 s; the time left is not known yet"
    assert found[34.0] == nothing
    assert "25%, 1,000 of 4,000 after 1 min 00 s; the time left is not" in found[60.0]
    second = next(found[now] for now in found if now >= 120)
    assert second.endswith("about 17/s, 1 min 56 s left of about 4 min 00 s")
    assert all(after - before < 30 for before, after in pairwise(found))


def test_the_times_of_a_log_add_up():
    """What is left and what is gone is the whole; of a worker that stalls nothing is known."""
    found = log_of(1000, {1.0: 10, 2.0: 10, 3.0: 10}, 120)
    assert found[4.5].endswith("1 min 36 s left of about 1 min 40 s")
    assert found[34.0].endswith("30 of 1,000 after 34 s; the time left is not known yet")


def test_durations():
    shown = [duration(s) for s in (0.4, 59.6, 200, 3599.6, 7500, 100_000)]
    assert shown == ["0 s", "1 min 00 s", "3 min 20 s", "1 h 00 min", "2 h 05 min", "1 d 03 h"]
