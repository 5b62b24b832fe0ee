"""Accuracy before and after a compression, on a few held-out inputs."""

from dataclasses import replace

import numpy as np

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.compress.calibration import with_noise
from smoothcert.compress.record import Accuracy, Change
from smoothcert.errors import InvalidInput
from smoothcert.sampling.answers import labels_of
from smoothcert.sampling.engine import default_batch_size
from smoothcert.sampling.inputs import Inputs, to_float
from smoothcert.sampling.noise import RoundedGaussian

_INPUTS = 512


def with_accuracy(change: Change, model: str, held_out: Inputs, sigma: float, seed: int) -> Change:
    """The change with the accuracies of the original and the file written."""
    return replace(
        change,
        accuracy_before=accuracy(load_classifier(model), held_out, sigma, seed),
        accuracy_after=accuracy(
            load_classifier(change.path), held_out, sigma, seed, alone=change.batch_dependent
        ),
    )


def accuracy(
    classifier: Classifier,
    held_out: Inputs,
    sigma: float,
    seed: int = 0,
    *,
    alone: bool = False,
) -> Accuracy:
    """Classify at most 512 inputs, evenly spread, as they are and under one draw each.

    Args:
        classifier: what to measure.
        held_out: labelled inputs.
        sigma: the noise, of the package's own law.
        seed: of the noise.
        alone: one input at a time, for a classifier whose rows depend on each other.

    Raises:
        InvalidInput: the inputs have no labels.
    """
    if held_out.labels is None:
        raise InvalidInput(f"{held_out.name} has no labels; accuracy needs them.")
    positions = range(0, len(held_out), -(-len(held_out) // _INPUTS))
    noise = RoundedGaussian(sigma, 1 / held_out.levels)
    size = 1 if alone else classifier.fixed_batch or default_batch_size(held_out.shape)
    right = np.zeros(2, dtype=np.int64)
    for start in range(0, len(positions), size):
        rows = [*positions[start : start + size]]
        labels = np.array([held_out.labels[row] for row in rows])
        items = [held_out.item(row) for row in rows]
        clean = np.stack([item.pixels for item in items])
        for number, pixels in enumerate((clean, with_noise(items, noise, seed))):
            full = np.resize(pixels, (size, *held_out.shape))  # a fixed batch is filled up
            found = labels_of(classifier.logits(to_float(full, held_out.levels)))
            right[number] += int((found[: len(rows)] == labels).sum())
    clean_share, noisy_share = (right / len(positions)).tolist()
    return Accuracy(clean_share, noisy_share, sigma, len(positions))
