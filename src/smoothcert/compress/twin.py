"""The ONNX twin of a torch network: the same network for a faster engine, compared on noise."""

import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier, HasMemoryLayouts
from smoothcert.data.inputs import Inputs
from smoothcert.errors import MissingExtra, ModelError
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample
from smoothcert.sampling.tuning import first_size

if TYPE_CHECKING:
    import torch

FILE = "twin.onnx"
"""The name of the twin, and of its file in a run directory."""

_INPUTS, _DRAWS = 16, 64
# Rounding alone moves labels only where two logits tie to 1e-4 (docs/models.md), far fewer than
# one draw in a hundred; an operator with another meaning in the other engine moves more.
_MOST_DIFFERING = 0.01

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_ENGINES = {
    "smoothcert.classifiers.pytorch": "torch",
    "smoothcert.classifiers.onnx": "onnx",
}


@dataclass(frozen=True)
class Twin:
    """A torch network as an ONNX model, and how the two compare on the same noisy inputs.

    Attributes:
        classifier: the model, to certify.
        data: the model's file; to keep it, use `Path("twin.onnx").write_bytes(data)`.
        same: draws on which both gave the same label (or both none).
        draws: number of compared draws.
        speedup: the original's processor time for these draws, in its fastest memory layout,
            over the twin's: a short measurement, but one that other programs do not disturb.
    """

    classifier: Classifier
    data: bytes
    same: int
    draws: int
    speedup: float

    def describe(self) -> str:
        """A readable sentence, without a full stop."""
        return (
            f"The ONNX twin gives the same label on {self.same:,} of {self.draws:,} noisy inputs, "
            f"{self.speedup:.1f} times as fast"
        )


def onnx_twin(
    model: "str | Path | torch.nn.Module | Classifier",
    inputs: Inputs,
    sigma: float,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    threads: int | None = None,
) -> Twin:
    """Convert a torch network to ONNX and compare both on up to 16 inputs, 64 draws each.

    A certificate made with the twin is about the twin: the share of draws with the same label says
    how similar they are, and proves nothing about the original.

    Args:
        model: a torch model, as `load_classifier` takes.
        inputs: the inputs to be certified; up to 16 of them, evenly spread, are compared.
        sigma: the noise of the certification. The compared draws are in a separate stream, so
            certificates are independent of them.
        seed: seed of that noise.
        batch_size: rows per forward pass; chosen from the input size by default.
        threads: batches computed at once, one core each; by default all cores.

    Raises:
        ModelError: not a torch model on the CPU, or one that cannot be exported, or the labels of
            more than 1 % of the draws differ.
        MissingExtra: the packages of the extra `onnx` are not installed.
    """
    original = load_classifier(model, threads=threads)
    module, rows = _module_of(original)
    if missing := missing_package():
        raise MissingExtra(missing, "onnx")
    classifier, data = _converted(module, rows, original.name, inputs.shape, threads)
    count = min(_INPUTS, len(inputs))
    chosen = inputs.select([number * len(inputs) // count for number in range(count)])
    noise = RoundedGaussian(sigma, 1 / inputs.levels)
    before, slow = _labels(original, chosen, noise, seed, batch_size)
    for other in original.layouts()[1:] if isinstance(original, HasMemoryLayouts) else ():
        with suppress(ModelError):  # some graphs only take the layout they were exported with
            slow = min(slow, _labels(other, chosen, noise, seed, batch_size)[1])
    after, fast = _labels(classifier, chosen, noise, seed, batch_size)
    same, draws = int((before == after).sum()), len(before)
    if draws - same > _MOST_DIFFERING * draws:
        raise ModelError(
            f"The ONNX twin of {original.name} is a different classifier: its label differs on "
            f"{draws - same:,} of {draws:,} noisy inputs; the limit is {_MOST_DIFFERING:.0%}. "
            "Certify the torch model itself."
        )
    return Twin(classifier, data, same, draws, slow / fast)


def _converted(
    module: "torch.nn.Module",
    rows: int | range | None,
    name: str,
    shape: tuple[int, ...],
    threads: int | None,
) -> tuple[Classifier, bytes]:
    """The ONNX model, loaded, and its file."""
    from smoothcert.compress.export import to_onnx

    with TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        to_onnx(module, shape, path, rows)
        try:
            return load_classifier(path, threads=threads), path.read_bytes()
        except ModelError as error:  # bfloat16, for one
            raise ModelError(
                f"ONNX Runtime cannot run the twin of {name}; certify the torch model itself. "
                f"({error})"
            ) from error


def engine_of(classifier: Classifier) -> str:
    """`torch`, `onnx`, or empty for a user's own classifier; imports neither."""
    return _ENGINES.get(type(classifier).__module__, "")


def missing_package() -> str:
    """The first package that a twin needs but is not installed, or empty."""
    return next((name for name in _PACKAGES if find_spec(name) is None), "")


def is_likely(classifier: Classifier) -> bool:
    """Whether a twin can probably be made: it needs a float32 torch network on the CPU."""
    if engine_of(classifier) != "torch" or classifier.device != "cpu" or missing_package():
        return False
    weights = _module_of(classifier)[0].state_dict().values()
    plain = all(str(w.dtype) == "torch.float32" for w in weights if w.is_floating_point())
    return plain and classifier.fixed_batch is None


def _module_of(original: Classifier) -> "tuple[torch.nn.Module, int | range | None]":
    """The network, and the batch sizes that it takes."""
    if engine_of(original) != "torch" or original.device != "cpu":
        raise ModelError(
            f"An ONNX twin needs a torch model on the CPU; got {original.name} on "
            f"{original.device}. Certify the model itself."
        )
    from smoothcert.classifiers.pytorch import TorchClassifier

    assert isinstance(original, TorchClassifier)
    return original.module, original.rows


def _labels(
    classifier: Classifier, inputs: Inputs, noise: RoundedGaussian, seed: int, size: int | None
) -> tuple[NDArray[np.int32], float]:
    """The labels of 64 draws of each input, and processor seconds once warm."""
    requests = [Request(item, Stream.PROBE, range(_DRAWS)) for item in inputs]
    rows = size or first_size(classifier, inputs.shape)
    _ = [*sample(classifier, requests[:1], noise, seed, rows)]
    start = time.process_time()
    labels = np.concatenate([*sample(classifier, requests, noise, seed, rows)])
    return labels, time.process_time() - start
