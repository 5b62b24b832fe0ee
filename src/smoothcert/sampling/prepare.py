"""Prepare a classifier for a certification: memory layout, batch size and probe.

The same for values and for runs, so what fits into memory in one also fits in the other.
"""

from dataclasses import dataclass

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Item
from smoothcert.sampling import memory
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.probe import Probe, probe
from smoothcert.sampling.sampler import Sampler
from smoothcert.sampling.tuning import BatchConfig, autotuned, first_size
from smoothcert.scalars import rows


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared classifier.

    Attributes:
        classifier: in the memory layout that is fastest where the certification is long.
        batch_size: rows per forward pass.
        probe: what the probe found at that size.
        speed: evaluations per second, 0 if not measured.
        too_large: batch sizes that did not fit into memory.
    """

    classifier: Classifier
    batch_size: int
    probe: Probe
    speed: float = 0.0
    too_large: tuple[int, ...] = ()

    def sampler(self, settings: Settings, progress: Progress | None = None) -> Sampler:
        """Labels under the noise of these settings."""
        return Sampler(self.classifier, settings, self.probe.num_classes, self.batch_size, progress)


def prepare(
    classifier: Classifier,
    item: Item,
    settings: Settings,
    evaluations: int,
    batch_size: int | None = None,
) -> Prepared:
    """Choose layout and batch size, and probe the classifier.

    Args:
        classifier: the loaded classifier.
        item: the first input.
        settings: of the certification from scratch.
        evaluations: about how many it will take.
        batch_size: rows per forward pass; None to choose what fits into memory and, if the
            certification is long, what is fastest.

    Raises:
        ModelError: it is not a usable classifier (see `probe`), or no batch size, or not the
            requested one, fits into memory.
        InvalidInput: a batch size below 1.
    """
    noise, seed, batch_size = settings.noise, settings.seed, rows(batch_size)
    asked = batch_size or classifier.fixed_batch
    found, size, too_large = memory.fitting(
        lambda some: probe(classifier, item, noise, seed, some),
        asked or first_size(classifier, item.pixels.shape),
        free=not asked,
    )
    run = BatchConfig(classifier, size)
    if batch_size is None:
        run = autotuned(run, item, noise, evaluations)
    if run.classifier is not classifier or run.batch_size != size:
        found = probe(run.classifier, item, noise, seed, run.batch_size)
    return Prepared(run.classifier, run.batch_size, found, run.speed, too_large)
