"""On a CUDA device, all that needs one: noise, votes, memory, runs and training."""

import numpy as np
import pytest
import torch
from torch import nn

import smoothcert
from smoothcert import zoo
from smoothcert.certificate import Outcome
from smoothcert.classifiers.copies import copied
from smoothcert.classifiers.pytorch import TorchClassifier, save_weights
from smoothcert.data.inputs import Inputs
from smoothcert.errors import OutOfMemory
from smoothcert.noise.law import Addresses, RoundedGaussian, Stream
from smoothcert.noise.numba_kernel import NoisyImages
from smoothcert.noise.torch_kernel import TorchNoise, stacked
from smoothcert.sampling.answers import CONTEST
from smoothcert.sampling.batch_size import fitting_batch
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample
from smoothcert.training.gaussian import train
from smoothcert.training.recipe import recipe
from support.command_line import run

pytestmark = pytest.mark.cuda
LAW = RoundedGaussian(0.25, 1 / 256)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 5, 7)])
@pytest.mark.parametrize(("sigma", "grid"), [(0.12, 1 / 255), (1.0, 1 / 255), (0.5, 1 / 4096)])
def test_compiled_noise_is_the_definitions(sigma, grid, shape, layout):
    """Every value of a batch, with addresses and seeds from all over their ranges."""
    law, rows, rng = RoundedGaussian(sigma, grid), 512, np.random.default_rng(0)
    maker = TorchNoise(law, "cuda")
    clean = rng.integers(0, law.levels + 1, (rows, *shape), dtype=np.int32)
    for seed in (0, 2**63, 2**64 - 1):
        inputs, draws = rng.integers(0, 2**40, rows), rng.integers(0, 2**62, rows)
        addresses = Addresses(inputs, rng.integers(0, 7, rows), draws)
        expected = np.empty(clean.shape, np.float32)
        NoisyImages(law, seed)(addresses, clean, np.arange(rows), expected)
        with torch.inference_mode():
            places = torch.from_numpy(stacked(addresses)).cuda()
            found = maker.images(maker.seed(seed), places, torch.from_numpy(clean).cuda(), layout)
        assert found.is_contiguous(memory_format=layout)
        assert (found.cpu().numpy() == expected).all()


def test_votes_are_those_of_the_definitions_images(digits, network):
    """Compiled noise, pinned copies and events, against images made on the CPU."""
    classifier, size = TorchClassifier.of(network, "net", "cuda"), 64
    items = [digits.item(i) for i in range(12)]
    wanted = [Request(item, Stream.ESTIMATION, range(size)) for item in items]
    for item, found in zip(items, sample(classifier, wanted, LAW, 5, size), strict=True):
        steps = LAW.draws(5, item.index, Stream.ESTIMATION, np.arange(size), item.pixels.shape)
        images = (item.pixels + steps).astype(np.float32) * np.float32(1 / 256)
        assert (found == classifier.logits(images).argmax(axis=1)).all()


@pytest.mark.parametrize("mode", ["eager", "compiled", "fast"])
def test_votes_repeat_and_do_not_depend_on_what_shares_a_batch(mode):
    """Twice alone, and mixed with draws of other inputs, which probes rely on."""
    torch.manual_seed(0)
    module = zoo.build("cifar_resnet8", 3, 10).eval()
    classifier = TorchClassifier.of(module, "net", "cuda").in_mode(mode)
    data = Inputs.from_arrays(np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32)) / 255)
    law = RoundedGaussian(0.5, 1 / 255)

    def votes(requests):
        return list(sample(classifier, requests, law, 0, 256, answer=CONTEST))

    alone = [Request(data.item(0), Stream.ESTIMATION, range(1000))]
    mixed = [Request(data.item(i), Stream.ESTIMATION, range(3 + 250 * i)) for i in (3, 2, 1)]
    first, again, among = votes(alone)[0], votes(alone)[0], votes([*mixed, *alone])[-1]
    assert (first == again).all()
    assert (first["label"] == among["label"]).all()


@pytest.mark.parametrize("kind", ["Int8Dynamic", "Int8WeightOnly", "Float8Dynamic"])
def test_real_low_precision_is_recertified(digits, kind):
    """Products of 8 bits by torchao, each row with its own scale: votes repeat."""
    ao = pytest.importorskip("torchao.quantization")
    rows, whole = {}, "Int8DynamicActivationInt8WeightConfig"
    if kind == "Float8Dynamic":
        if torch.cuda.get_device_capability() < (8, 9):
            pytest.skip("this GPU has no float8")
        rows, whole = {"granularity": ao.PerRow()}, "Float8DynamicActivationFloat8WeightConfig"
    elif kind == "Int8WeightOnly":
        whole = "Int8WeightOnlyConfig"
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
    plain = nn.Sequential(*layers).eval()
    reduced = copied(plain).cuda()
    if kind == "Float8Dynamic":
        reduced = nn.Sequential(_Bfloat16(), *reduced.bfloat16())
    ao.quantize_(reduced, getattr(ao, whole)(**rows))
    base = smoothcert.certify(TorchClassifier.of(plain, "net", "cuda"), digits, sigma=0.25, n=1000)
    changed = TorchClassifier.of(reduced, "reduced", "cuda")
    first = smoothcert.recertify(base, changed, digits)
    again = smoothcert.recertify(base, changed, digits)
    assert first.certificates == again.certificates
    assert first.evaluations < base.evaluations
    certified = [sum(c.outcome is Outcome.CERTIFIED for c in r.certificates) for r in (base, first)]
    assert certified[1] >= certified[0] / 2 > 0


class _Bfloat16(nn.Module):
    def forward(self, x):
        return x.bfloat16()


def test_fitting_batches_run(network):
    classifier = TorchClassifier.of(network, "net", "cuda")
    size = fitting_batch(classifier, (1, 8, 8))
    assert len(classifier.logits(np.zeros((size, 1, 8, 8), np.float32))) == size


class Hungry(nn.Module):
    """Takes half a gigabyte for each row."""

    def forward(self, images):
        kept = images.new_zeros(len(images), 2**27)
        return images.flatten(1)[:, :2] + kept[:, :2]


def test_what_really_does_not_fit_is_halved_and_gives_its_memory_back():
    classifier = TorchClassifier.of(Hungry(), "hungry", "cuda")
    size = fitting_batch(classifier, (1, 4, 4))
    free, total = torch.cuda.mem_get_info()
    assert 16 <= size < total // 2**29
    assert free > total // 2
    with pytest.raises(OutOfMemory, match=r"cuda has too little memory for hungry"):
        classifier.logits(np.zeros((total // 2**29 + 1, 1, 4, 4), np.float32))


@pytest.fixture
def weights(network, tmp_path):
    save_weights(network, "small_cnn", tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_runs_are_made_changed_replayed_and_verified(weights, tmp_path):
    """What the command line does with a GPU, to the last verdict."""
    pruned, base = tmp_path / "prune.safetensors", tmp_path / "base"
    model, cuda = f"small_cnn@{weights}", ("--device", "cuda")
    data = ("--data", "digits", "--limit", 10)
    run("compress", model, "--to", "prune:0.1", "--out", pruned)
    run("certify", model, *data, "--sigma", 0.25, "--n", 20_000, "--out", base, *cuda)
    for policy in ("uniform:500", "budget:5000"):
        out = tmp_path / policy.replace(":", "-")
        run("recertify", pruned, "--base", base, "--policy", policy, "--out", out, *cuda)
        run("verify", out)
    assert "replay" in run("verify", base, "--replay", "5%", *cuda).stdout


def test_results_are_those_of_the_cpu_but_for_last_bits(weights):
    """Labels agree on all but a few draws: other sums, the same noise."""
    data = smoothcert.load_inputs("digits", limit=10)
    here, there = (
        smoothcert.load_classifier(f"small_cnn@{weights}", device=device)
        for device in ("cpu", "cuda")
    )
    requests = [Request(item, Stream.ESTIMATION, range(2000)) for item in data]
    ours = np.concatenate(list(sample(here, requests, LAW, 0, 256)))
    theirs = np.concatenate(list(sample(there, requests, LAW, 0, 4096)))
    assert (ours != theirs).mean() < 1e-3


def test_training_repeats_to_the_bit():
    data = Inputs.from_arrays(
        np.random.default_rng(0).integers(0, 256, (512, 3, 32, 32)) / 255, np.arange(512) % 10
    )
    chosen = recipe("short", 0.5, architecture="cifar_resnet8", epochs=2)
    first, again = (train(chosen, data, "cuda").state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(tensor.is_contiguous() for tensor in first.values())
