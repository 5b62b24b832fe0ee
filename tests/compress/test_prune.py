"""Magnitude pruning: exactly the smallest weights of exactly the right tensors."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import smoothcert
from smoothcert.compress import compress
from smoothcert.compress.prune import without_smallest, without_smallest_of_each
from smoothcert.compress.request import part
from smoothcert.errors import InvalidInput, ModelError
from support.small_networks import logits, random_network, saved, weights


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """A residual network for colour images, which are normalized channel by channel."""
    folder = tmp_path_factory.mktemp("colour")
    file = saved(random_network("cifar_resnet8", 3), "cifar_resnet8", folder / "net.safetensors")
    data = smoothcert.Inputs.from_arrays(np.zeros((2, 3, 16, 16), np.uint8))
    compress(file, "onnx", folder / "net.onnx", inputs=data)
    compress(file, "lowrank:0.5", folder / "net.pt2", inputs=data)
    return folder


def assert_smallest_are_zero(before, after, count):
    gone = after == 0
    assert gone.sum() == count
    assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()
    assert np.array_equal(before[~gone], after[~gone])


@pytest.mark.slow
@pytest.mark.parametrize(("fraction", "percent"), [("0.3", 30), ("0.29", 29), ("0.999", 99.9)])
def test_each_layer_loses_its_own_smallest(fraction, percent, colour, tmp_path):
    out = tmp_path / "p.safetensors"
    change = compress(colour / "net.safetensors", f"prune-layers:{fraction}", out)
    before, after = weights(colour / "net.safetensors"), weights(out)
    assert len(before) == 10
    zeros = 0
    for key, tensor in before.items():
        count = round(1000 * float(fraction)) * tensor.size // 1000
        assert_smallest_are_zero(tensor, after[key], count)
        zeros += count
    assert change.tensors_changed == change.tensors == 10
    assert change.fraction_changed == zeros / sum(t.size for t in before.values())
    assert f"{percent} % of each layer's weights" in change.describe()
    assert change.bytes_before == (colour / "net.safetensors").stat().st_size


@pytest.mark.slow
def test_the_whole_network_is_ranked_together(colour, tmp_path):
    compress(colour / "net.safetensors", "prune:0.7", tmp_path / "p.safetensors")
    before, after = (
        np.concatenate([t.ravel() for t in weights(file).values()])
        for file in (colour / "net.safetensors", tmp_path / "p.safetensors")
    )
    assert_smallest_are_zero(before, after, 7 * before.size // 10)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["prune:0.95", "prune-layers:0.7"])
def test_onnx_normalization_is_no_weight(target, colour, tmp_path):
    """Its divisors have several dimensions too; one of them at zero would be infinite logits."""
    change = compress(colour / "net.onnx", target, tmp_path / "p.onnx")
    assert change.tensors == 10
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
        for file in (colour / "net.onnx", tmp_path / "p.onnx")
    )
    constants = [k for k, t in before.items() if t.shape[-3:] == (3, 1, 1)]
    assert len(constants) == 2
    assert all(np.array_equal(before[k], after[k]) for k in constants)
    assert np.isfinite(logits(tmp_path / "p.onnx", (3, 16, 16))).all()


def test_transposed_onnx_weights_are_found(tmp_path):
    from onnx import TensorProto, helper

    weight = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["centred", "t"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.full((1, 4), 0.01, np.float32), "mean"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    change = compress(tmp_path / "m.onnx", "prune:0.5", tmp_path / "p.onnx")
    assert (change.tensors, change.fraction_changed) == (1, 0.5)
    out = smoothcert.load_classifier(tmp_path / "p.onnx").logits(np.ones((1, 4), np.float32))
    assert out[0].tolist() == pytest.approx([0, 0.99 * 26])


def test_ties_do_not_take_more_than_was_asked():
    equal = {"a": np.array([1.0, -1.0, 1.0, -1.0]), "b": np.array([[1.0], [2.0]])}
    assert without_smallest(equal, 0.5)["a"].tolist() == [0, 0, 0, -1]
    assert without_smallest_of_each(equal, 0.5)["a"].tolist() == [0, 0, 1, -1]
    assert without_smallest_of_each(equal, 0.5)["b"].tolist() == [[0], [2]]
    with pytest.raises(ModelError, match="no weight tensors of convolutions"):
        without_smallest_of_each({}, 0.5)


def test_parts_are_decimal_and_never_the_whole():
    assert int(0.29 * 100) == 28  # what binary arithmetic makes of it
    assert part(0.29, 100) == 29
    assert part(1 - 2**-53, 10**9) == 10**9 - 1
    assert part(1e-5, 10**5) == 1


@pytest.mark.slow
def test_nothing_changed_is_said_loudly(colour, tmp_path):
    compress(colour / "net.safetensors", "prune-layers:0.2", tmp_path / "a.safetensors")
    again = compress(tmp_path / "a.safetensors", "prune-layers:0.1", tmp_path / "b.safetensors")
    assert again.describe().startswith("NOTHING WAS CHANGED")


@pytest.mark.slow
def test_an_exported_program_is_pruned_itself_and_by_way_of_onnx(colour, tmp_path):
    data = smoothcert.Inputs.from_arrays(np.zeros((2, 3, 16, 16), np.uint8))
    change = compress(colour / "net.pt2", "prune-layers:0.2", tmp_path / "p.pt2", inputs=data)
    assert change.fraction_changed == pytest.approx(0.2, abs=0.001)
    compress(colour / "net.pt2", "onnx", tmp_path / "n.onnx", inputs=data)
    change = compress(tmp_path / "n.onnx", "prune-layers:0.2", tmp_path / "p.onnx")
    assert change.fraction_changed == pytest.approx(0.2, abs=0.001)


@pytest.mark.parametrize("argument", ["", "0", "1", "-0.1", "nan", "half"])
def test_bad_fractions(argument, colour, tmp_path):
    with pytest.raises(InvalidInput, match=r"prune-layers needs a fraction .* as in prune-layers"):
        compress(colour / "net.onnx", f"prune-layers:{argument}", tmp_path / "p.onnx")
