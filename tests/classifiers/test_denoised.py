"""A denoiser in front of a torch model: denoised smoothing, and one step of a diffusion model."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import smoothcert
from smoothcert.api.check import examined
from smoothcert.certificate import Settings
from smoothcert.classifiers.denoising import Schedule, denoising
from smoothcert.classifiers.preprocessing_files import denoiser_in
from smoothcert.compress import compress
from smoothcert.errors import InvalidInput, ModelError
from support.command_line import run_in

SIGMA = 0.5
OWN = """
import torch
from torch import nn


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 128, 2), nn.ReLU(),
            nn.ConvTranspose2d(128, 16, 8), nn.ReLU(),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def forward(self, images):
        return self.layers(images)


class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, images, times):
        return self.layers(images) + 1e-3 * times[:, None, None, None]


class Wider(nn.Module):
    def forward(self, images):
        return torch.cat([images, images], 1)


class Nothing(nn.Module):
    def forward(self, images):
        return images * torch.nan


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images):
        return self.layers(images)


def timed():
    torch.manual_seed(0)
    return Timed()
"""
DIFFUSION = {
    "denoiser": "own_parts:timed",
    "denoiser_range": [-1, 1],
    "denoiser_predicts": "noise",
    "denoiser_schedule": {"kind": "linear", "steps": 1000, "first": 1e-4, "last": 0.02},
    "denoiser_sigma": SIGMA,
}


def clean(inputs):
    return torch.from_numpy(np.stack([item.pixels for item in inputs]) / inputs.levels).float()


def trained(network, loss, steps):
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network, generator).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A classifier and a denoiser, hardly trained: what they compute matters, not how well."""
    return made(tmp_path_factory.mktemp("denoised"), 3, 3)


@pytest.fixture(scope="module")
def useful(tmp_path_factory):
    """A classifier that never saw noise, and a denoiser for sigma 0.5, trained on digits."""
    return made(tmp_path_factory.mktemp("useful"), 300, 500)[0]


def made(folder, steps, denoising):
    """The files of both, after so many steps of training, and their modules."""
    (folder / "own_parts.py").write_text(OWN)
    space = {}
    exec(OWN, space)
    train = smoothcert.load_inputs("digits", split="train")
    images, labels = clean(train), torch.tensor(train.labels)

    def some(generator):
        return torch.randint(len(images), (128,), generator=generator)

    def entropy(network, generator):
        rows = some(generator)
        return nn.functional.cross_entropy(network(images[rows]), labels[rows])

    def square(network, generator):
        wanted = images[some(generator)]
        noise = SIGMA * torch.randn(wanted.shape, generator=generator)
        return nn.functional.mse_loss(network(wanted + noise), wanted)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = {
            "network": trained(space["Network"](), entropy, steps),
            "denoiser": trained(space["Denoiser"](), square, denoising),
            "timed": space["timed"]().eval(),
        }
    torch.save(parts["denoiser"].state_dict(), folder / "denoiser.pth")
    torch.save(parts["network"].state_dict(), folder / "network.pth")
    batch = {0: torch.export.Dim("batch")}
    for name, times in (("network", None), ("denoiser", None), ("timed", torch.zeros(2))):
        example = (images[:2],) if times is None else (images[:2], times)
        shapes = tuple(batch for _ in example)
        program = torch.export.export(parts[name], example, dynamic_shapes=shapes)
        torch.export.save(program, folder / f"{name}.pt2")
    write(folder, "d.json", {"denoiser": "denoiser.pt2", "denoiser_sigma": SIGMA})
    write(folder, "diffusion.json", DIFFUSION)
    return folder, parts


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def folder(files, monkeypatch):
    monkeypatch.chdir(files[0])
    monkeypatch.syspath_prepend(files[0])
    return files[0]


def noisy(count=64):
    images = clean(smoothcert.load_inputs("digits", limit=count))
    return images + SIGMA * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_it_is_worth_certificates(useful, monkeypatch):
    monkeypatch.chdir(useful)
    inputs = smoothcert.load_inputs("digits", limit=40)
    right = []
    for model in ("network.pt2", "network.pt2+d.json"):
        classifier = smoothcert.load_classifier(model)
        found = smoothcert.certify(classifier, inputs, SIGMA, n0=50, n=300)
        pairs = zip(found.certificates, inputs.labels, strict=True)
        right.append([c.radius for c, k in pairs if c.candidate == k])
    certified, wide = (
        [sum(radius > least for radius in radii) for radii in right] for least in (0, 0.25)
    )
    assert certified[1] >= certified[0] + 3, certified  # 33 against 27 when written
    assert wide[1] >= wide[0] + 6, wide  # 23 against 11


@pytest.mark.slow
@pytest.mark.parametrize("front", ["own_parts:Denoiser@denoiser.pth", "denoiser.pt2"])
@pytest.mark.parametrize("range_", [[0, 1], [-1, 1]])
def test_logits_are_those_of_the_composition_by_hand(front, range_, folder, files):
    parts, images = files[1], noisy()
    write(folder, "p.json", {"denoiser": front, "denoiser_range": range_, "mean": 0.5, "std": 0.25})
    low = range_[0]
    with torch.no_grad():
        found = parts["denoiser"](2 * images - 1 if low else images).clamp(low, 1)
        found = (found + 1) / 2 if low else found
        expected = parts["network"]((found - 0.5) / 0.25).numpy()
    got = smoothcert.load_classifier("network.pt2+p.json").logits(images.numpy())
    assert np.array_equal(got.argmax(1), expected.argmax(1))
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def by_search(sigma, betas, doubled=True):
    """The step whose noise is nearest, by trying each: x_t = sqrt(a) x + sqrt(1 - a) noise."""
    kept, best = 1.0, (np.inf, -1, 0.0)
    for step, beta in enumerate(betas):
        kept *= 1 - beta
        apart = abs(np.sqrt((1 - kept) / kept) - (2 if doubled else 1) * sigma)
        best = min(best, (apart, step, kept))
    return best[1:]


def betas_of(kind):
    if kind == "linear":
        return np.linspace(1e-4, 0.02, 1000)

    def share(time):
        return np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2

    return [min(1 - share((i + 1) / 1000) / share(i / 1000), 0.999) for i in range(1000)]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("sigma", [0.05, 0.25, 0.5, 1.0, 3.0])
def test_the_step_is_the_one_with_nearest_noise(kind, sigma):
    keys = DIFFUSION | {"denoiser_schedule": {"kind": kind}, "denoiser_sigma": sigma}
    found = denoising(keys)
    step, kept = by_search(sigma, betas_of(kind))
    assert found.second == step
    assert found.kept == pytest.approx(kept, rel=1e-12)
    assert found.second != by_search(sigma, betas_of(kind), doubled=False)[0]
    plain = denoising(keys | {"denoiser_range": [0, 1]})
    assert plain.second == by_search(sigma, betas_of(kind), doubled=False)[0]


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["own_parts:timed", "timed.pt2"])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_one_step_of_a_diffusion_model(reference, kind, folder, files):
    parts, images = files[1], noisy()
    more = {"denoiser": reference, "denoiser_schedule": {"kind": kind}}
    write(folder, "p.json", DIFFUSION | more)
    got = smoothcert.load_classifier("network.pt2+p.json").logits(images.numpy())

    def by_hand(step, kept):
        values = np.sqrt(kept) * (2 * images - 1)
        with torch.no_grad():
            noise = parts["timed"](values.float(), torch.full((len(images),), step))
            found = ((values - np.sqrt(1 - kept) * noise) / np.sqrt(kept)).clamp(-1, 1)
            return parts["network"](((found + 1) / 2).float()).numpy()

    expected = by_hand(*by_search(SIGMA, betas_of(kind)))
    wrong = by_hand(*by_search(SIGMA, betas_of(kind), doubled=False))
    close = 1e-4 * np.abs(expected).max()
    assert np.array_equal(got.argmax(1), expected.argmax(1))
    assert np.abs(got - expected).max() < close < np.abs(got - wrong).max()


@pytest.mark.slow
def test_time_and_sigma_as_second_arguments(folder, files):
    parts, images = files[1], noisy()
    for time, second, low in ((3, 3, 0), (2.5, 2.5, 0), ("sigma", 0.5, 0), ("sigma", 1.0, -1)):
        more = {"denoiser_time": time, "denoiser_sigma": SIGMA, "denoiser_range": [low, 1]}
        write(folder, "p.json", {"denoiser": "timed.pt2", **more})
        with torch.no_grad():
            values = 2 * images - 1 if low else images
            found = parts["timed"](values, torch.full((len(images),), second)).clamp(low, 1)
            expected = parts["network"]((found + 1) / 2 if low else found).numpy()
        got = smoothcert.load_classifier("network.pt2+p.json").logits(images.numpy())
        assert np.allclose(got, expected, atol=1e-4)


def test_what_was_added_is_subtracted(folder, files):
    write(folder, "p.json", {"denoiser": "denoiser.pt2", "denoiser_predicts": "noise"})
    parts, images = files[1], noisy()
    with torch.no_grad():
        expected = parts["network"]((images - parts["denoiser"](images)).clamp(0, 1)).numpy()
    got = smoothcert.load_classifier("network.pt2+p.json").logits(images.numpy())
    assert np.allclose(got, expected, atol=1e-4)


def test_it_is_part_of_the_fingerprint(folder, files):
    def fingerprint(**content):
        write(folder, "p.json", content)
        return smoothcert.load_classifier("network.pt2+p.json").fingerprint

    weights = {k: v.clone() for k, v in files[1]["denoiser"].state_dict().items()}
    torch.save(weights, folder / "same.pth")
    weights["layers.0.bias"][0] += 1e-3
    torch.save(weights, folder / "other.pth")
    made = "own_parts:Denoiser@"
    same = [fingerprint(denoiser=f"{made}{name}.pth") for name in ("denoiser", "same")]
    assert same[0] == same[1]
    others = [
        smoothcert.load_classifier("network.pt2").fingerprint,
        fingerprint(denoiser=f"{made}other.pth"),
        fingerprint(denoiser=f"{made}denoiser.pth", denoiser_range=[-1, 1]),
        fingerprint(denoiser=f"{made}denoiser.pth", denoiser_predicts="noise"),
        fingerprint(denoiser="own_parts:timed", denoiser_time=3),
        fingerprint(denoiser="own_parts:timed", denoiser_time=3.0),
        fingerprint(denoiser="own_parts:timed", denoiser_time=4),
        fingerprint(**DIFFUSION),
        fingerprint(**DIFFUSION | {"denoiser_sigma": 0.25}),
    ]
    assert len({*same, *others}) == 1 + len(others)


def test_a_file_beside_the_json_is_found_from_elsewhere(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = denoiser_in(folder / "d.json")
    assert found.model == str(folder / "denoiser.pt2")
    assert smoothcert.load_classifier(f"{folder}/network.pt2+{folder}/d.json").denoises == SIGMA


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"denoiser": "own_parts:Wider"}, r"gives \(2, 8, 8\) for images of shape \(1, 8, 8\)"),
        ({"denoiser": "own_parts:Nothing"}, "gives NaN for every value"),
        ({"denoiser": "none.pt2"}, "There is no model file"),
        ({"denoiser": "own_parts:none"}, "own_parts"),
        ({"denoiser": "denoiser.pt2", "denoiser_time": 3}, "must take two tensors"),
        ({"denoiser": "timed.pt2"}, "takes 2 tensors"),
        ({"denoiser": "own_parts:timed"}, "failed on a batch"),
        ({"denoiser": "timm:resnet18"}, "a denoiser is a file of weights or a program"),
        ({"denoiser": "denoiser.pt2+d.json"}, "a denoiser is a file of weights or a program"),
        ({"denoiser_sigma": 0.5}, "denoiser_sigma needs a denoiser beside it"),
        ({"denoiser": "d.pt2", "denoiser_range": [0, 255]}, r"must be \[0, 1\] or \[-1, 1\]"),
        ({"denoiser": "d.pt2", "denoiser_predicts": "images"}, "Did you mean 'image'"),
        ({"denoiser": "d.pt2", "denoiser_time": True}, "must be a number, or the word sigma"),
        ({"denoiser": "d.pt2", "denoiser_time": "sigma"}, "needs denoiser_sigma"),
        ({"denoiser": "d.pt2", "denoiser_sigma": -1}, "must be a positive number"),
        ({"denoiser": "d.pt2", "denoiser_sgima": 1}, "Did you mean 'denoiser_sigma'"),
        ({"denoiser": "d.pt2", "denoiser_schedule": {"kind": "linear"}}, "needs denoiser_sigma"),
        (DIFFUSION | {"denoiser_time": 3}, "leave out denoiser_time"),
        (DIFFUSION | {"denoiser_sigma": 1e-4}, "no step fits"),
        (DIFFUSION | {"denoiser_sigma": 1e4}, "no step fits"),
        (DIFFUSION | {"denoiser_schedule": {"kind": "square"}}, "linear or cosine"),
        (DIFFUSION | {"denoiser_schedule": {"kind": "cosine", "last": 0.1}}, "which is not known"),
        (DIFFUSION | {"denoiser_schedule": {"kind": "linear", "steps": 1}}, "2 to 100000 steps"),
        (DIFFUSION | {"denoiser_schedule": {"kind": "linear", "last": 2}}, "below 1"),
    ],
)
def test_refused_in_words(content, message, folder):
    write(folder, "wrong.json", content)
    with pytest.raises((ModelError, InvalidInput), match=message):
        smoothcert.load_classifier("network.pt2+wrong.json").logits(noisy(4).numpy())


def test_a_schedule_has_as_much_noise_as_it_says():
    kept = Schedule("cosine").kept
    assert (np.diff(kept) < 0).all()
    assert kept[0] > 0.999
    assert kept[-1] < 1e-3


@pytest.mark.slow
def test_from_certify_to_a_screened_int8_model(folder, tmp_path):
    draws = ("--data", "digits", "--limit", 3, "--sigma", SIGMA)
    base = tmp_path / "base"
    few = ("--n0", 8, "--n", 60)
    _, said = run_in("certify", "network.pt2+d.json", *draws, *few, "--out", base, cwd=folder)
    assert "In front stands the denoiser denoiser.pt2" in said
    assert "denoiser.pt2" in json.loads((base / "run.json").read_text())["origin"]["front"]
    out, _ = run_in("verify", base, "--replay", "100%", cwd=folder)
    assert "all as stored" in out
    int8 = tmp_path / "int8.onnx"
    more = ("--data", "digits", "--split", "train", "--sigma", SIGMA)
    run_in("compress", "network.pt2+d.json", "--to", "int8", *more, "--out", int8, cwd=folder)
    run_in("recertify", int8, "--base", base, "--out", tmp_path / "r", cwd=folder)
    run_in(
        "screen", int8, "network.pt2+diffusion.json", "--base", base, "--per-input", 4, cwd=folder
    )
    changed = {"denoiser": "denoiser.pt2", "denoiser_range": [-1, 1]}
    write(folder, "changed.json", changed)
    resumed = ("certify", "network.pt2+changed.json", *draws, *few, "--out", base, "--resume")
    _, refused = run_in(*resumed, cwd=folder, code=2)
    assert "model" in refused


def test_code_that_only_a_file_beside_a_run_names_is_not_imported(folder, tmp_path):
    draws = ("--data", "digits", "--limit", 2, "--sigma", SIGMA, "--n0", 8, "--n", 20)
    model = "network.pt2+diffusion.json"
    run_in("certify", model, *draws, "--out", tmp_path / "run", cwd=folder)
    _, err = run_in("verify", tmp_path / "run", "--replay", "100%", cwd=folder, code=2)
    assert "has in front Python code" in err
    named = ("verify", tmp_path / "run", "--replay", "100%", "--model", model)
    assert "all as stored" in run_in(*named, cwd=folder)[0]


@pytest.mark.slow
def test_another_sigma_is_noted(folder):
    inputs = smoothcert.load_inputs("digits", limit=20)
    classifier = smoothcert.load_classifier("network.pt2+d.json")
    for sigma, noted in ((0.25, True), (SIGMA, False)):
        found = examined(classifier, inputs, Settings(sigma))
        assert any("is set for sigma 0.5" in hint for hint in found.hints) == noted


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "int8", "int8-pt2e", "bf16", "fp16-weights"])
@pytest.mark.parametrize("front", ["own_parts:Denoiser@denoiser.pth", "own_parts:timed"])
def test_compressed_pipelines_agree_with_their_originals(target, front, folder, tmp_path):
    more = DIFFUSION if front == "own_parts:timed" else {}
    write(folder, "p.json", {"mean": 0.5, "std": 0.5, **more, "denoiser": front})
    model = "own_parts:Network@network.pth+p.json"
    inputs = smoothcert.load_inputs("digits", limit=64)
    out = tmp_path / f"q.{'onnx' if target in ('onnx', 'int8') else 'pt2'}"
    compress(model, target, out, inputs=inputs, sigma=SIGMA)
    before, after = (smoothcert.load_classifier(m).logits(noisy().numpy()) for m in (model, out))
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.9
    if target == "onnx":
        assert np.abs(before - after).max() < 1e-4 * np.abs(before).max()


def test_training_trains_the_denoiser_too(folder, tmp_path):
    write(folder, "p.json", {"denoiser": "own_parts:Denoiser@denoiser.pth"})
    model, out = "own_parts:Network@network.pth+p.json", tmp_path / "t.pt2"
    more = ("--data", "digits", "--sigma", SIGMA, "--epochs", 1, "--out", out)
    run_in("train", model, *more, cwd=folder)
    program = torch.export.load(out)
    before = torch.load(folder / "denoiser.pth")
    names = [name for name in program.state_dict if name.endswith("layers.0.bias")]
    after = [program.state_dict[name] for name in names if "denoiser" in name]
    assert len(after) == 1
    assert not torch.equal(after[0], before["layers.0.bias"])


@pytest.mark.slow
def test_adapt_writes_one_program_of_both(folder, tmp_path):
    out = tmp_path / "whole.pt2"
    write(folder, "only.json", {"mean": 0.5, "std": 0.5, "denoiser_range": [-1, 1]})
    more = ("--denoiser", "denoiser.pt2", "--preprocess", "only.json", "--out", out)
    said, _ = run_in("adapt", "network.pt2", *more, cwd=folder)
    assert "First, the denoiser denoiser.pt2, on images in [-1, 1]." in said
    write(folder, "p.json", json.loads((folder / "only.json").read_text()) | {"denoiser": "d.pt2"})
    (folder / "d.pt2").write_bytes((folder / "denoiser.pt2").read_bytes())
    before, after = (
        smoothcert.load_classifier(model).logits(noisy().numpy())
        for model in ("network.pt2+p.json", out)
    )
    assert np.abs(before - after).max() < 1e-5 * np.abs(before).max()
    run_in(
        "adapt",
        "network.pt2",
        "--preprocess",
        "diffusion.json",
        "--out",
        tmp_path / "o.pt2",
        cwd=folder,
    )
    before, after = (
        smoothcert.load_classifier(model).logits(noisy().numpy())
        for model in ("network.pt2+diffusion.json", tmp_path / "o.pt2")
    )
    assert np.abs(before - after).max() < 1e-5 * np.abs(before).max()
