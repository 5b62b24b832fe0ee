"""What the tests of quantization share: a residual network, and the operators that really run."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

import smoothcert


@pytest.fixture(scope="session")
def residual(tmp_path_factory) -> Path:
    """A folder with a cifar_resnet8 for one-channel 8x8 images, trained for seconds on digits."""
    from smoothcert.classifiers.pytorch import save_weights
    from smoothcert.compress import compress
    from smoothcert.training.gaussian import train
    from smoothcert.training.recipe import Recipe

    data = smoothcert.load_inputs("digits", "train", limit=600)
    folder = tmp_path_factory.mktemp("residual")
    network = train(Recipe("cifar_resnet8", 0.25, epochs=4), data)
    save_weights(network, "cifar_resnet8", folder / "net.safetensors")
    compress(folder / "net.safetensors", "onnx", folder / "net.onnx", inputs=data)
    return folder


@pytest.fixture(scope="session")
def train_inputs():
    return smoothcert.load_inputs("digits", "train", limit=64)


@pytest.fixture
def executed(tmp_path):
    """The operators that ONNX Runtime really runs, counted after its own optimization."""

    def count(model) -> Counter:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return Counter(n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node)

    return count


@pytest.fixture(scope="session")
def logits():
    """The logits of a model on 100 fixed images with noise."""

    def of(reference) -> np.ndarray:
        rng = np.random.default_rng(0)
        images = rng.random((100, 1, 8, 8)) + 0.25 * rng.standard_normal((100, 1, 8, 8))
        return smoothcert.load_classifier(reference).logits(images.astype(np.float32))

    return of


@pytest.fixture(scope="session")
def certified_right():
    """Certify ten digits with a few draws; the share whose certified class is the label."""

    def run(reference, batch_size=32) -> float:
        inputs = smoothcert.load_inputs("digits", limit=10)
        found = smoothcert.certify(
            reference, inputs, sigma=0.25, n0=16, n=64, batch_size=batch_size
        )
        predicted = [c.predicted for c in found.certificates]
        return sum(p == label for p, label in zip(predicted, inputs.labels, strict=True)) / 10

    return run
