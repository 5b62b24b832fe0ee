"""Modes: what they set while a network runs, what they change, and that they are recorded."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import numpy as np
import pytest
import torch
from torch import nn

import smoothcert
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.classifiers.torch_modes import arithmetic
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample


def settings():
    cudnn = torch.backends.cudnn
    precisions = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn, torch.backends.mkldnn.matmul)
    return cudnn.deterministic, cudnn.benchmark, *(p.fp32_precision for p in precisions)


STRICT = (True, False, "ieee", "ieee", "ieee", "ieee")
FAST = (True, True, "tf32", "tf32", "tf32", "ieee")


@pytest.fixture
def users():
    """Settings of a user who wants speed elsewhere, and a way to see that they are back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    yield settings()
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.benchmark = before[1]


def test_a_network_runs_under_its_modes_settings_and_users_settings_return(users):
    seen = []

    class Seeing(nn.Module):
        def forward(self, images):
            seen.append(settings())
            if len(images) == 3:
                raise ValueError("three")
            return images

    classifier = TorchClassifier.of(Seeing(), "seeing")
    classifier.logits(np.zeros((2, 2), np.float32))
    assert seen == [STRICT]
    assert settings() == users
    with pytest.raises(ModelError, match="three"):
        classifier.logits(np.zeros((3, 2), np.float32))
    assert settings() == users
    assert torch.backends.cuda.matmul.allow_tf32  # the older interface can be read again


def test_fast_settings(users):
    with arithmetic("fast"):
        assert settings() == FAST
    assert settings() == users


def test_threads_share_a_mode_and_wait_for_another(users):
    both, strict_done, seen = Barrier(2), Event(), []

    def strict(_):
        with arithmetic("eager"):
            both.wait(10)
            seen.append(settings())
            both.wait(10)
        return settings()

    def fast(_):
        with arithmetic("fast"):
            assert strict_done.is_set()
            return settings()

    with ThreadPoolExecutor(3) as pool:
        first = list(pool.map(strict, range(2)))
        assert seen == [STRICT, STRICT]
        assert users in first
        with arithmetic("eager"):
            later = pool.submit(fast, 0)
            assert not later.done()
            strict_done.set()
        assert later.result(10) == FAST
    assert settings() == users


@pytest.mark.slow
def test_compiled_logits_are_close_and_the_fingerprint_says_so(digits, models):
    reference = f"small_cnn@{models / 'net.safetensors'}"
    eager = smoothcert.load_classifier(reference)
    compiled = smoothcert.load_classifier(f"compiled:{reference}")
    images = np.stack([item.pixels for item in digits]).astype(np.float32) / 256
    assert np.abs(compiled.logits(images) - eager.logits(images)).max() < 1e-5
    assert compiled.name == f"compiled:{eager.name}"
    modes = [smoothcert.load_classifier(reference, mode=m) for m in ("eager", "compiled", "fast")]
    assert len({m.fingerprint for m in modes}) == 3
    assert [m.fingerprint for m in modes[:2]] == [eager.fingerprint, compiled.fingerprint]


@pytest.mark.slow
def test_compiled_votes_are_eagers_but_for_near_ties_and_threads_share_what_is_compiled(
    digits, network
):
    from torch._dynamo.utils import counters

    law = RoundedGaussian(0.25, 1 / 256)
    wanted = [Request(item, Stream.ESTIMATION, range(200)) for item in digits]
    torch._dynamo.reset()
    counters.clear()

    def votes(mode, threads):
        classifier = smoothcert.load_classifier(network, threads=threads, mode=mode)
        return np.concatenate(list(sample(classifier, wanted, law, 0, 64)))

    eager, compiled = votes("eager", 2), votes("compiled", 3)
    assert (eager != compiled).mean() < 0.001
    assert counters["stats"]["unique_graphs"] == 1


def test_a_mode_that_a_model_cannot_have(models, network):
    with pytest.raises(InvalidInput, match="one of eager, compiled, fast, .* got 'quick'"):
        smoothcert.load_classifier(network, mode="quick")
    with pytest.raises(ModelError, match="net.onnx cannot be 'compiled': an ONNX model is eager"):
        smoothcert.load_classifier(f"compiled:{models / 'net.onnx'}")
    with pytest.raises(ModelError, match=r"Only an ONNX model on CUDA can be 'tensorrt'; got .*"):
        smoothcert.load_classifier(network, mode="tensorrt")
    for mode in ("fast", "tensorrt"):
        with pytest.raises(ModelError, match=f"net.onnx can be '{mode}' on CUDA only: give"):
            smoothcert.load_classifier(f"{mode}:{models / 'net.onnx'}")
        with pytest.raises(ModelError, match=f"net.onnx can be '{mode}' on CUDA only: give"):
            smoothcert.load_classifier(models / "net.onnx", mode=mode)
    function = smoothcert.from_function(lambda x: x, "mine", "1")
    with pytest.raises(ModelError, match=r"torch models, and ONNX models on CUDA, .* got mine"):
        smoothcert.load_classifier(function, mode="fast")
    with pytest.raises(ModelError, match="already has a mode"):
        smoothcert.load_classifier(f"fast:small_cnn@{models / 'net.safetensors'}", mode="compiled")


def test_a_network_that_is_no_single_graph_is_refused_in_compiled_mode():
    class Broken(nn.Module):
        def forward(self, images):
            print(end="", flush=True)
            return images * float(images.sum().item() > 0)

    broken = smoothcert.load_classifier(Broken(), mode="compiled")
    with pytest.raises(ModelError, match=r"or load it without 'compiled'\."):
        broken.logits(np.ones((2, 3), np.float32))


@pytest.mark.slow
def test_a_run_in_one_mode_is_not_resumed_in_another(digits, models, tmp_path):
    from smoothcert.certificate import Settings
    from smoothcert.errors import Mismatch
    from smoothcert.execution.runner import RunOptions, run_certify

    reference = f"small_cnn@{models / 'net.safetensors'}"
    facts = (digits, Settings(0.25, digits.levels, 10, 100, 0.01))
    run_certify(tmp_path / "run", smoothcert.load_classifier(reference), *facts, RunOptions())
    fast = smoothcert.load_classifier(f"fast:{reference}")
    with pytest.raises(Mismatch, match="model \\(its fingerprint\\)"):
        run_certify(tmp_path / "run", fast, *facts, RunOptions(resume=True))
