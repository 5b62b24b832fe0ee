"""One network in three formats votes alike, and any two models of the same classes make a pair.

docs/models.md states the tolerance that is tested here.
"""

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert import zoo
from smoothcert.certificate import Settings
from smoothcert.classifiers.pytorch import save_weights
from smoothcert.compress import compress
from smoothcert.data.inputs import to_float
from smoothcert.errors import Mismatch
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Reuse
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.training.gaussian import train
from smoothcert.training.recipe import recipe

pytestmark = pytest.mark.slow

SIGMA, N = 0.25, 1000
TOLERANCE = 1e-4  # of the largest logit
FORMATS = ["net.safetensors", "net.pt2", "net.onnx"]


@pytest.fixture(scope="module")
def formats(network, tmp_path_factory):
    """Folder of each architecture with one trained network in the three formats."""
    folders = {}
    data = smoothcert.load_inputs("digits", "train")
    short = recipe("quick", SIGMA, architecture="cifar_resnet8", epochs=3)
    for name, module in (("small_cnn", network), ("cifar_resnet8", train(short, data))):
        folder = folders[name] = tmp_path_factory.mktemp(name)
        save_weights(module, name, folder / "net.safetensors")
        compress(folder / "net.safetensors", "onnx", folder / "net.onnx", inputs=data)
        dynamic = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(module, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=dynamic)
        torch.export.save(program, folder / "net.pt2")
    return folders


@pytest.mark.parametrize("architecture", ["small_cnn", "cifar_resnet8"])
def test_three_formats_vote_alike(architecture, formats, digits):
    """Where two formats disagree, the logits were a tie up to the tolerance."""
    data, noise = digits.select(range(5)), RoundedGaussian(SIGMA, 1 / 256)
    references = [formats[architecture] / name for name in FORMATS]
    runs = [smoothcert.certify(r, data, SIGMA, n0=10, n=N) for r in references]
    loaded = [smoothcert.load_classifier(r) for r in references]
    for position, item in enumerate(data):
        draws = noise.draws(0, item.index, Stream.ESTIMATION, np.arange(N), data.shape)
        logits = [c.logits(to_float(item.pixels + draws, 256)) for c in loaded]
        scale = np.abs(logits[0]).max()
        ordered = np.sort(logits[0], axis=1)
        clear = ordered[:, -1] - ordered[:, -2] > 2 * TOLERANCE * scale
        assert clear.mean() > 0.99
        votes = [run.records[position].votes.estimation for run in runs]
        for other in (1, 2):
            assert np.abs(logits[other] - logits[0]).max() < TOLERANCE * scale
            assert (votes[other] == votes[0])[clear].all()
        assert (votes[0] == logits[0].argmax(axis=1))[clear].all()


@pytest.mark.parametrize("architecture", ["small_cnn", "cifar_resnet8"])
@pytest.mark.parametrize(("base", "new"), [(0, 2), (2, 0), (1, 2), (0, 1)])
def test_another_format_of_the_same_network_flips_almost_nothing(
    base, new, architecture, formats, digits
):
    folder = formats[architecture]
    original = smoothcert.certify(folder / FORMATS[base], digits, SIGMA, n0=50, n=N)
    options = {"per_input": 400, "method": "irs", "gamma": 0.9999}  # all replayed
    changed = smoothcert.recertify(original, folder / FORMATS[new], digits, **options)
    proven = [
        (before, after)
        for before, after in zip(original.certificates, changed.certificates, strict=True)
        if before.predicted >= 0
    ]
    assert len(proven) >= 6
    flips, draws = (
        sum(c) for c in zip(*((after.flips, after.n) for _, after in proven), strict=True)
    )
    print(f"{flips} flips in {draws} draws")
    assert draws == 400 * len(proven)
    assert flips <= 1
    for before, after in proven:
        assert after.predicted == before.predicted
        assert after.zeta < 0.02  # no flip in 400 draws leaves 0.017 at alpha = 0.001


def test_the_measurement_sees_flips(models, digits):
    """The control: pruning a fifth of the weights is not called a change of format."""
    original = smoothcert.certify(models / "net.onnx", digits, SIGMA, n0=50, n=N)
    options = {"per_input": 400, "method": "irs", "gamma": 0.9999}  # all replayed
    changed = smoothcert.recertify(original, models / "prune.safetensors", digits, **options)
    found = [c for c in changed.certificates if c.n]
    assert sum(c.flips for c in found) > 5
    assert max(c.zeta for c in found) > 0.02


PAIRS = {
    "torch, and its int8 in ONNX": ("net.safetensors", "int8.onnx"),
    "int8 in ONNX, and float32 torch": ("int8.onnx", "net.safetensors"),
    "bfloat16 program, and pruned weights": ("bf16.pt2", "prune.safetensors"),
    "small_cnn, and a student of another architecture": ("net.onnx", "student"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_any_pair(pair, models, formats, digits):
    """The new certificates are the new model's own: it votes for their class on fresh noise."""
    places = [
        formats["cifar_resnet8"] / "net.onnx" if name == "student" else models / name
        for name in PAIRS[pair]
    ]
    original = smoothcert.certify(places[0], digits, SIGMA, n0=50, n=N)
    changed = smoothcert.recertify(original, places[1], digits, per_input=500)
    fresh = smoothcert.certify(places[1], digits, SIGMA, n0=50, n=N, seed=1, alpha=1e-4)
    assert changed.fingerprint == smoothcert.load_classifier(places[1]).fingerprint
    certified = 0
    for new, own in zip(changed.records, fresh.records, strict=True):
        if new.certificate.predicted < 0:
            continue
        certified += 1
        share = (own.votes.estimation == new.certificate.predicted).mean()
        # The claimed probability cannot exceed the true one; 0.07 is five standard deviations.
        assert share > new.certificate.q - 0.07
    assert certified >= 5


def test_another_number_of_classes_is_refused(models, digits, tmp_path):
    other = zoo.build("small_cnn", 1, 7).eval()
    save_weights(other, "small_cnn", tmp_path / "seven.safetensors")
    message = "The original has 10 classes and the new classifier 7. A certificate can only be"
    original = smoothcert.certify(models / "net.onnx", digits, SIGMA, n0=10, n=100)
    for method in ("auto", "irs"):
        with pytest.raises(Mismatch, match=message):
            smoothcert.recertify(original, tmp_path / "seven.safetensors", digits, method=method)
    with pytest.raises(Mismatch, match=message):
        smoothcert.screen(original, [tmp_path / "seven.safetensors"], digits, per_input=10)
    settings = Settings(SIGMA, 256, n0=10, n=100)
    first = smoothcert.load_classifier(models / "net.onnx")
    base = run_certify(tmp_path / "base", first, digits, settings, RunOptions())
    seven = smoothcert.load_classifier(tmp_path / "seven.safetensors")
    method = Reuse("uniform:50", alpha=0.002)
    with pytest.raises(Mismatch, match=message):
        run_recertify(tmp_path / "new", base, seven, digits, method, RunOptions())
    assert not (tmp_path / "new").exists()
