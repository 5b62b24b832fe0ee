"""Rounded weights: exactly on their grid, float32 in between, and small where the format can."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import smoothcert
from smoothcert.classifiers.pytorch import read_weights, save_weights
from smoothcert.compress import compress
from smoothcert.compress.export import to_onnx
from smoothcert.compress.symmetric import eights, integers, on_grid, scales
from smoothcert.errors import InvalidInput, ModelError

TYPES = {"bf16-weights": torch.bfloat16, "fp16-weights": torch.float16}
FORMATS = ("net.safetensors", "net.onnx")


def weights(file):
    """What the layers really multiply with; from an ONNX graph the runtime's own values."""
    if file.suffix == ".safetensors":
        state, _ = read_weights(file)
        return {k: t.numpy() for k, t in state.items() if t.is_floating_point()}
    model = onnx.load(file)
    names = [n.output[0] for n in model.graph.node if n.name.endswith("_restored")]
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == 1}
    if not names:
        return stored
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = np.zeros((1, 1, 8, 8), np.float32)
    return stored | dict(zip(names, session.run(names, {"images": image}), strict=True))


def rounded(residual, file, target, tmp_path):
    out = tmp_path / f"r-{target}{(residual / file).suffix}"
    return compress(residual / file, target, out), weights(residual / file), weights(out)


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("target", TYPES)
def test_sixteen_bits_round_to_nearest_and_nothing_else(file, target, residual, tmp_path):
    change, before, after = rounded(residual, file, target, tmp_path)
    assert change.tensors_changed > 0
    moved = 0
    for name, values in before.items():
        if name in ("0.mean", "0.std"):  # the normalization of the images is no weight
            assert (after[name] == values).all()
            continue
        expected = torch.from_numpy(values.copy()).to(TYPES[target]).float().numpy()
        assert after[name].tobytes() == expected.tobytes(), name
        moved += int((expected != values).sum())
    sizes = sum(v.size for n, v in before.items() if n not in ("0.mean", "0.std"))
    assert change.fraction_changed == pytest.approx(moved / sizes)
    assert change.bytes_after < 0.6 * change.bytes_before


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize(
    ("target", "top"),
    [("int8-weights", 127), ("int6-weights", 31), ("int4-weights", 7), ("int3-weights", 3)],
)
def test_integers_are_on_a_grid_per_channel(file, target, top, residual, tmp_path):
    change, before, after = rounded(residual, file, target, tmp_path)
    assert (change.tensors_changed, change.tensors) == (10, 10)
    for name in (n for n, v in before.items() if v.ndim > 1 and not n.startswith("0.")):
        for old, new in zip(before[name], after[name], strict=True):
            step = np.abs(old).max() / top
            assert len(np.unique(new)) <= 2 * top + 1
            assert np.abs(new / step - np.rint(new / step)).max() < 1e-4
            assert np.abs(new - old).max() <= step * (0.5 + 1e-4)
    for name in (n for n, v in before.items() if v.ndim < 2 and v.size > 1):
        assert (after[name] == before[name]).all()  # biases and normalization stay


E4M3 = np.arange(256, dtype=np.uint8)
"""All patterns of bits; two are not a number."""


def eights_by_hand():
    """The values of e4m3fn by the format's definition: sign, 4 bits of exponent, 3 of fraction."""
    found = []
    for bits in E4M3.tolist():
        sign, exponent, fraction = (-1) ** (bits >> 7), bits >> 3 & 15, bits & 7
        if (exponent, fraction) == (15, 7):
            continue
        size = (
            2.0**-6 * fraction / 8 if exponent == 0 else 2.0 ** (exponent - 7) * (1 + fraction / 8)
        )
        found.append(sign * size)
    return np.unique(np.float32(found))


def test_eights_are_the_nearest_of_the_format_and_torch_rounds_so():
    values = eights_by_hand()
    assert len(values) == 253
    assert values.max() == 448
    middles = (values[1:] + values[:-1]) / 2
    near = [np.nextafter(middles, np.float32(side * 1e9)) for side in (-1, 1)]
    some = np.random.default_rng(0).normal(0, 90, 2000).clip(-448, 448)
    tried = np.concatenate([values, middles, *near, some]).astype(np.float32)[None]
    found = eights(tried, 0)
    assert np.isin(found, values).all()
    nearest = np.abs(tried[0][:, None] - values).min(1)
    assert (np.abs(found - tried)[0] == nearest).all()
    assert not np.array_equal(found, torch.from_numpy(tried).to(torch.float8_e5m2).float().numpy())
    assert (
        found.tobytes() == torch.from_numpy(tried).to(torch.float8_e4m3fn).float().numpy().tobytes()
    )


@pytest.mark.parametrize("file", FORMATS)
def test_float8_is_rounded_by_torch_with_a_scale_per_channel(file, residual, tmp_path):
    change, before, after = rounded(residual, file, "fp8-weights", tmp_path)
    assert change.tensors_changed == 10
    assert "weights rounded to float8 (e4m3fn) times a scale per output channel, float32 arith" in (
        change.method
    )
    for name in (n for n, v in before.items() if v.ndim > 1 and not n.startswith("0.")):
        for old, new in zip(before[name], after[name], strict=True):
            scale = np.float32(np.abs(old).max() / np.float32(448))
            small = torch.from_numpy((old / scale).clip(-448, 448)).to(torch.float8_e4m3fn)
            assert new.tobytes() == (small.float().numpy() * scale).tobytes()
    for name in (n for n, v in before.items() if v.ndim < 2 and v.size > 1):
        assert (after[name] == before[name]).all()
    if file.endswith("onnx"):
        kinds = {t.data_type for t in onnx.load(change.path).graph.initializer}
        assert onnx.TensorProto.FLOAT8E4M3FN in kinds
        assert change.bytes_after < 0.4 * change.bytes_before
        onnx.checker.check_model(change.path)


GROUPS = [("int4-weights:32", 7, 32), ("int3-weights:5", 3, 5), ("int8-weights:4096", 127, 4096)]


@pytest.mark.slow
@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize(("target", "top", "size"), GROUPS)
def test_groups_have_their_own_scale(file, target, top, size, residual, tmp_path):
    change, before, after = rounded(residual, file, target, tmp_path)
    assert f"per {size} weights of an output channel ({2 * top + 1} levels)" in change.method
    for name in (n for n, v in before.items() if v.ndim > 1 and not n.startswith("0.")):
        for old, new in zip(before[name], after[name], strict=True):
            for start in range(0, old.size, size):
                was, now = (w.ravel()[start : start + size] for w in (old, new))
                step = np.float32(np.abs(was).max() / np.float32(top))
                due = np.rint(was / step).clip(-top, top).astype(np.int8).astype("f4") * step
                assert (now == due).all()
    whole, *_ = rounded(residual, file, target.partition(":")[0], tmp_path)
    error = [
        sum(float(np.square(weights(c.path)[n] - w).sum()) for n, w in before.items())
        for c in (change, whole)
    ]
    assert error[0] < 0.8 * error[1] if size < 100 else error[0] == error[1]


class Kinds(nn.Module):
    """Every kind of layer that ONNX has weights for."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(2, 6, 3, padding=1)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.transposed = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.gemm, self.matmul = nn.Linear(4, 7), nn.Linear(7, 5, bias=False)

    def forward(self, x):
        x = torch.relu(self.transposed(torch.relu(self.grouped(self.plain(x)))))
        return self.matmul(torch.relu(self.gemm(x.mean((2, 3)))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "precision", "size"),
    [("fp8-weights", "fp8", 0), ("int4-weights:5", "int4", 5), ("fp8-weights:3", "fp8", 3)],
)
def test_every_kind_of_layer_is_restored_in_its_own_order(target, precision, size, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Kinds().eval()
    to_onnx(network, (2, 8, 8), tmp_path / "net.onnx")
    compress(tmp_path / "net.onnx", target, tmp_path / "o.onnx")
    images = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(images).numpy()
        for name, weight in network.named_parameters():
            axis = 1 if name.startswith("transposed") else 0
            if weight.ndim > 1:
                rounded = on_grid(weight.numpy().copy(), axis, precision, size)
                weight.copy_(torch.from_numpy(np.ascontiguousarray(rounded)))
        due = network(images).numpy()
    found = smoothcert.load_classifier(tmp_path / "o.onnx").logits(images.numpy())
    assert np.abs(found - due).max() < 1e-3 * np.abs(before - due).max()


def test_groups_along_another_axis_of_output_channels():
    matrix = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    found = on_grid(matrix, -1, "int4", 4)
    for column in range(3):
        for part in (slice(0, 4), slice(4, 7)):
            alone = on_grid(matrix[part, column][None], 0, "int4")[0]
            assert (found[part, column] == alone).all()
    assert scales(matrix, -1, "int4", 4).shape == (3, 2)


@pytest.mark.parametrize(
    "target",
    [
        *("int8-weights", "int5-weights", "int4-weights", "int3-weights", *TYPES),
        *("fp8-weights", "fp8-weights:16", "int4-weights:32", "int6-weights:7"),
    ],
)
def test_the_arithmetic_stays_float32(target, residual, logits, tmp_path):
    """The compressed file computes what the float32 network with those weights does."""
    _, _, after = rounded(residual, "net.onnx", target, tmp_path)
    model = onnx.load(residual / "net.onnx")
    for tensor in model.graph.initializer:
        if tensor.name in after:
            tensor.CopyFrom(numpy_helper.from_array(after[tensor.name], tensor.name))
    onnx.save(model, tmp_path / "plain.onnx")
    compressed, plain = (logits(tmp_path / f) for f in (f"r-{target}.onnx", "plain.onnx"))
    moved = np.abs(compressed - logits(residual / "net.onnx")).max()
    assert np.abs(compressed - plain).max() < 1e-2 * moved


def test_what_the_files_hold(residual, tmp_path):
    sizes, kinds = {}, {}
    for target in ("int8-weights", "int4-weights"):
        change, *_ = rounded(residual, "net.onnx", target, tmp_path)
        assert "stored in that type" in change.method
        sizes[target] = change.bytes_after / change.bytes_before
        kinds[target] = {t.data_type for t in onnx.load(change.path).graph.initializer}
    assert sizes["int8-weights"] < 0.4
    assert sizes["int4-weights"] < 0.25
    assert onnx.TensorProto.INT8 in kinds["int8-weights"]
    assert onnx.TensorProto.INT4 in kinds["int4-weights"]
    change, *_ = rounded(residual, "net.safetensors", "int4-weights", tmp_path)
    assert "stored as float32 on that grid" in change.method
    change, *_ = rounded(residual, "net.safetensors", "bf16-weights", tmp_path)
    from safetensors import safe_open

    with safe_open(change.path, framework="pt") as file:
        assert file.get_tensor("1.weight").dtype == torch.bfloat16


def test_float32_arithmetic_is_not_bf16_arithmetic(residual, train_inputs, logits, tmp_path):
    only, *_ = rounded(residual, "net.safetensors", "bf16-weights", tmp_path)
    model, out = residual / "net.safetensors", tmp_path / "b.pt2"
    both = compress(model, "bf16", out, inputs=train_inputs)
    assert "weights rounded to bfloat16, float32 arithmetic" in only.describe()
    assert "weights and arithmetic in bfloat16" in both.describe()
    reference = logits(model)
    apart = [np.abs(logits(c.path) - reference).mean() for c in (only, both)]
    assert 0 < apart[0] < apart[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["int8-weights", "int4-weights", "int4-weights:32", "fp8-weights", *TYPES]
)
@pytest.mark.parametrize("file", FORMATS)
def test_it_certifies(file, target, residual, certified_right, tmp_path):
    change, *_ = rounded(residual, file, target, tmp_path)
    assert certified_right(change.path) >= 0.5


def test_twice_changes_nothing_and_says_so(residual, tmp_path):
    once, *_ = rounded(residual, "net.safetensors", "bf16-weights", tmp_path)
    again = compress(once.path, "bf16-weights", tmp_path / "again.safetensors")
    assert again.nothing_changed
    assert again.describe().startswith("NOTHING WAS CHANGED")


@pytest.mark.slow
def test_overflow_is_refused_before_anything_is_written(residual, tmp_path):
    network = smoothcert.load_classifier(residual / "net.safetensors").module
    with torch.no_grad():
        kept = network[1].weight[0, 0, 0, 0].clone()
        network[1].weight[0, 0, 0, 0] = 1e6
    try:
        save_weights(network, "cifar_resnet8", tmp_path / "big.safetensors")
    finally:
        with torch.no_grad():
            network[1].weight[0, 0, 0, 0] = kept
    data = smoothcert.load_inputs("digits", limit=2)
    compress(tmp_path / "big.safetensors", "onnx", tmp_path / "big.onnx", inputs=data)
    for suffix in (".safetensors", ".onnx"):
        out = tmp_path / f"o{suffix}"
        with pytest.raises(ModelError, match="exceed the range of fp16; use bf16-weights"):
            compress(tmp_path / f"big{suffix}", "fp16-weights", out)
        assert not out.exists()


def test_the_grid_by_hand():
    matrix = np.array([[0.7, -0.31, 0.05], [0.0, 0.0, 0.0]], np.float32)
    assert scales(matrix, 0, "int4") == pytest.approx([0.1, 1.0])
    assert integers(matrix, 0, "int4").tolist() == [[7, -3, 0], [0, 0, 0]]
    assert on_grid(matrix, 0, "int4")[0] == pytest.approx([0.7, -0.3, 0.0])
    assert integers(matrix, -1, "int8").tolist() == [[127, -127, 127], [0, 0, 0]]


@pytest.mark.parametrize(
    ("target", "out", "error", "message"),
    [
        ("bf16-weights:3", "o.onnx", InvalidInput, "takes no argument but exceptions for layers"),
        ("int4-weights:1", "o.onnx", InvalidInput, "how many weights share a scale, 2 to 65536"),
        ("int4-weights:0.5", "o.onnx", InvalidInput, "as in int4-weights:32, or nothing"),
        ("fp8-weights:x", "o.onnx", InvalidInput, "fp8-weights takes how many weights share"),
        ("bf16-weights", "o.pt2", InvalidInput, "bf16-weights writes a .onnx file; got 'o.pt2'"),
    ],
)
def test_bad_requests(target, out, error, message, residual, tmp_path):
    with pytest.raises(error, match=message):
        compress(residual / "net.onnx", target, tmp_path / out)
    with pytest.raises(InvalidInput, match="bf16-weights needs example data"):
        compress("x.pt2", "bf16-weights", tmp_path / "o.pt2")
