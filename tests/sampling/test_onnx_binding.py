"""ONNX Runtime on torch tensors: bound to their memory, the same bits as by copies, on the CPU.

What only a GPU shows is in test_onnx_cuda.py.
"""

import sys
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

import smoothcert
from smoothcert.classifiers import onnx as onnx_classifier
from smoothcert.classifiers import onnx_providers
from smoothcert.classifiers.onnx_binding import BoundSession
from smoothcert.classifiers.onnx_providers import ComputedElsewhere, OpenedSession
from smoothcert.cli.resources import Device
from smoothcert.compress import compress
from smoothcert.data.inputs import Inputs
from smoothcert.errors import MissingExtra, ModelError, OutOfMemory
from smoothcert.noise.law import RoundedGaussian
from smoothcert.sampling.answers import CONTEST, LABEL
from smoothcert.sampling.batch_size import fitting_batch
from smoothcert.sampling.cpu import on_host
from smoothcert.sampling.gpu import on_device
from smoothcert.sampling.prepare import prepare
from support import onnx_graphs as graphs
from support.device_batches import answers, batches

LAW = RoundedGaussian(0.25, 1 / 256)
IMAGES = np.random.default_rng(1).normal(0.5, 0.3, (32, 1, 8, 8)).astype(np.float32)


def fixed(rows):
    """Takes and gives batches of one size."""
    return graphs.model(
        inputs=[graphs.value("x", [rows, 1, 8, 8])], outputs=[graphs.value("logits", [rows, 10])]
    )


def shaped(name, *tail, **more):
    """The linear layer, and what follows it; the file leaves its shape open."""
    return graphs.model(*tail, outputs=[graphs.value(name, None)], **more)


MODELS = {
    "float32": graphs.model,
    "float16": lambda: graphs.cast(TensorProto.FLOAT16, np.float16),
    "float64": lambda: graphs.cast(TensorProto.DOUBLE, np.float64),
    "a batch of 7, which does not divide 32": lambda: fixed(7),
    "a batch of 32": lambda: fixed(32),
    "a batch larger than ours": lambda: fixed(50),
    "a batch of 1, squeezed": lambda: graphs.model(
        graphs.node("Squeeze", "logits axes", "y"),
        inputs=[graphs.value("x", [1, 1, 8, 8])],
        outputs=[graphs.value("y", [10])],
        constants={"axes": np.array([0])},
    ),
    "axes of one": lambda: shaped(
        "y",
        graphs.node("Unsqueeze", "logits axes", "y"),
        constants={"axes": np.array([2, 3])},
    ),
    "its input is its output": lambda: shaped("y", body=[graphs.node("Flatten", "x", "y")]),
}


@pytest.fixture
def load(tmp_path):
    def loaded(model, **options):
        onnx.save(model, tmp_path / "x.onnx")
        return smoothcert.load_classifier(tmp_path / "x.onnx", **options)

    return loaded


def same_bits(classifier, data, law=LAW, rows=32, count=6):
    """Votes and contests of both ways, for batches of several inputs."""
    some = list(batches(data, count, rows))
    for answer in (LABEL, CONTEST):
        with (
            on_host(classifier, law, 5, answer) as host,
            on_device(classifier, law, 5, answer) as device,
        ):
            here, there = answers(host, some), answers(device, some)
        assert [a.tobytes() for a in here] == [a.tobytes() for a in there]
    return np.concatenate([one["label"] for one in here])


@pytest.mark.parametrize("name", MODELS)
def test_bound_tensors_give_the_same_bits(name, load, digits):
    classifier = load(MODELS[name]())
    expected = classifier.logits(IMAGES)
    found = classifier.tensor_logits(torch.from_numpy(IMAGES)).numpy()
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()
    votes = same_bits(classifier, digits)
    assert len(set(votes)) > 2  # not all alike: the comparison can fail


@pytest.mark.parametrize("name", ["net.onnx", "int8.onnx"])
def test_votes_on_digits_are_the_same(name, models, digits):
    same_bits(smoothcert.load_classifier(models / name), digits)


@pytest.mark.slow
def test_votes_of_a_resnet_20_are_the_same(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32))
    data = Inputs.from_arrays(pixels / 255)
    twin = tmp_path / "twin.onnx"
    compress("cifar_resnet20@pretrained-0.50", "onnx", twin, inputs=data)
    law = RoundedGaussian(0.5, 1 / 255)
    same_bits(smoothcert.load_classifier(twin), data, law, count=3)


def test_tensors_that_are_not_contiguous_are_read_in_their_order(load):
    classifier = load(graphs.model())
    images = torch.from_numpy(IMAGES)
    mirrored = images.flip(3).contiguous().flip(3)
    last = images.to(memory_format=torch.channels_last).transpose(2, 3).transpose(2, 3)
    for some in (mirrored, last, images[::1]):
        assert torch.equal(classifier.tensor_logits(some), classifier.tensor_logits(images))
    with pytest.raises(AssertionError):  # the control: another order is seen
        turned = classifier.tensor_logits(images.transpose(2, 3))
        torch.testing.assert_close(turned, classifier.tensor_logits(images))


def test_nothing_is_copied(load, monkeypatch):
    """The memory that the session reads and writes is the tensors' own."""
    bound, binding = [], onnxruntime.IOBinding
    for way in ("bind_input", "bind_output"):
        real = getattr(binding, way)

        def spied(self, *arguments, real=real):
            bound.append(arguments[-1])
            return real(self, *arguments)

        monkeypatch.setattr(binding, way, spied)
    classifier, images = load(graphs.model()), torch.from_numpy(IMAGES)
    logits = classifier.tensor_logits(images)
    assert bound[-2:] == [images.data_ptr(), logits.data_ptr()]
    asked = len(bound)
    assert asked == 4  # the first batch of a size is also run to learn the output's shape
    kept = logits.clone()
    classifier.tensor_logits(images + 1)
    assert len(bound) == asked + 2
    assert torch.equal(logits, kept)  # its memory is not written again


def test_an_output_whose_shape_depends_on_values_is_refused(load):
    """Bound memory of another size is never read as logits."""
    varying = graphs.model(
        graphs.node("NonZero", "mask", "places"),
        graphs.node("Cast", "places", "y", to=TensorProto.FLOAT),
        body=[graphs.node("Greater", "x half", "mask")],
        outputs=[graphs.value("y", None)],
        constants={"half": np.float32(0.5)},
    )
    classifier = load(varying)
    classifier.tensor_logits(torch.ones(2, 1, 8, 8))
    with pytest.raises(ModelError, match=r"x\.onnx failed on a batch of shape \(2, 1, 8, 8\)"):
        classifier.tensor_logits(torch.eye(8).repeat(2, 1, 1, 1))


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (lambda: graphs.scikit(zipmap=True, only=True), r"seq\(map\(int64,tensor\(float\)\)\)"),
        (
            lambda: graphs.model(
                graphs.node("Cast", "logits", "y", to=TensorProto.INT64),
                outputs=[graphs.value("y", ["batch", 10], TensorProto.INT64)],
            ),
            r"tensor\(int64\)",
        ),
    ],
)
def test_outputs_that_are_no_floats_stay_on_the_cpu(model, kind, load):
    classifier = load(model())
    assert classifier.logits(IMAGES).shape == (32, 10)
    with pytest.raises(ModelError, match=f"{kind}, which only the CPU .* Use --device cpu, or"):
        classifier.tensor_logits(torch.from_numpy(IMAGES))


def hungry(room=2):
    """Asks for 16 TiB if there are more rows than that, as a device with too little memory."""
    return graphs.model(
        graphs.node("Shape", "x", "shape"),
        graphs.node("Gather", "shape zero", "rows"),
        graphs.node("Greater", "rows room", "many"),
        graphs.node("Where", "many large one", "size"),
        graphs.node("Expand", "w0 size", "filled"),
        graphs.node("ReduceMax", "filled", "most", keepdims=0),
        graphs.node("Add", "logits most", "y"),
        outputs=[graphs.value("y", ["batch", 10])],
        constants={
            "zero": np.array([0]),
            "room": np.array([room]),
            "large": np.array([2**42]),
            "one": np.array([1]),
            "w0": np.zeros(1, np.float32),
        },
    )


def test_too_little_memory_halves_batches_or_says_what_to_do(load, digits):
    """ONNX Runtime's own error, of an allocation that really fails, by either way."""
    classifier = load(hungry())
    assert fitting_batch(classifier, (1, 8, 8)) == 2
    settings = smoothcert.Settings(sigma=0.25, n0=10, n=100, levels=256)
    ready = prepare(classifier, digits.item(0), settings, 100)
    assert ready.batch_size == 2
    assert ready.too_large[-1] == 4
    told = r"cpu has too little memory for x\.onnx on batches of 32 rows. .* such as 16\."
    with pytest.raises(OutOfMemory, match=told):
        classifier.logits(IMAGES)
    with on_device(classifier, LAW, 0, LABEL) as labels, pytest.raises(OutOfMemory, match=told):
        labels.submit(next(batches(digits, 1)))
    with pytest.raises(OutOfMemory, match=r"A batch of 1 ran out of memory .* One row is too much"):
        fitting_batch(load(hungry(0)), (1, 8, 8))


def test_too_little_memory_for_the_weights_is_no_damaged_file(load, monkeypatch):
    """The runtime's own error, at the place where a GPU would raise it."""
    with pytest.raises(OutOfMemory) as found:
        load(hungry(0)).logits(IMAGES)

    def full(*_):
        raise found.value.__cause__

    monkeypatch.setattr(onnx_classifier, "opened_session", full)
    with pytest.raises(OutOfMemory, match=r"^cuda:1 has too little memory for x\.onnx\.$"):
        load(graphs.model(), device="cuda:1")


def session(model, providers):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(onnx_providers._RECORD, "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of providers that are not there
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=providers, enable_fallback=0
        )


def test_a_provider_that_is_not_there_or_did_not_start_is_an_error(monkeypatch):
    with pytest.raises(ModelError, match=r"lacks the CUDAExecutionProvider; it has .*CPU.* pip un"):
        onnx_providers.require_available("CUDAExecutionProvider")
    fallen = session(graphs.model(), ["CUDAExecutionProvider"])
    with pytest.raises(ModelError, match=r"could not start its CUDA.* --device cpu\.$"):
        onnx_providers.require_active(fallen, "CUDAExecutionProvider")
    with pytest.raises(ModelError, match=r"its Tensorrt.* cuDNN and TensorRT .* eager or fast\.$"):
        onnx_providers.require_active(fallen, "TensorrtExecutionProvider")
    onnx_providers.require_active(fallen, "CPUExecutionProvider")
    onnx_providers.require_available("CPUExecutionProvider")
    monkeypatch.delattr(onnxruntime.InferenceSession.__base__, onnx_providers._PLACES)
    with pytest.raises(ModelError, match=r"cannot say which .* 'onnxruntime-gpu>=1\.26'"):
        onnx_providers.require_available("CPUExecutionProvider")


def test_operators_that_another_provider_computes_are_said():
    """A provider that is active and takes no operator; what computes shapes is no matter."""
    providers = ["AzureExecutionProvider", "CPUExecutionProvider"]
    if providers[0] not in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has no provider that takes nothing")
    told = (
        r"The AzureExecutionProvider lacks 2 of the 2 operators of x.onnx: 1 Flatten \(CPU\), 1 Mat"
    )
    with pytest.warns(ComputedElsewhere, match=told):
        onnx_providers.warn_of_others(session(graphs.model(), providers), "x.onnx", providers[0])
    shape = graphs.model(
        body=[graphs.node("Shape", "x", "y")],
        outputs=[graphs.value("y", [4], TensorProto.INT64)],
    )
    onnx_providers.warn_of_others(session(shape, providers), "x.onnx", providers[0])
    onnx_providers.warn_of_others(session(graphs.model(), providers), "x.onnx", providers[1])


def test_without_torch_a_gpu_needs_its_extra(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"'torch'.* pip install 'smoothcert\[onnx-gpu\]'"):
        smoothcert.load_classifier(models / "net.onnx", device="cuda")
    with pytest.raises(MissingExtra, match=r"'torch'.* pip install 'smoothcert\[torch\]'"):
        _ = Device("cuda").count
    assert smoothcert.load_classifier(models / "net.onnx").logits(IMAGES).shape == (32, 10)


@dataclass
class Stream:
    """A stream of CUDA that writes down who waits for whom."""

    name: str
    log: list
    cuda_stream: int = 4711
    device_index: int = 0

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def as_on_cuda(monkeypatch):
    """All that is done for CUDA, with the CPU's provider and memory in place of the GPU's."""
    log, asked = [], []
    opened = onnxruntime.InferenceSession
    names = {onnx_providers.CUDA: "CPUExecutionProvider"}

    def cpu(path, options, providers, **more):
        asked.append(providers)
        return opened(path, options, providers=["CPUExecutionProvider"], **more)

    monkeypatch.setattr(onnx_providers.onnxruntime, "InferenceSession", cpu)
    monkeypatch.setattr(onnx_providers, "require_available", lambda _: None)
    active = onnx_providers.require_active
    monkeypatch.setattr(
        onnx_providers, "require_active", lambda found, name: active(found, names[name])
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream("its stream", log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream("torch's", log))
    return SimpleNamespace(log=log, asked=asked)


def test_another_mode_is_another_model_and_other_options(models, as_on_cuda):
    path = models / "net.onnx"

    def loaded(model, device, mode="eager"):
        with pytest.warns(ComputedElsewhere, match="The CUDAExecutionProvider lacks 9 of the"):
            return smoothcert.load_classifier(model, device=device, mode=mode)

    plain = loaded(path, "cuda")
    fast, again = loaded(f"fast:{path}", "cuda:1"), loaded(path, "cuda:1", "fast")
    (one,), (two,), *_ = as_on_cuda.asked
    common = {"user_compute_stream": "4711", "arena_extend_strategy": "kSameAsRequested"}
    strict = {"device_id": "0", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    trial = {"device_id": "1", "use_tf32": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    assert one == ("CUDAExecutionProvider", common | strict)
    assert two == ("CUDAExecutionProvider", common | trial)
    assert plain.fingerprint == smoothcert.load_classifier(path).fingerprint
    assert fast.fingerprint == again.fingerprint != plain.fingerprint
    assert (plain.name, fast.name) == ("net.onnx", "fast:net.onnx") == (plain.name, again.name)
    assert fast.device == "cuda:1"
    with pytest.raises(ModelError, match=r"fast:net\.onnx already has a mode; got also 'tensorrt'"):
        fast.in_mode("tensorrt")
    with pytest.raises(ModelError, match="the last CUDA device that torch sees is 'cuda:1'"):
        smoothcert.load_classifier(path, device="cuda:2")


def test_torch_waits_for_the_session_and_it_for_torch(models, as_on_cuda):
    """Neither reads what the other has not written yet, also if the session fails."""
    log, cpu = as_on_cuda.log, smoothcert.load_classifier(models / "net.onnx")

    class Noted:
        def __getattr__(self, name):
            return getattr(cpu.session, name)

        def run_with_iobinding(self, *arguments):
            log.append("runs")
            return cpu.session.run_with_iobinding(*arguments)

    opened = OpenedSession(Noted(), Stream("its stream", log))
    bound = BoundSession(opened, cpu.output.name, torch.device("cpu"))
    order = ["its stream waits for torch's", "runs", "torch's waits for its stream"]
    bound(torch.from_numpy(IMAGES))
    assert log == 2 * order  # for its shape, and for its logits
    log.clear()
    bound(torch.from_numpy(IMAGES))
    assert log == order
    log.clear()
    with pytest.raises(Exception, match="Got invalid dimensions"):
        bound(torch.zeros(2, 3, 8, 8))
    assert log == order
