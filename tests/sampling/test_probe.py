"""What is refused before a single draw is counted."""

import numpy as np
import pytest

from smoothcert.errors import ModelError
from smoothcert.noise.law import RoundedGaussian
from smoothcert.sampling.probe import probe

LAW = RoundedGaussian(0.25, 1 / 16)


class Fake:
    """A classifier made of one function."""

    name, fingerprint, device, fixed_batch = "fake", "fake", "cpu", None

    def __init__(self, function):
        self.logits = function


def look(function, tiny_inputs, batch_size=16):
    return probe(Fake(function), tiny_inputs.item(0), LAW, 0, batch_size)


def linear(images):
    rows = images.reshape(len(images), -1)
    return np.stack([rows.sum(1), rows[:, 0] * 2, rows[:, 1] - 1], axis=1)


def test_a_good_classifier(tiny_inputs, pixel_sum):
    found = probe(pixel_sum, tiny_inputs.item(0), LAW, 0, 16)
    assert (found.num_classes, found.row_exact) == (2, True)
    assert look(linear, tiny_inputs).num_classes == 3
    assert found.noise_hash == probe(pixel_sum, tiny_inputs.item(0), LAW, 0, 16).noise_hash


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: np.full((len(x), 3), np.nan), "returns NaN for every noisy input"),
        (lambda x: np.tile([1.0, 2.0], (len(x), 1)), "the same logits for different inputs"),
        (lambda x: linear(x)[:, :1], r"returns shape \(16, 1\) .* two classes or more"),
        (lambda x: linear(x)[0], r"returns shape \(3,\) for a batch of 16"),
        (lambda x: linear(x)[:3], r"returns shape \(3, 3\) for a batch of 16"),
    ],
)
def test_not_a_classifier(function, message, tiny_inputs):
    with pytest.raises(ModelError, match=message):
        look(function, tiny_inputs)


def dynamic(images):
    """Dynamic per-tensor quantization, as ONNX Runtime and torch do it for activations."""
    scale = np.abs(images).max() / 127
    return linear(np.rint(images / scale) * scale)


def test_batch_dependence_is_refused(tiny_inputs):
    with pytest.raises(
        ModelError, match=r"is batch-dependent: .* static quantization .*batch-size 1"
    ):
        look(dynamic, tiny_inputs)


def test_batch_size_one_is_allowed_whatever_the_model(tiny_inputs):
    assert look(dynamic, tiny_inputs, batch_size=1).row_exact


def test_real_dynamic_quantization_is_refused(models, digits, tmp_path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    import smoothcert
    from smoothcert.classifiers.quiet import quiet

    with quiet():
        quantize_dynamic(models / "net.onnx", tmp_path / "d.onnx", weight_type=QuantType.QUInt8)
    classifier = smoothcert.load_classifier(tmp_path / "d.onnx")
    with pytest.raises(ModelError, match="is batch-dependent"):
        probe(classifier, digits.item(0), RoundedGaussian(0.25, 1 / 256), 0, 64)


def test_float_noise_between_rows_is_not_batch_dependence(tiny_inputs):
    rng = np.random.default_rng(0)
    jitter = lambda x: linear(x) * (1 + 1e-6 * rng.standard_normal((len(x), 3)))  # noqa: E731
    assert not look(jitter, tiny_inputs).row_exact


def test_a_fixed_batch_must_be_the_batch(tiny_inputs, pixel_sum):
    fixed = Fake(pixel_sum.logits)
    fixed.fixed_batch = 4
    with pytest.raises(ModelError, match="only takes batches of 4; the batch size is 16. Pass"):
        probe(fixed, tiny_inputs.item(0), LAW, 0, 16)
