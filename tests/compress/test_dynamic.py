"""Dynamic int8: one scale per batch, so only batches of one can be certified."""

import numpy as np
import pytest

from smoothcert.compress import compress
from smoothcert.errors import ModelError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dynamic(residual, tmp_path_factory):
    out = tmp_path_factory.mktemp("dynamic") / "d.onnx"
    return compress(residual / "net.onnx", "int8-dynamic", out)


def test_it_says_that_it_is_batch_dependent(dynamic):
    assert dynamic.batch_dependent
    assert "BATCH-DEPENDENT: certify it with --batch-size 1" in dynamic.describe()
    assert "one activation scale per batch" in dynamic.method


def test_convolutions_are_integer(dynamic, residual, executed, logits):
    assert executed(dynamic.path)["ConvInteger"] == 9
    assert (dynamic.tensors_changed, dynamic.tensors) == (9, 10)  # the runtime leaves Gemm
    difference = np.abs(logits(dynamic.path) - logits(residual / "net.onnx"))
    assert 0 < difference.mean() < 0.1 * np.abs(logits(residual / "net.onnx")).max()


def test_batches_are_refused_and_the_fix_is_named(dynamic, certified_right):
    with pytest.raises(ModelError, match="is batch-dependent: .* pass --batch-size 1"):
        certified_right(dynamic.path, batch_size=32)


def test_batches_of_one_are_certified(dynamic, certified_right):
    assert certified_right(dynamic.path, batch_size=1) >= 0.5
