"""Which files multiply integers, and what this processor makes of it."""

import onnx
import pytest

import smoothcert
from smoothcert.classifiers import integer_products
from smoothcert.classifiers.integer_products import has_integer_products, saturates
from smoothcert.compress import compress


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    from support import onnx_graphs

    path = tmp_path_factory.mktemp("products") / "net.onnx"
    onnx.save(onnx_graphs.model(), path)
    return path


def test_this_processor_is_measured_once():
    assert saturates() is saturates()
    assert saturates.cache_info().hits


def test_a_wrong_sum_is_noticed(monkeypatch):
    """The control: 255 * 127 * 2 that became 32767 is no exact sum."""
    monkeypatch.setattr(integer_products, "_run", lambda probe: ({32767 * probe.terms // 2}, {1}))
    assert saturates.__wrapped__()


@pytest.mark.parametrize(
    ("target", "expected"),
    [("int8", True), ("int8-dynamic", True), ("int8-weights", False), ("bf16-weights", False)],
)
def test_which_files_multiply_integers(target, expected, original, tmp_path):
    train = smoothcert.load_inputs("digits", "train", limit=32)
    out = tmp_path / "out.onnx"
    compress(original, target, out, inputs=train, sigma=0.25)
    assert not has_integer_products(original)
    assert has_integer_products(out) == expected
