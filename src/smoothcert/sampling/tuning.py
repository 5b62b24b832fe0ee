"""Find the fastest memory layout and batch size on this machine, before a long run.

Both may change the last bit of a logit, so they are chosen once, recorded, and kept for the run.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from smoothcert.classifiers.protocol import Classifier, HasMemoryLayouts
from smoothcert.data.inputs import Item
from smoothcert.errors import ModelError
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import default_batch_size, sample

_FEW = 50_000  # evaluations that are over before a search pays off
_LONG = 120.0  # seconds from which a search of some seconds pays off
_TRIAL = 0.3  # seconds for each arrangement, in each round
_ROUNDS = 2  # other work on the machine only slows a trial down, so the best one counts
_BETTER = 1.05  # times the default's speed, or chance would choose


@dataclass(frozen=True)
class BatchConfig:
    """A classifier in a memory layout, and its batch size.

    Attributes:
        classifier: the classifier in that layout.
        batch_size: rows per forward pass.
        speed: evaluations per second, 0 if not measured.
    """

    classifier: Classifier
    batch_size: int
    speed: float = 0.0


def first_size(classifier: Classifier, shape: tuple[int, ...]) -> int:
    """The rows of a short run's batches: by the input's size on a CPU, by memory on a GPU.

    Never more than the classifier takes, by its `batches` if it has such limits.

    Raises:
        OutOfMemory: not even a single row fits on the device.
    """
    if classifier.fixed_batch:
        return classifier.fixed_batch
    limits = getattr(classifier, "batches", None)
    if classifier.device == "cpu":
        found = default_batch_size(shape)
    else:
        from smoothcert.sampling.batch_size import fitting_batch

        found = fitting_batch(classifier, shape)  # type: ignore[arg-type]
    return min(found, limits[-1]) if limits else found


def autotuned(
    default: BatchConfig, item: Item, noise: RoundedGaussian, evaluations: int
) -> BatchConfig:
    """The configuration for a run: the default, or the fastest if the run is long.

    Args:
        default: that of a short run; larger batches are not tried, nor other sizes if the
            classifier has a fixed one.
        item: an input to try it on.
        noise: the run's noise law.
        evaluations: about how many the run will take.
    """
    if evaluations < _FEW:
        return default
    default = replace(default, speed=speed(default, item, noise))
    if default.speed * _LONG > evaluations:
        return default
    candidates = [default, *_candidates(default)]
    for _ in range(_ROUNDS):
        candidates = [replace(c, speed=max(c.speed, speed(c, item, noise))) for c in candidates]
    fastest = max(candidates, key=lambda candidate: candidate.speed)
    return candidates[0] if fastest.speed < _BETTER * candidates[0].speed else fastest


def _candidates(default: BatchConfig) -> Iterator[BatchConfig]:
    """Other layouts and smaller batches, without the default."""
    classifier, size = default.classifier, default.batch_size
    parts = (1, 2, 4, 8) if classifier.device == "cpu" else (1, 4)  # each compiles its noise there
    if classifier.fixed_batch or getattr(classifier, "mode", "eager") != "eager":
        parts = (1,)  # each would compile the network
    sizes = [size // part or 1 for part in parts]
    layouts = classifier.layouts() if isinstance(classifier, HasMemoryLayouts) else [classifier]
    for layout in layouts:
        for some in sizes:
            if layout is not classifier or some != size:
                yield BatchConfig(layout, some)


def speed(
    arrangement: BatchConfig, item: Item, noise: RoundedGaussian, seconds: float = _TRIAL
) -> float:
    """Evaluations per second of the engine itself, after a warm-up; 0 if it fails."""
    size = arrangement.batch_size

    def requests(seconds: float) -> Iterator[Request]:
        start = time.perf_counter()
        yield Request(item, Stream.PROBE, range(size))  # at least one, also of the warm-up
        while time.perf_counter() - start < seconds:
            yield Request(item, Stream.PROBE, range(size))

    def run(seconds: float) -> int:
        labels = sample(arrangement.classifier, requests(seconds), noise, 0, size)
        return sum(len(some) for some in labels)

    try:
        run(0.0)
        start = time.perf_counter()
        return run(seconds) / (time.perf_counter() - start)
    except ModelError:  # some graphs only take the layout they were exported with
        return 0.0


def layout_of(classifier: Classifier) -> str:
    """The name of its memory layout; empty for the model's own."""
    return classifier.layout if isinstance(classifier, HasMemoryLayouts) else ""


def in_layout(classifier: Classifier, layout: str) -> Classifier:
    """The classifier in a layout that a run recorded.

    Raises:
        ModelError: it has no such layout.
    """
    if layout == layout_of(classifier):
        return classifier
    for candidate in classifier.layouts() if isinstance(classifier, HasMemoryLayouts) else []:
        if layout_of(candidate) == layout:
            return candidate
    raise ModelError(
        f"{classifier.name} cannot run in the memory layout {layout!r} of the recorded run. "
        "Give the model that the run was made with."
    )
