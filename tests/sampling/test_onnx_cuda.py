"""ONNX models on a CUDA device: all that needs one. Not yet run: no GPU was at hand.

`pytest -m cuda tests/sampling/test_onnx_cuda.py` runs it, with the extra onnx-gpu.
"""

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

import smoothcert
from smoothcert.classifiers.onnx_providers import ComputedElsewhere
from smoothcert.compress import compress
from smoothcert.data.inputs import Inputs
from smoothcert.errors import ModelError, OutOfMemory
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling.answers import CONTEST, LABEL
from smoothcert.sampling.batch_size import fitting_batch
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample
from smoothcert.sampling.gpu import on_device
from smoothcert.sampling.probe import probe
from support import onnx_graphs as graphs
from support.command_line import run
from support.device_batches import answers, batches

pytestmark = pytest.mark.cuda
THERE = onnxruntime.get_available_providers()
LAW = RoundedGaussian(0.5, 1 / 255)
MODES = ("eager", "fast", "tensorrt")


@pytest.fixture(autouse=True)
def provider():
    if "CUDAExecutionProvider" not in THERE:
        pytest.skip("needs ONNX Runtime for GPUs: the extra onnx-gpu")


@pytest.fixture(scope="module")
def pictures():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32))
    return Inputs.from_arrays(pixels / 255)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory, pictures):
    """A network in whose file the batch is left open, as `compress` writes it."""
    path = tmp_path_factory.mktemp("onnx") / "resnet.onnx"
    compress("cifar_resnet20@pretrained-0.50", "onnx", path, inputs=pictures)
    return path


def in_mode(path, mode):
    if mode == "tensorrt" and "TensorrtExecutionProvider" not in THERE:
        pytest.skip("this build of ONNX Runtime is without TensorRT")
    try:
        return smoothcert.load_classifier(path, device="cuda", mode=mode)
    except ModelError as error:
        if mode == "tensorrt" and "could not start" in str(error):
            pytest.skip("TensorRT is not installed")
        raise


@pytest.mark.parametrize("mode", MODES)
def test_batches_under_way_keep_their_answers(mode, resnet, pictures):
    """What is in the device's queue reads its own images, and its answers are read in any order.

    One batch after the other, each waited for, cannot mix them up.
    """
    classifier, some = in_mode(resnet, mode), list(batches(pictures, 40, 512))
    with on_device(classifier, LAW, 7, CONTEST) as labels:
        together = answers(labels, some)
        alone = []
        for batch in some:
            torch.cuda.synchronize()
            alone.append(labels.submit(batch).result())
            torch.cuda.synchronize()
    for here, there in zip(together, alone, strict=True):
        assert here.tobytes() == there.tobytes()
    assert len(set(np.concatenate([one["label"] for one in alone]))) > 2


@pytest.mark.parametrize("mode", MODES)
def test_votes_are_those_of_the_definitions_images(mode, resnet, pictures):
    """Images made on the CPU, copied, and their logits copied back."""
    classifier, size = in_mode(resnet, mode), 64
    items = [pictures.item(i) for i in range(4)]
    wanted = [Request(item, Stream.ESTIMATION, range(size)) for item in items]
    for item, found in zip(items, sample(classifier, wanted, LAW, 5, size), strict=True):
        steps = LAW.draws(5, item.index, Stream.ESTIMATION, np.arange(size), item.pixels.shape)
        images = (item.pixels + steps).astype(np.float32) * np.float32(1 / 255)
        assert (found == classifier.logits(images).argmax(axis=1)).all()


@pytest.mark.parametrize("mode", MODES)
def test_rows_do_not_depend_on_their_batch(mode, resnet, pictures):
    """As for every classifier; whether they are the same bits is only recorded."""
    probe(in_mode(resnet, mode), pictures.item(0), LAW, 0, 256)


def test_strict_float32_is_near_the_cpus_and_all_of_it_is_on_the_gpu(resnet, pictures):
    """The control: products in TensorFloat-32 are far less near."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ComputedElsewhere)
        there = smoothcert.load_classifier(resnet, device="cuda")
    here = smoothcert.load_classifier(resnet)
    images = np.random.default_rng(0).normal(0.5, 0.5, (256, 3, 32, 32)).astype(np.float32)
    expected = here.logits(images)
    largest = np.abs(expected).max()
    assert np.abs(there.logits(images) - expected).max() < 1e-4 * largest
    fast = smoothcert.load_classifier(resnet, device="cuda", mode="fast")
    if torch.cuda.get_device_capability() >= (8, 0):
        assert np.abs(fast.logits(images) - expected).max() > 1e-5 * largest
    requests = [Request(item, Stream.ESTIMATION, range(2000)) for item in pictures]
    ours, theirs = (np.concatenate(list(sample(c, requests, LAW, 0, 256))) for c in (here, there))
    assert (ours != theirs).mean() < 1e-3


@pytest.mark.parametrize("rows", ["batch", 7, 1])
@pytest.mark.parametrize(
    ("kind", "numpy_kind"),
    [
        (TensorProto.FLOAT, np.float32),
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.DOUBLE, np.float64),
    ],
)
def test_types_and_fixed_batches(kind, numpy_kind, rows, tmp_path, digits):
    model = graphs.model(
        inputs=[graphs.value("x", [rows, 1, 8, 8], kind)],
        outputs=[graphs.value("logits", [rows, 10], kind)],
        constants={"w": graphs.WEIGHTS.astype(numpy_kind)},
    )
    onnx.save(model, tmp_path / "x.onnx")
    here, there = (
        smoothcert.load_classifier(tmp_path / "x.onnx", device=d) for d in ("cpu", "cuda")
    )
    images = np.random.default_rng(0).normal(0.5, 0.3, (32, 1, 8, 8)).astype(np.float32)
    expected, found = here.logits(images), there.logits(images)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=1e-2 if numpy_kind == np.float16 else 1e-4)
    law = RoundedGaussian(0.25, 1 / 256)
    with on_device(there, law, 5, LABEL) as labels:
        answers(labels, list(batches(digits, 8)))


def test_fitting_batches_run_and_what_does_not_fit_says_so(resnet, tmp_path, pictures):
    classifier = smoothcert.load_classifier(resnet, device="cuda")
    size = fitting_batch(classifier, pictures.shape)
    assert len(classifier.logits(np.zeros((size, 3, 32, 32), np.float32))) == size
    hungry = graphs.model(
        graphs.node("Shape", "x", "shape"),
        graphs.node("Gather", "shape zero", "rows"),
        graphs.node("Concat", "rows each", "size", axis=0),
        graphs.node("Expand", "w0 size", "filled"),
        graphs.node("ReduceMax", "filled", "most", keepdims=0),
        graphs.node("Add", "logits most", "y"),
        outputs=[graphs.value("y", ["batch", 10])],
        constants={
            "zero": np.array([0]),
            "each": np.array([2**27]),
            "w0": np.zeros((1, 1), np.float32),
        },
    )
    onnx.save(hungry, tmp_path / "hungry.onnx")
    classifier = smoothcert.load_classifier(tmp_path / "hungry.onnx", device="cuda")
    total = torch.cuda.mem_get_info()[1]
    assert 1 <= fitting_batch(classifier, (1, 8, 8)) < total // 2**29
    with pytest.raises(OutOfMemory, match=r"cuda has too little memory for hungry\.onnx"):
        classifier.logits(np.zeros((total // 2**29 + 1, 1, 8, 8), np.float32))


def test_runs_are_made_changed_replayed_and_verified(models, tmp_path):
    """The command line, from an ONNX model to its int8 one, both on the GPU."""
    base, cuda = tmp_path / "base", ("--device", "cuda")
    data = ("--data", "digits", "--limit", 10)
    run("certify", models / "net.onnx", *data, "--sigma", 0.25, "--n", 20_000, "--out", base, *cuda)
    out = tmp_path / "int8"
    run("recertify", models / "int8.onnx", "--base", base, "--out", out, *cuda)
    run("verify", out)
    assert "replay" in run("verify", base, "--replay", "5%", *cuda).stdout
