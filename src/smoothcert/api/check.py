"""A model on its data, before anything is certified: what it predicts, how steadily, how fast."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.api import sanity
from smoothcert.api.sanity import Look
from smoothcert.certificate import Settings
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.given import as_inputs
from smoothcert.data.inputs import Inputs
from smoothcert.sampling.prepare import prepare
from smoothcert.sampling.tuning import BatchConfig, speed

_CLEAN, _NOISY, _COPIES = 500, 100, 10  # inputs at most, and noisy copies of each
_MOST_VALUES = 2**26  # of all these together: a quarter of a gigabyte


@dataclass(frozen=True, eq=False)
class Check:
    """What was found.

    Attributes:
        name, fingerprint, device: of the classifier.
        look: its predictions.
        row_exact: whether an input's scores are the same bits wherever it is in a batch.
        fixed_batch: the only batch size that the model takes, or None.
        batch_size: rows per forward pass here.
        speed: evaluations per second, noise included.
        hints: what looks wrong.
    """

    name: str
    fingerprint: str
    device: str
    look: Look = field(repr=False)
    row_exact: bool
    fixed_batch: int | None
    batch_size: int
    speed: float
    hints: tuple[str, ...]

    @property
    def right(self) -> tuple[int, int] | None:
        """Inputs predicted right without noise, and inputs with a label; None if none has one."""
        known = self.look.known
        hits = int((self.look.clean == self.look.truth)[known].sum())
        return (hits, int(known.sum())) if known.any() else None

    @property
    def right_noisy(self) -> tuple[int, int] | None:
        """The same of noisy copies."""
        rows = self.look.rows[self.look.known[self.look.rows]]
        copies = self.look.noisy[self.look.known[self.look.rows]]
        hits = int((copies == self.look.truth[rows][:, None]).sum())
        return (hits, copies.size) if copies.size else None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """How many noisy copies get each class, shape (classes,)."""
        labels = self.look.noisy.ravel()
        return np.bincount(labels[labels >= 0], minlength=self.look.classes)

    def confused(self, most: int = 5) -> tuple[tuple[int, int, int, int], ...]:
        """True class, class predicted without noise, how often, of how many; the most first."""
        truth, clean = self.look.truth[self.look.known], self.look.clean[self.look.known]
        pairs, counts = np.unique(
            np.stack([truth, clean])[:, truth != clean], axis=1, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")[:most]
        rows = zip(*pairs[:, order].tolist(), counts[order].tolist(), strict=True)
        return tuple((k, p, count, int((truth == k).sum())) for k, p, count in rows)


def check(
    classifier: Classifier | object,
    inputs: Inputs | ArrayLike | str | Path | object,
    sigma: float,
    *,
    n0: int = 100,
    n: int = 100_000,
    batch_size: int | None = None,
) -> Check:
    """Evaluate a classifier on some of its inputs, before it is certified; nothing is written.

    Args:
        classifier: a `Classifier`, or anything `load_classifier` takes.
        inputs: as for `certify`; with labels it is also seen how often the classifier is right.
        sigma: noise standard deviation on the [0, 1] scale.
        n0: selection draws of the certification.
        n: estimation draws of the certification.
        batch_size: rows per forward pass; by default what fits and is fast.

    Returns:
        How often it is right with and without noise, how fast it is, and hints at what looks wrong.

    Raises:
        InvalidInput: a setting or the inputs are out of range.
        ModelError: not a usable classifier, or its rows depend on each other.

    Examples:
        >>> found = smoothcert.check("model.onnx", "images/", sigma=0.25)
        >>> right, copies = found.right_noisy
        >>> right > copies / 2, found.hints
        (True, ())
    """
    data = as_inputs(inputs)
    settings = Settings(sigma, data.levels, n0=n0, n=n, off_grid=data.off_grid)
    return examined(load_classifier(classifier), data, settings, batch_size)  # type: ignore[arg-type]


def examined(
    classifier: Classifier, inputs: Inputs, settings: Settings, batch_size: int | None = None
) -> Check:
    """Evaluate a classifier on some of its inputs, evenly spread, on draws that are never counted.

    Args:
        classifier: the classifier.
        inputs: what it would be certified on.
        settings: of that certification.
        batch_size: rows per forward pass; by default what fits and is fast.

    Raises:
        ModelError: not a usable classifier, or its rows depend on each other.
    """
    total = len(inputs) * (settings.n0 + settings.n)
    first = inputs.item(0)
    ready = prepare(classifier, first, settings, total, batch_size)
    used = BatchConfig(ready.classifier, ready.batch_size)
    part = min(1.0, _MOST_VALUES / (math.prod(inputs.shape) * (_CLEAN + _NOISY * _COPIES)))
    clean, noisy = (max(1, int(part * count)) for count in (_CLEAN, _NOISY))
    found = sanity.look_at(classifier, inputs, settings, clean, noisy, _COPIES)
    wrong, _ = sanity.said(found, settings.sigma)
    hints = (
        *sanity.of_pair(classifier, inputs, settings.sigma),
        *sanity.of_count(inputs, found.classes),
        *wrong,
    )
    return Check(
        classifier.name,
        classifier.fingerprint,
        classifier.device,
        found,
        ready.probe.row_exact,
        classifier.fixed_batch,
        ready.batch_size,
        ready.speed or speed(used, first, settings.noise),
        (*sanity.of_settings(settings), *hints),
    )
