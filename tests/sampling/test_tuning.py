"""The search before a long run: it takes the faster arrangement, and only where it pays."""

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest

from smoothcert.data.inputs import Item
from smoothcert.errors import ModelError
from smoothcert.noise.law import RoundedGaussian
from smoothcert.sampling import tuning
from smoothcert.sampling.tuning import BatchConfig, in_layout, layout_of

LAW = RoundedGaussian(0.5, 1 / 16)
ITEM = Item(0, np.zeros((3, 32, 32), np.int32))
LONG = 10**9


def autotuned(classifier, evaluations=LONG, size=256):
    return tuning.autotuned(BatchConfig(classifier, size), ITEM, LAW, evaluations)


@dataclass(frozen=True)
class Clock:
    """A classifier whose forward pass takes a known time."""

    per_row: float = 0.0
    per_batch: float = 0.0
    slow_above: int = 10**9
    layout: str = ""
    fixed_batch: int | None = None
    name: str = "clock"
    fingerprint: str = "clock"
    device: str = "cpu"

    def layouts(self):
        return [self]

    def logits(self, images):
        slow = 4 if len(images) > self.slow_above else 1
        time.sleep(self.per_batch + slow * self.per_row * len(images))
        return images.reshape(len(images), -1)[:, :4]


@dataclass(frozen=True)
class Two(Clock):
    """One with a second layout, faster or refused."""

    other: Clock | None = None

    def layouts(self):
        return [self, self.other]


@pytest.fixture(autouse=True)
def _short_trials(monkeypatch):
    monkeypatch.setattr(tuning, "_TRIAL", 0.1)


def test_short_runs_take_the_default_without_a_trial():
    class Untouched(Clock):
        def logits(self, images):
            raise AssertionError("a trial")

    found = autotuned(Untouched(), 10_000)
    assert found.batch_size == 256


def test_a_run_of_seconds_is_not_searched():
    """60,000 evaluations of a classifier that takes no time."""
    slow_when_large = Clock(slow_above=64)
    assert autotuned(slow_when_large, 60_000).batch_size == 256


@pytest.mark.slow
def test_a_long_run_takes_the_faster_batch():
    small_is_fast = Clock(per_row=2e-4, slow_above=64)
    assert autotuned(small_is_fast).batch_size <= 64
    large_is_fast = Clock(per_batch=0.02)
    assert autotuned(large_is_fast).batch_size == 256


@pytest.mark.slow
def test_a_long_run_takes_the_faster_layout():
    fast = Clock(per_row=2e-5, layout="fast")
    found = autotuned(Two(per_row=2e-4, other=fast))
    assert layout_of(found.classifier) == "fast"
    slow = Clock(per_row=1e-3, layout="slow")
    found = autotuned(Two(per_row=2e-4, other=slow))
    assert layout_of(found.classifier) == ""


@pytest.mark.slow
def test_a_layout_that_fails_is_passed_over():
    @dataclass(frozen=True)
    class Refusing(Clock):
        def logits(self, images):
            raise ModelError("not in this layout")

    found = autotuned(Two(per_row=1e-4, other=Refusing(layout="bad")))
    assert layout_of(found.classifier) == ""


def test_a_fixed_batch_stays():
    found = autotuned(Clock(per_row=1e-4, slow_above=8, fixed_batch=32), size=32)
    assert found.batch_size == 32


def test_a_recorded_layout_is_taken_again():
    other = Clock(layout="fast")
    both = Two(other=other)
    assert in_layout(both, "fast") is other
    assert in_layout(both, "") is both
    with pytest.raises(ModelError, match="cannot run in the memory layout 'fast'"):
        in_layout(Clock(), "fast")


def test_channels_last_gives_the_same_classes():
    torch = pytest.importorskip("torch")
    from smoothcert import zoo
    from smoothcert.classifiers.pytorch import TorchClassifier

    torch.manual_seed(0)
    original = TorchClassifier.of(zoo.build("cifar_resnet8", 3, 10), "net")
    first, last = original.layouts()
    assert first is original
    assert (last.layout, last.fingerprint) == ("channels-last", original.fingerprint)
    images = np.random.default_rng(0).random((16, 3, 32, 32), dtype=np.float32)
    a, b = original.logits(images), last.logits(images)
    assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()
    seen = []
    module = last.module
    hook = module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].stride()))
    last.logits(images)
    hook.remove()
    assert seen[0][1] == 1  # neighbouring channels
    linear = TorchClassifier.of(torch.nn.Linear(3, 2), "linear")
    assert linear.layouts() == [linear]
    assert replace(linear, layout="").layout == ""


def test_first_sizes(monkeypatch):
    from smoothcert.sampling import batch_size as device_memory

    monkeypatch.setattr(device_memory, "fitting_batch", lambda classifier, shape: 2048)
    assert tuning.first_size(Clock(), (3, 32, 32)) == 256
    assert tuning.first_size(Clock(device="cuda"), (3, 32, 32)) == 2048
    assert tuning.first_size(Clock(device="cuda", fixed_batch=5), (3, 32, 32)) == 5


def test_a_slow_first_batch_does_not_count(monkeypatch):
    """It compiles and loads; by a clock of our own it takes a minute, and the others a second."""
    now = [0.0]

    class First(Clock):
        def logits(self, images):
            now[0] += 1.0 if now[0] else 60.0
            return images.reshape(len(images), -1)[:, :4]

    monkeypatch.setattr(tuning, "_TRIAL", 10.0)
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: now[0])
    found = tuning.speed(BatchConfig(First(), 256), ITEM, LAW)
    assert (
        200 <= found <= 320
    )  # batches are made ahead of the clock, so one more or less is counted
