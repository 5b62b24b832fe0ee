"""What any structural compression writes, the other commands read: chains end in certificates."""

import pytest

import smoothcert
from smoothcert.compress import compress

pytestmark = pytest.mark.slow

CHAINS = [
    [("prune-layers:0.3", "a.safetensors")],
    [("prune-channels:0.25", "a.safetensors"), ("finetune:2", "b.safetensors")],
    [("prune:0.5", "a.safetensors"), ("finetune:2", "b.safetensors"), ("onnx", "c.onnx")],
    [("lowrank:0.75", "a.pt2")],
    [("prune-channels:0.25", "a.pt2"), ("finetune:2", "b.pt2"), ("int4-weights:32", "c.pt2")],
    [("lowrank:0.75", "a.onnx"), ("prune-layers:0.3", "b.onnx"), ("int8", "c.onnx")],
    [("distill:small_cnn,4", "a.safetensors"), ("prune-channels:0.1", "b.safetensors")],
]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda c: "+".join(target for target, _ in c))
def test_chains_end_in_a_classifier(chain, models, digits, tmp_path):
    data = smoothcert.load_inputs("digits", "train", limit=400)
    model = models / "net.safetensors"
    for target, name in chain:
        change = compress(model, target, tmp_path / name, inputs=data, sigma=0.25)
        assert change.exact or not change.nothing_changed
        model = tmp_path / name
    found = smoothcert.certify(model, digits, 0.25, n0=20, n=200).certificates
    right = sum(c.predicted == label for c, label in zip(found, digits.labels, strict=True))
    assert right >= len(digits) // 2
