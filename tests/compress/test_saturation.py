"""int8 files give the same labels on processors that clip sums of products as on others.

The other processor is emulated (experiments/processors.py).
"""

import functools

import numpy as np
import onnx
import pytest
from processors import Emulated

import smoothcert
from smoothcert.api import sanity
from smoothcert.classifiers.integer_products import can_saturate, saturates
from smoothcert.classifiers.onnx import OnnxClassifier
from smoothcert.compress import compress, int8, symmetric
from smoothcert.errors import ModelError
from support import onnx_graphs


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    digits = smoothcert.load_inputs("digits", limit=200)
    pixels = np.stack([item.pixels for item in digits]) / (digits.levels - 1)
    return (pixels + rng.normal(0, 0.25, pixels.shape)).astype(np.float32)


@pytest.fixture
def full_range(monkeypatch):
    """All 8 bits for weights, as ONNX Runtime quantizes by default and smoothcert once did."""
    monkeypatch.setattr(int8, "pair_scales", lambda w, axis: symmetric.scales(w, axis, "int8"))


def made(residual, train_inputs, out, target="int8"):
    source = residual / "net.onnx"
    if "+" in target:
        source = f"cifar_resnet8@{residual / 'net.safetensors'}"
    compress(source, target, out, inputs=train_inputs, sigma=0.25)
    return out


def test_no_processor_changes_what_compress_writes(residual, train_inputs, images, tmp_path):
    path = made(residual, train_inputs, tmp_path / "q.onnx")
    here = smoothcert.load_classifier(path).logits(images)
    for saturating in (False, True):
        assert (Emulated(path, saturating).logits(images) == here).all()


def test_all_8_bits_would_change_labels(residual, train_inputs, images, tmp_path, full_range):
    """The control, and what the session option does about it."""
    path = made(residual, train_inputs, tmp_path / "q.onnx")
    exact, clipped = (Emulated(path, saturating).logits(images) for saturating in (False, True))
    if not saturates():
        assert (exact == smoothcert.load_classifier(path).logits(images)).all()
    assert (exact != clipped).any(axis=1).mean() > 0.5
    assert (exact.argmax(axis=1) != clipped.argmax(axis=1)).any()
    precise = Emulated(path, saturating=True, precise=True)
    assert (precise.logits(images) == exact).all()


@pytest.mark.parametrize("scale", [1, 1e-30, 1e38, 1e-37, 1e-42])
@pytest.mark.parametrize("count", [1, 2, 9, 100])
def test_scales_leave_room_for_any_two_weights(count, scale):
    rng = np.random.default_rng(count)
    weights = (rng.standard_normal((500, count)).clip(-3, 3) * scale).astype(np.float32)
    weights[0], weights[1, :2] = 0, scale  # zeros, and the two largest equal
    steps = symmetric.pair_scales(weights, 0)
    found = np.rint(weights / steps[:, None]).astype(int)
    ordered = np.sort(np.pad(found, ((0, 0), (0, 1))))
    assert np.abs(found).max() <= 127
    assert (ordered[:, -2:].clip(0).sum(axis=1) <= 128).all()
    assert (ordered[:, :2].clip(None, 0).sum(axis=1) >= -128).all()
    if scale > 1e-36:  # below, a step is no normal number
        assert (np.abs(found).max(axis=1)[1:] >= 63).all()  # and none is wasted


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("target", ["int8", "int8:*=int4"])
def test_weights_without_a_scale_are_refused(bad, target, train_inputs, tmp_path):
    weights = onnx_graphs.WEIGHTS.copy()
    weights[3, 2] = bad
    onnx.save(onnx_graphs.model(constants={"w": weights}), tmp_path / "bad.onnx")
    with pytest.raises(ModelError, match="'w' are not all finite"):
        compress(tmp_path / "bad.onnx", target, tmp_path / "q.onnx", inputs=train_inputs, sigma=1.0)
    assert not (tmp_path / "q.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["int8", "int8:5.=int4", "int8-dynamic", "lowrank:0.5+int8"])
def test_every_file_with_integer_products(target, residual, train_inputs, tmp_path):
    assert not can_saturate(made(residual, train_inputs, tmp_path / "q.onnx", target))


def test_a_file_that_can_saturate_is_named(residual, train_inputs, tmp_path, full_range):
    path = tmp_path / "a+b,c@d.onnx"  # a name that could be read as a reference
    made(residual, train_inputs, tmp_path / "theirs.onnx").rename(path)
    assert can_saturate(path)
    classifier = OnnxClassifier.load(path)
    path.unlink()  # as a twin's is
    hints = functools.partial(sanity.of_pair, inputs=train_inputs, sigma=0.25)
    said = f"Sums of integer products in {path.name} can exceed 16 bits"
    assert [hint.startswith(said) for hint in hints(classifier)] == [True]
    assert hints(smoothcert.load_classifier(residual / "net.onnx")) == ()
