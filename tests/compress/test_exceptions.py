"""Exceptions of layers in the weights-only targets: exactly the named layers, in every format."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open
from torch import nn

import smoothcert
from smoothcert import zoo
from smoothcert.compress import compress, model_layers
from smoothcert.compress.symmetric import on_grid
from smoothcert.compress.torch_weights import network_layers
from smoothcert.errors import InvalidInput, ModelError

pytestmark = pytest.mark.slow

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.layer3 = nn.Conv2d(6, 4, 3, padding=1)
        self.fc = nn.Linear(256, 64)
        self.fc2 = nn.Linear(64, 64, bias=False)
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.layer3(torch.relu(self.norm(self.conv1(x)))))
        return self.out(torch.relu(self.fc2(torch.relu(self.fc(x.flatten(1))))))

def build():
    torch.manual_seed(0)
    return Net().eval()

def tied():
    network = build()
    network.fc2.weight = network.fc.weight = torch.nn.Parameter(torch.randn(64, 64))
    network.layer3 = nn.Sequential(nn.Conv2d(6, 1, 3, padding=1))
    return network
"""
LAYERS = ("conv1", "layer3", "fc", "fc2", "out")
FORMATS = {
    "bf16": lambda w: torch.from_numpy(w.copy()).bfloat16().float().numpy(),
    "fp16": lambda w: torch.from_numpy(w.copy()).half().float().numpy(),
    "fp32": lambda w: w,
    **{k: lambda w, k=k: on_grid(w, 0, k) for k in ("fp8", *(f"int{b}" for b in range(3, 9)))},
}


@pytest.fixture(scope="module")
def data():
    return smoothcert.load_inputs("digits", limit=4)


@pytest.fixture
def own(tmp_path, monkeypatch, data):
    """A network of somebody's own as code, as a program and as ONNX (without the fold)."""
    import sys

    (tmp_path / "own_layers.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own_layers", None)
    compress("own_layers:build", "onnx", tmp_path / "own.onnx", inputs=data)
    yield {".pt2": "own_layers:build", ".onnx": str(tmp_path / "own.onnx")}
    sys.modules.pop("own_layers", None)


def values(file):
    """What is multiplied with, by name; from ONNX as the runtime restores it."""
    if file.suffix == ".pt2":
        network = smoothcert.load_classifier(file).module
        return {k: t.detach().float().numpy() for k, t in network.state_dict().items()}
    import onnxruntime

    model = onnx.load(file)
    names = [n.output[0] for n in model.graph.node if n.name.endswith("_restored")]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = session.run(names, {"images": np.zeros((1, 1, 8, 8), np.float32)}) if names else []
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == 1}
    return stored | dict(zip(names, found, strict=True))


def original(own, suffix, data, tmp_path):
    if suffix == ".onnx":
        return {
            t.name: numpy_helper.to_array(t)
            for t in onnx.load(own[suffix]).graph.initializer
            if t.data_type == 1
        }
    network = smoothcert.load_classifier(own[suffix]).module
    return {k: t.numpy() for k, t in network.state_dict().items()}


CASES = [
    ("int8-weights:conv1=int4,fc=fp32", ("int4", "int8", "fp32", "int8", "int8")),
    ("int8-weights:fc=fp16,fc2=bf16,layer=int3", ("int8", "int3", "fp16", "bf16", "int8")),
    ("bf16-weights:fc=fp32,conv1.=int5", ("int5", "bf16", "fp32", "bf16", "bf16")),
    ("fp16-weights:*=fp8,out=fp16", ("fp8", "fp8", "fp8", "fp8", "fp16")),
    ("int3-weights:conv1=int6,layer3=int7,out=bf16", ("int6", "int7", "int3", "int3", "bf16")),
    ("fp8-weights:f=fp32,fc2=fp8", ("fp8", "fp8", "fp32", "fp8", "fp8")),
]


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize(("target", "due"), CASES)
def test_each_layer_has_its_own_format(target, due, suffix, own, data, tmp_path):
    out = tmp_path / f"q{suffix}"
    change = compress(own[suffix], target, out, inputs=data)
    before, after = original(own, suffix, data, tmp_path), values(out)
    default = target.partition("-")[0]
    moved = 0
    for layer, precision in zip(LAYERS, due, strict=True):
        for part in ("weight", "bias"):
            name = f"{layer}.{part}"
            if name not in before:
                continue
            half = precision in ("bf16", "fp16")
            wanted = FORMATS[precision] if part == "weight" or half else FORMATS["fp32"]
            assert np.array_equal(after[name], wanted(before[name])), (name, precision)
            moved += int((after[name] != before[name]).sum())
    sixteen = default in ("bf16", "fp16")
    if suffix == ".pt2":  # in ONNX it is in the convolution before it
        rounded = FORMATS[default] if sixteen else FORMATS["fp32"]
        assert np.array_equal(after["norm.running_var"], rounded(before["norm.running_var"]))
    assert change.tensors_changed < change.tensors or "fp32" not in due
    if not (sixteen and suffix == ".pt2"):
        counted = {f"{one}.weight" for one in LAYERS}
        for one, precision in zip(LAYERS, due, strict=True):
            halves = sixteen or precision in ("bf16", "fp16")
            counted |= {f"{one}.bias"} if halves and f"{one}.bias" in before else set()
        size = sum(before[name].size for name in counted)
        assert change.tensors == len(counted)
        assert change.fraction_changed == pytest.approx(moved / size)
    left = due.count("fp32")
    assert ("left in float32" in change.method) == bool(left)


def test_the_files_are_smaller_where_the_exceptions_are(residual, tmp_path):
    found = {}
    for target in ("int8-weights", "int8-weights:6.0=int4", "int8-weights:6.0=fp32"):
        change = compress(residual / "net.onnx", target, tmp_path / f"{len(found)}.onnx")
        # of the tensors: the exporter's remarks in a file are lost where its opset is raised
        found[target] = sum(t.ByteSize() for t in onnx.load(change.path).graph.initializer)
    plain, fewer, more = found.values()
    weights = sum(x.parameters for x in model_layers(residual / "net.onnx") if "6.0" in x.weight)
    assert plain - fewer == pytest.approx(weights / 2, rel=0.02)
    assert more - plain == pytest.approx(weights * 3, rel=0.02)


def test_safetensors_hold_each_layer_in_its_type(residual, certified_right, tmp_path):
    target = "bf16-weights:9=fp32,5.0.first.0=int4,1=fp16"
    change = compress(residual / "net.safetensors", target, tmp_path / "q.safetensors")
    with safe_open(change.path, framework="pt") as file:
        kinds = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        assert '"rounded": "bf16:9=fp32,5.0.first.0=int4,1=fp16"' in file.metadata()["smoothcert"]
    before = smoothcert.load_classifier(residual / "net.safetensors").module.state_dict()
    after = smoothcert.load_classifier(change.path).module.state_dict()
    for key, tensor in before.items():
        if not tensor.is_floating_point():
            continue
        own = {"9.weight": "fp32", "9.bias": "fp32", "5.0.first.0.weight": "int4"}
        precision = own.get(key, "fp16" if key == "1.weight" else "bf16")
        assert np.array_equal(after[key].numpy(), FORMATS[precision](tensor.numpy())), key
        sixteen = {"bf16": torch.bfloat16, "fp16": torch.float16}
        assert kinds[key].dtype == sixteen.get(precision, torch.float32)
    assert change.method == (
        "weights rounded to bfloat16, 1 layer rounded to a symmetric 4-bit grid per output channel "
        "(15 levels), 1 layer rounded to float16, 1 layer left in float32, float32 arithmetic, "
        "stored in 16 bits, and in 32 where they have scales"
    )
    assert certified_right(change.path) >= 0.5


def test_groups_are_the_targets_own(residual, tmp_path):
    target = "int4-weights:32,9=int8,1=fp32"
    change = compress(residual / "net.safetensors", target, tmp_path / "q.safetensors")
    before = smoothcert.load_classifier(residual / "net.safetensors").module.state_dict()
    after = smoothcert.load_classifier(change.path).module.state_dict()
    assert torch.equal(after["1.weight"], before["1.weight"])
    assert np.array_equal(after["9.weight"].numpy(), on_grid(before["9.weight"].numpy(), 0, "int8"))
    inner = before["6.0.first.0.weight"].numpy()
    assert np.array_equal(after["6.0.first.0.weight"].numpy(), on_grid(inner, 0, "int4", 32))


@pytest.mark.parametrize("architecture", ["small_cnn", "cifar_resnet20", "resnet50", "lenet"])
def test_layers_of_the_zoo_are_its_matrices(architecture):
    network = zoo.build(architecture, 1, 10)
    state = network.state_dict()
    layers = network_layers(network)
    assert {one.weight for one in layers} == {k for k, t in state.items() if t.ndim > 1}
    assert all(one.parameters == state[one.weight].numel() for one in layers)
    assert {one.bias for one in layers if one.bias} <= state.keys()


def test_layers_have_the_same_weights_in_every_format(own, residual, data, tmp_path):
    found = [[(x.weight, x.parameters) for x in model_layers(model)] for model in own.values()]
    assert (
        found[0]
        == found[1]
        == [
            *(("conv1.weight", 54), ("layer3.weight", 216)),
            *(("fc.weight", 16384), ("fc2.weight", 4096), ("out.weight", 640)),
        ]
    )
    pair = [model_layers(residual / f"net{suffix}") for suffix in (".onnx", ".safetensors")]
    assert [sorted(x.weight for x in some) for some in pair[:1]] == [
        sorted(x.weight for x in pair[1])
    ]
    compress(residual / "net.onnx", "int8-weights", tmp_path / "w.onnx")
    with pytest.raises(ModelError, match="nothing to quantize. If it is a compressed model"):
        model_layers(tmp_path / "w.onnx")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("int8-weights:fd=int4", r"No layer matches 'fd'. The layers .*\(fc.weight, 16,384\), "),
        ("int8-weights:fc=int2", "PRECISION one of int8, .* fp32; got 'fc=int2'. Did you mean"),
        ("int8-weights:fc", "and exceptions for layers, as in int8-weights:fc=fp32 or"),
        ("bf16-weights:fc", "takes no argument but exceptions for layers, as in bf16-weights:fc="),
        ("int4-weights:32,", "how many weights share a scale"),
        ("int4-weights:1,fc=int8", "how many weights share a scale"),
        ("int4-weights:32,fc", "LAYER=PRECISION with commas between them"),
        ("int8-weights:*=fp32", r"int8-weights:\*=fp32 leaves no layer to round"),
        ("bf16-weights:*=fp32", "leaves no layer to round. Give fewer exceptions"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_bad_exceptions(target, message, suffix, own, data, tmp_path):
    with pytest.raises(InvalidInput, match=message):
        compress(own[suffix], target, tmp_path / f"q{suffix}", inputs=data)
    assert not (tmp_path / f"q{suffix}").exists()


def test_layers_with_one_weight_have_one_format(own, data, tmp_path):
    out = tmp_path / "q.pt2"
    with pytest.raises(InvalidInput, match="fc and fc2 share one weight.*got int4 and int8"):
        compress("own_layers:tied", "int8-weights:fc=int4", out, inputs=data)
    change = compress("own_layers:tied", "int8-weights:fc=int4,fc2=int4", out, inputs=data)
    assert change.tensors_changed == 5


def test_a_network_without_layers_is_rounded_as_before(data, tmp_path, monkeypatch):
    import sys

    code = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.linspace(-1, 1, 640).reshape(64, 10))
    def forward(self, x):
        return x.flatten(1) @ self.w
"""
    (tmp_path / "no_layers.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("no_layers", None)
    change = compress("no_layers:Net", "bf16-weights", tmp_path / "q.pt2", inputs=data)
    assert change.tensors_changed == 1
    with pytest.raises(InvalidInput, match="No layer matches 'w'. It has no layers that except"):
        compress("no_layers:Net", "bf16-weights:w=fp32", tmp_path / "r.pt2", inputs=data)
    with pytest.raises(ModelError, match="no float32 weights of convolutions"):
        compress("no_layers:Net", "int8-weights", tmp_path / "r.pt2", inputs=data)


def test_overflow_in_one_layer_names_the_way_out(own, data, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        network[1].weight[0, 0] = 1e6
    from smoothcert.compress.export import to_onnx

    to_onnx(network.eval(), data.shape, tmp_path / "big.onnx")
    name = model_layers(tmp_path / "big.onnx")[0].weight
    with pytest.raises(ModelError, match="for this layer alone the exception LAYER=bf16"):
        compress(tmp_path / "big.onnx", f"int8-weights:{name}=fp16", tmp_path / "o.onnx")
    compress(tmp_path / "big.onnx", f"fp16-weights:{name}=bf16", tmp_path / "o.onnx")
