"""Accuracy before and after a compression, on a few held-out inputs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.protocol import Classifier
from smoothcert.compress.record import Accuracy, CompressionReport
from smoothcert.data.inputs import Inputs, to_float
from smoothcert.errors import InvalidInput
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling.answers import labels_of
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample
from smoothcert.sampling.tuning import first_size

_INPUTS = 512


def with_accuracy(
    change: CompressionReport,
    original: Classifier,
    written: Classifier,
    held_out: Inputs,
    sigma: float,
    seed: int,
) -> CompressionReport:
    """The report with the accuracies of the original and the written model."""
    alone = change.batch_dependent
    return replace(
        change,
        accuracy_before=accuracy(original, held_out, sigma, seed),
        accuracy_after=accuracy(written, held_out, sigma, seed, alone=alone),
    )


def accuracy(
    classifier: Classifier,
    held_out: Inputs,
    sigma: float,
    seed: int = 0,
    *,
    alone: bool = False,
) -> Accuracy:
    """Classify at most 512 inputs, evenly spread, without noise and under one draw each.

    Args:
        classifier: the classifier to measure.
        held_out: labelled inputs.
        sigma: noise standard deviation, of the package's noise law.
        seed: noise seed.
        alone: one input at a time, for a classifier whose rows depend on each other.

    Raises:
        InvalidInput: the inputs have no labels.
    """
    from smoothcert.sampling.cpu import logits_of  # imports the noise compiler

    if held_out.labels is None:
        raise InvalidInput(f"{held_out.name} has no labels, which accuracy needs. Give labels.")
    chosen = held_out.select(range(0, len(held_out), -(-len(held_out) // _INPUTS)))
    size = 1 if alone else first_size(classifier, held_out.shape)
    noise = RoundedGaussian(sigma, 1 / held_out.levels)
    requests = (Request(item, Stream.PROBE, range(1)) for item in chosen)
    noisy = np.concatenate([*sample(classifier, requests, noise, seed, size)])
    logits = logits_of(classifier, _batches(chosen, size))
    clean = np.concatenate([labels_of(some) for some in logits])[: len(chosen)]
    labels = np.array(chosen.labels)
    shares = (float((found == labels).mean()) for found in (clean, noisy))
    return Accuracy(*shares, sigma=sigma, inputs=len(chosen))


def _batches(inputs: Inputs, size: int) -> Iterator[NDArray[np.float32]]:
    """The inputs without noise; the last batch is filled up, since some models need one size."""
    for start in range(0, len(inputs), size):
        rows = range(start, min(start + size, len(inputs)))
        pixels = np.stack([inputs.item(row).pixels for row in rows])
        yield to_float(np.resize(pixels, (size, *inputs.shape)), inputs.levels)
