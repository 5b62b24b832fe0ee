"""PT2E: int8 weights and grids in a .pt2 that is checked and loads without torchao."""

import subprocess
import sys
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert.compress import compress
from smoothcert.errors import MissingExtra, ModelError


@pytest.fixture(scope="module")
def change(residual, tmp_path_factory):
    pytest.importorskip("torchao", reason="needs the quant extra")
    out = tmp_path_factory.mktemp("pt2e") / "q.pt2"
    data = smoothcert.load_inputs("digits", "train", limit=64)
    return compress(residual / "net.safetensors", "int8-pt2e", out, inputs=data, sigma=0.25)


@pytest.mark.slow
def test_quantized_operators_run(change):
    """Counted as they are dispatched, not as they are written."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            ran[str(function)] += 1
            return function(*arguments, **(keywords or {}))

    module, ran = smoothcert.load_classifier(change.path).module, Counter()
    with Count(), torch.no_grad():
        module(torch.rand(3, 1, 8, 8))
    assert ran["quantized_decomposed.dequantize_per_channel.default"] == 10  # every weight
    assert ran["quantized_decomposed.quantize_per_tensor.default"] >= 8
    assert (change.tensors_changed, change.tensors) == (10, 10)
    assert "simulated: floating-point arithmetic on the int8 grids" in change.describe()


@pytest.mark.slow
def test_weights_are_stored_as_int8_and_only_so(change):
    smoothcert.load_classifier(change.path)  # registers the operators
    state = torch.export.load(change.path).state_dict
    integer = [t for t in state.values() if t.dtype == torch.int8]
    assert len(integer) == 10
    assert all(t.abs().max() >= 127 for t in integer)
    assert not [k for k, t in state.items() if t.is_floating_point() and t.ndim > 3]


@pytest.mark.slow
def test_close_to_the_original_in_any_batch(change, residual, logits):
    classifier = smoothcert.load_classifier(change.path)
    assert classifier.fixed_batch is None
    images = np.random.default_rng(1).random((7, 1, 8, 8)).astype(np.float32)
    alone = np.concatenate([classifier.logits(images[i : i + 1]) for i in range(7)])
    assert np.abs(alone - classifier.logits(images)).max() < 1e-4
    difference = np.abs(logits(change.path) - logits(residual / "net.safetensors"))
    assert 0 < difference.mean() < 0.1 * np.abs(logits(residual / "net.safetensors")).max()


@pytest.mark.slow
def test_it_certifies(change, certified_right):
    assert certified_right(change.path) >= 0.5


@pytest.mark.slow
def test_it_loads_without_torchao(change):
    code = (
        "import sys; sys.modules['torchao'] = None\n"
        "import smoothcert, numpy as np\n"
        f"c = smoothcert.load_classifier({str(change.path)!r})\n"
        "print(c.logits(np.zeros((2, 1, 8, 8), np.float32)).shape)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert found.stdout.strip() == "(2, 10)", found.stderr


def test_the_guard_still_refuses_other_operators(change, tmp_path):
    """An archive of this kind is no way around the list of operators."""
    with (
        zipfile.ZipFile(change.path) as archive,
        zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad,
    ):
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith("model.json"):
                operator = b"torch.ops.quantized_decomposed.quantize_per_tensor.default"
                assert operator in data
                data = data.replace(operator, b"torch.hub.load_state_dict_from_url", 1)
            bad.writestr(name, data)
    with pytest.raises(ModelError, match="holds the operator 'torch.hub"):
        smoothcert.load_classifier(tmp_path / "bad.pt2")


def test_it_needs_a_torch_model(change, residual, train_inputs, tmp_path):
    with pytest.raises(ModelError, match="net.onnx is not a torch model"):
        compress(
            residual / "net.onnx",
            "int8-pt2e",
            tmp_path / "q.pt2",
            inputs=train_inputs,
            sigma=0.25,
        )


def test_without_torchao_the_extra_is_named(monkeypatch, residual, train_inputs, tmp_path):
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.delitem(sys.modules, "smoothcert.compress.pt2e", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'smoothcert\[quant\]'"):
        compress(
            residual / "net.safetensors",
            "int8-pt2e",
            tmp_path / "q.pt2",
            inputs=train_inputs,
            sigma=0.25,
        )
