"""Latency by a clock that only the models move, so that nothing here depends on a machine."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from smoothcert.compress import Latency, measure_latency
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput


class Clock:
    """Seconds that classifiers add to."""

    def __init__(self):
        self.now, self.lock = 0.0, threading.Lock()

    def __call__(self):
        return self.now

    def add(self, seconds):
        with self.lock:
            self.now += seconds


class Timed:
    """A classifier whose k-th batch takes as long as a function of k says."""

    name = fingerprint = "timed"
    device, fixed_batch = "cpu", None

    def __init__(self, clock, seconds, log=None):
        self.clock, self.seconds, self.log = clock, seconds, log if log is not None else []
        self.batches = []

    def logits(self, images):
        self.log.append(self)
        self.batches.append(images)
        self.clock.add(self.seconds(len(self.batches)))
        return np.zeros((len(images), 2))


def inputs(count=3):
    images = np.arange(count * 4).reshape(count, 1, 2, 2) / 16
    return Inputs.from_arrays(images, None, 1 / 16)


def test_seconds_per_row_are_the_median_after_a_warm_up():
    clock = Clock()
    slow = Timed(clock, lambda k: 50.0 if k < 3 else 0.2 + 0.04 * (k % 2))
    fast = Timed(clock, lambda k: 0.04)
    found = measure_latency([slow, fast], inputs(), batch_size=4, seconds=0.1, clock=clock)
    assert len(found[0].samples) == len(found[1].samples) == 9
    assert found[0].seconds == pytest.approx(0.24 / 4)
    assert found[0].spread == pytest.approx((0.2 / 4, 0.24 / 4))
    assert found[1].seconds == pytest.approx(0.01)
    assert {batch.shape for batch in slow.batches} == {(4, 1, 2, 2)}
    assert (slow.batches[0][3] == slow.batches[0][0]).all()  # filled up with the first
    assert (found[0].batch_size, found[0].threads) == (4, 1)
    assert "60 ms per row (half of 9 samples within 50 to 60; batches of 4" in found[0].describe()


def test_models_take_turns_so_that_a_drift_favours_none():
    """A machine that slows down all the time: medians agree, one after the other they would not."""
    clock, log = Clock(), []
    models = [Timed(clock, lambda k: 0.01 * (1 + clock.now), log) for _ in range(3)]
    found = measure_latency(models, inputs(1), seconds=0.1, clock=clock)
    order = log[6:]  # after two batches each to warm up
    assert len(order) == 27
    assert [models.index(m) for m in order[:9]] == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    apart = [measure_latency([m], inputs(1), seconds=0.1, clock=clock)[0].seconds for m in models]
    ratios = [max(some) / min(some) for some in ([f.seconds for f in found], apart)]
    assert ratios[0] < 1.03
    assert ratios[1] > 1.1


def test_a_sample_of_a_fast_model_is_of_many_batches():
    clock = Clock()
    model = Timed(clock, lambda k: 0.0004)
    (found,) = measure_latency([model], inputs(), seconds=0.1, clock=clock)
    assert found.seconds == pytest.approx(0.0004)
    warm_up = 1 + sum(2**power for power in range(5))
    assert (len(model.batches) - warm_up) % 16 == 0
    assert len(found.samples) * 16 == len(model.batches) - warm_up
    assert len(found.samples) == pytest.approx(0.1 / (16 * 0.0004), abs=1)


@dataclass(frozen=True, eq=False)
class Replicable:
    """Two workers, each of which waits for the other: one after the other would break."""

    clock: Clock
    threads: int = 2
    meeting: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=30))
    entered: list = field(default_factory=list)
    name = fingerprint = "replicable"
    device, fixed_batch = "cpu", None

    @contextmanager
    def workers(self):
        self.entered.append("in")
        yield [self] * self.threads
        self.entered.append("out")

    def logits(self, images):
        self.meeting.wait()
        self.clock.add(0.01)
        return np.zeros((len(images), 2))


def test_several_batches_at_once_share_the_time():
    clock = Clock()
    model = Replicable(clock)
    (found,) = measure_latency([model], inputs(), threads=2, seconds=0.1, clock=clock)
    assert found.threads == 2
    assert found.seconds == pytest.approx(0.01)  # 0.02 on the shared clock for two rows
    assert model.entered == ["in", "out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be positive; got 0"),
        ({"threads": -1}, "threads must be positive; got -1"),
        ({"seconds": 0}, "seconds must be positive; got 0"),
        ({"seconds": float("nan")}, "seconds"),
        ({"batch_size": 1.5}, "batch_size"),
    ],
)
def test_bad_numbers(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        measure_latency([Timed(Clock(), lambda k: 1.0)], inputs(), **arguments)


def test_nothing_to_measure():
    with pytest.raises(InvalidInput, match="give a model and an input at least"):
        measure_latency([], inputs())


def test_files_are_run_by_their_engines(residual):
    data = Inputs.from_arrays(np.zeros((2, 1, 8, 8)), None, 1 / 16)
    models = [residual / "net.onnx", residual / "net.safetensors"]
    for found in measure_latency(models, data, batch_size=3, threads=2, seconds=0.01):
        assert isinstance(found, Latency)
        assert (found.batch_size, found.threads) == (3, 2)
        assert len(found.samples) >= 9
        assert all(some > 0 for some in found.samples)
        assert found.spread[0] <= found.seconds <= found.spread[1]
