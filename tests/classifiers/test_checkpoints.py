"""Checkpoints in the forms that the public code of the field writes, against networks by hand."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import smoothcert
from smoothcert import zoo
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress import compress
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, ModelError
from support.field_networks import (
    CIFAR10,
    IMAGENET,
    CifarResNet,
    FieldLeNet,
    ImageNetResNet,
    InputCenterLayer,
    NormalizeLayer,
    settled,
)

OLD = {"_use_new_zipfile_serialization": False}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return settled(CifarResNet(8))


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    return Inputs.from_arrays(pixels)


def renamed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def trained(network, **more):
    """What the training scripts of Cohen et al. (2019) and their successors save."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = {"epoch": 90, "state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}
    return kept | more


def lightning(state):
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": renamed(state, "model."),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "mode": "min"}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
        "hyper_parameters": {"lr": 0.1},
    }


def moved_to_a_gpu(path, copy):
    """The file as a machine with a GPU would have saved it, as all published ones are."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                assert b"X\3\0\0\0cpu" in data
                data = data.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0")
            new.writestr(name, data)


def write_all(network, folder):
    """A file for each form, and the reference that reads it."""
    behind = nn.Sequential(NormalizeLayer(*CIFAR10), network)
    spread = nn.Sequential(NormalizeLayer(*CIFAR10), nn.DataParallel(network))
    state = network.state_dict()
    forms = {
        "checkpoint.pth.tar": ("", trained(behind, arch="cifar_resnet8"), {}),
        "spread.pth.tar": ("", trained(spread, arch="cifar_resnet8"), {}),
        "440.pth": ("cifar_resnet8+cifar10", {"net": state, "epoch": 440}, {}),
        "plain.pt": ("cifar_resnet8+cifar10", renamed(state, "module."), {}),
        "old.th": ("cifar_resnet8+cifar10", {"model_state_dict": state, "loss": 0.1}, OLD),
        "last.ckpt": ("cifar_resnet8+cifar10", lightning(state), {}),
        "weights.bin": ("cifar_resnet8+cifar10", renamed(state, "_orig_mod.module."), {}),
        "saved.pt": (
            "cifar_resnet8",
            nn.Sequential(NormalizeLayer(*CIFAR10, saved=True), network).state_dict(),
            {},
        ),
    }
    for name, (architecture, content, options) in forms.items():
        torch.save(content, folder / name, **options)
        yield f"{architecture}@{folder / name}" if architecture else str(folder / name)
    moved_to_a_gpu(folder / "checkpoint.pth.tar", folder / "gpu.pth.tar")
    yield str(folder / "gpu.pth.tar")
    save_file(renamed(state, "1.module."), folder / "weights.safetensors")
    yield f"cifar_resnet8@{folder / 'weights.safetensors'}"


def votes(model, images):
    records = smoothcert.certify(model, images, 0.25, n0=4, n=40, seed=3).records
    return [record.votes.estimation.tolist() for record in records]


@pytest.mark.slow
def test_every_form_is_one_network_with_the_votes_of_the_same_by_hand(network, images, tmp_path):
    by_hand = votes(nn.Sequential(NormalizeLayer(*CIFAR10), network), images)
    without = votes(network, images)
    assert len({label for row in by_hand for label in row}) > 1
    assert by_hand != without  # the control: the normalization does matter
    loaded = [smoothcert.load_classifier(ref) for ref in write_all(network, tmp_path)]
    assert len(loaded) == 10
    assert len({classifier.fingerprint for classifier in loaded}) == 1
    for classifier in loaded:
        assert classifier.name.startswith("cifar_resnet8+cifar10@")
        assert "the normalization cifar10 (mean 0.4914, 0.4822, 0.4465; std 0.2" in classifier.front
        assert votes(classifier, images) == by_hand


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "front"),
    [
        ("none", nn.Identity()),
        ("cifar10-mean", InputCenterLayer(CIFAR10[0])),
        ("mean=0.5,0.4,0.3+std=0.25,0.5,1", NormalizeLayer((0.5, 0.4, 0.3), (0.25, 0.5, 1.0))),
        ("mean=0.5", InputCenterLayer((0.5,))),
    ],
)
def test_another_normalization_is_named(word, front, network, images, tmp_path):
    """MACER trains without, Salman et al. also with centring only; their files do not say it."""
    torch.save({"net": network.state_dict(), "epoch": 440}, tmp_path / "440.pth")
    by_hand = votes(nn.Sequential(front, network), images)
    classifier = smoothcert.load_classifier(f"cifar_resnet8+{word}@{tmp_path / '440.pth'}")
    assert votes(classifier, images) == by_hand
    usual = smoothcert.load_classifier(f"cifar_resnet8+cifar10@{tmp_path / '440.pth'}")
    assert usual.fingerprint != classifier.fingerprint
    assert votes(usual, images) != by_hand


@pytest.mark.slow
@pytest.mark.parametrize("depth", [20, 110])
def test_a_resnet_of_the_field_at_its_depths(depth, images, tmp_path):
    torch.manual_seed(0)
    behind = nn.Sequential(NormalizeLayer(*CIFAR10), settled(CifarResNet(depth)))
    torch.save(trained(behind, arch=f"cifar_resnet{depth}"), tmp_path / "checkpoint.pth.tar")
    classifier = smoothcert.load_classifier(tmp_path / "checkpoint.pth.tar")
    batch = images.item(0).pixels[None].astype(np.float32) / 255
    with torch.no_grad():
        expected = behind.eval()(torch.from_numpy(batch)).numpy()
    assert np.allclose(classifier.logits(batch), expected, atol=1e-4)


@pytest.mark.slow
def test_an_imagenet_resnet_50_of_the_field(images, tmp_path):
    torch.manual_seed(0)
    network = settled(ImageNetResNet(narrow=8))
    behind = nn.Sequential(NormalizeLayer(*IMAGENET), nn.DataParallel(network))
    torch.save(trained(behind, arch="resnet50"), tmp_path / "checkpoint.pth.tar")
    plain = tmp_path / "resnet50.pth"
    torch.save(network.state_dict(), plain)
    first = smoothcert.load_classifier(f"resnet50@{tmp_path / 'checkpoint.pth.tar'}")
    assert votes(first, images) == votes(nn.Sequential(behind[0], network), images)
    assert "imagenet (mean 0.485, 0.456, 0.406; std 0.229" in first.front
    again = smoothcert.load_classifier(f"resnet50+imagenet@{plain}")
    assert again.fingerprint == first.fingerprint
    with pytest.raises(ModelError, match=r"resnet50\+WORD@resnet50.pth: WORD .* probably imagenet"):
        smoothcert.load_classifier(f"resnet50@{plain}")


def test_a_full_resnet_50_has_the_shapes_of_the_published_one():
    """25,557,032 weights, and the names of torchvision's after the `1.`."""
    with torch.device("meta"):
        ours = zoo.build("resnet50", 3, 1000).state_dict()
        field = ImageNetResNet().state_dict()
    shapes = {key.removeprefix("1."): tuple(value.shape) for key, value in ours.items()}
    assert shapes == {key: tuple(value.shape) for key, value in field.items()}
    with torch.device("meta"):
        count = sum(p.numel() for p in zoo.build("resnet50", 3, 1000).parameters())
    assert count == 25_557_032


def test_a_lenet_of_the_field(tmp_path, monkeypatch):
    """Behind an Identity in the successors' code; MACER saves the network alone."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = FieldLeNet()
    torch.save(trained(nn.Sequential(nn.Identity(), network), arch="lenet"), "checkpoint.pth.tar")
    torch.save({"net": network.state_dict(), "epoch": 440}, "440.pth")
    batch = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(batch)).numpy()
    loaded = [smoothcert.load_classifier(m) for m in ("checkpoint.pth.tar", "lenet+none@440.pth")]
    for classifier in loaded:
        assert classifier.fingerprint == loaded[0].fingerprint
        assert np.allclose(classifier.logits(batch), expected, atol=1e-6)
    assert "nothing, as usual for the data set: the tensors' names begin" in loaded[0].front
    refused("lenet@440.pth", "Give lenet.WORD@440.pth.* probably none")
    torch.save(FieldLeNet(7).state_dict(), "7.pth")
    assert smoothcert.load_classifier("lenet+mean=0.5@7.pth").logits(batch).shape == (5, 7)
    refused("lenet+none@8.pth", "There is no model file")
    torch.save(network.state_dict() | {"fc1.weight": torch.zeros(500, 1250)}, "32.pth")
    refused(
        "lenet+none@32.pth", r"fc1.weight has the shape \(500, 1250\) and should have \(500, 800\)"
    )
    with pytest.raises(InvalidInput, match="lenet takes images of 28x28; got 32x32"):
        loaded[0].logits(np.zeros((2, 1, 32, 32), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "classes", "word"),
    [("cifar100_resnet110", 100, "cifar100"), ("imagenet32_resnet110", 1000, "cifar10")],
)
def test_names_that_tell_the_data_set(arch, classes, word, tmp_path):
    torch.manual_seed(0)
    behind = nn.Sequential(nn.Identity(), CifarResNet(110, classes))
    torch.save({"arch": arch, "state_dict": behind.state_dict()}, tmp_path / "c.pth.tar")
    for reference in (f"{tmp_path / 'c.pth.tar'}", f"{arch}@{tmp_path / 'c.pth.tar'}"):
        classifier = smoothcert.load_classifier(reference)
        assert classifier.name == f"cifar_resnet110+{word}@c.pth.tar"
    plain = tmp_path / "plain.pth"
    torch.save({"state_dict": behind.state_dict()}, plain)
    with pytest.raises(ModelError, match="does not say how the network's inputs are normalized"):
        smoothcert.load_classifier(f"cifar_resnet110@{plain}")  # of which data set is not known


def refused(reference, message):
    with pytest.raises(ModelError, match=message):
        smoothcert.load_classifier(reference)


def test_what_is_not_said_is_not_guessed(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = network.state_dict()
    torch.save({"net": state, "epoch": 440}, "440.pth")
    refused("440.pth", "440.pth does not say which architecture it belongs to; pass ARCH@440.pth")
    refused("cifar_resnet8@440.pth", r"Give cifar_resnet8\+WORD@440.pth.* probably cifar10")
    torch.save(renamed(state, "module."), "m.pth")
    refused("cifar_resnet8@m.pth", "does not say how the network's inputs are normalized")
    torch.save(renamed(state, "0."), "first.pth")  # nothing stood before it
    refused("cifar_resnet8@first.pth", "does not say how the network's inputs are normalized")
    torch.save({"arch": "cifar_resnet8", "state_dict": renamed(state, "1.")}, "c.pth")
    refused("cifar_resnet110@c.pth", "'cifar_resnet8', as it records, and not of 'cifar_resnet11")
    torch.save({"arch": "vit", "state_dict": state}, "vit.pth")
    refused("vit.pth", "records the architecture 'vit', which the zoo does not have")
    loaded = smoothcert.load_classifier("cifar_resnet8+none@vit.pth")
    assert "The file calls the architecture 'vit'" in loaded.front
    refused("cifar_resnet8+cifar11@440.pth", r"'cifar11' in .*Did you mean 'cifar10'")
    refused("cifar_resnet8+mean=125@440.pth", r"\(mean 125; std 1\) is not for inputs in \[0, 1\]")
    refused("cifar_resnet8+mean=0.5+std=0@440.pth", "is not for inputs in")
    refused("cifar_resnet8+mean=0.5,0.5@440.pth", "constants for 2 channels, the network takes 3")
    refused("cifar_resnet8+mean=0.5+std=1,1@440.pth", "has 1 means and 2 deviations")


def test_a_normalization_in_the_file_and_another_in_the_reference(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    behind = nn.Sequential(NormalizeLayer(*CIFAR10, saved=True), network)
    torch.save(behind.state_dict(), "c.pth")
    assert smoothcert.load_classifier("cifar_resnet8+cifar10@c.pth").front
    refused("cifar_resnet8+imagenet@c.pth", "holds a normalization .* names another, 'imagenet'")
    behind[0].means *= 255
    torch.save(behind.state_dict(), "c.pth")
    refused("cifar_resnet8@c.pth", r"c.pth \(0.means, 0.sds\).* is not for inputs in \[0, 1\]")


@pytest.mark.slow
def test_several_networks_in_a_file(network, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mean = {"n_averaged": torch.tensor(3)} | renamed(network.state_dict(), "module.")
    other = {key: value * 1 for key, value in network.state_dict().items()}
    other["fc.bias"] = other["fc.bias"] + 1
    content = {"model": other, "ema": mean, "criterion": {"weight": torch.ones(10)}}
    torch.save(content, "two.pth")
    listed = r"several entries that fit: model \(56 tensors\), ema \(56 tensors\). Name one"
    refused("cifar_resnet8+none@two.pth", listed)
    refused("small_cnn@two.pth", "several entries, none of which fits: model .* criterion")
    refused("cifar_resnet8+none@two.pth#nix", "two.pth has no entry 'nix' with tensors; it has mo")
    loaded = smoothcert.load_classifier("cifar_resnet8+none@two.pth#ema")
    assert votes(loaded, images) == votes(network, images)
    del content["model"]
    torch.save(content, "one.pth")
    one = smoothcert.load_classifier("cifar_resnet8+none@one.pth")
    assert one.fingerprint == loaded.fingerprint


def test_the_package_s_own_weights_know_their_normalization(network, tmp_path, monkeypatch):
    """What `compress` writes from a checkpoint is read with the checkpoint's normalization."""
    monkeypatch.chdir(tmp_path)
    torch.save({"net": network.state_dict()}, "440.pth")
    compress("cifar_resnet8+none@440.pth", "prune:0.2", "p.safetensors")
    alone = smoothcert.load_classifier("p.safetensors")
    assert alone.name == "cifar_resnet8+none@p.safetensors"
    assert isinstance(alone.module[0], nn.Identity)
    for reference in ("cifar_resnet8@p.safetensors", "cifar_resnet8+none@p.safetensors"):
        assert smoothcert.load_classifier(reference).fingerprint == alone.fingerprint
    refused("cifar_resnet8+cifar10@p.safetensors", r"holds weights of 'cifar_resnet8\+none'")
    refused("cifar_resnet14@p.safetensors", "'cifar_resnet8.none', as it records, and not of 'cif")
    refused("resnet9@p.safetensors", "There is no architecture 'resnet9'")
    torch.save(zoo.build("cifar_resnet8", 3, 10).state_dict(), "own.pth")
    assert not smoothcert.load_classifier("cifar_resnet8@own.pth").front
    compress("cifar_resnet8@own.pth", "prune:0.2", "q.safetensors")
    refused("cifar_resnet8+none@q.safetensors", "as it records, and not of 'cifar_resnet8.none'")
    torch.save(renamed(zoo.build("small_cnn", 1, 10).state_dict(), "1."), "behind.pth")
    refused("small_cnn@behind.pth", "does not say how the network's inputs are normalized")


def test_weights_that_do_not_fit_are_named_briefly(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = dict(network.state_dict())
    del state["bn1.weight"], state["layer1.0.bn1.num_batches_tracked"]
    state |= {"fc.bias": torch.zeros(7), "more": torch.zeros(2)}
    torch.save(state, "bad.pth")
    refused(
        "cifar_resnet8+none@bad.pth",
        r"missing: 2.weight; unexpected: more; 9.bias has the shape \(7,\) and should have \(10,\)",
    )
    torch.save(network.state_dict(), "8.pth")
    refused("cifar_resnet110+none@8.pth", "do not fit the architecture 'cifar_resnet110.none'")
    refused("resnet50+none@8.pth", "do not fit the architecture 'resnet50.none': missing: 1.conv1")
    counters = [key for key in network.state_dict() if key.endswith("num_batches_tracked")]
    torch.save({k: v for k, v in network.state_dict().items() if k not in counters}, "2017.pth")
    smoothcert.load_classifier("cifar_resnet8+none@2017.pth")


MINE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=4):
        super().__init__(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))

class Half(Net):
    def __init__(self):
        super().__init__()
        self.half()

class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.gain = Net(), torch.rand(1)

    def forward(self, x):
        return self.net(x) * self.gain

class Extra(Net):
    def get_extra_state(self):
        return 3

def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 5))

def needs(width):
    return Net(width)

def seven():
    return 7
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's in the working directory, and its network with other weights."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    ).eval()
    network[1].running_mean.uniform_()
    return name, network


def test_weights_of_one_s_own_class(mine, images):
    name, network = mine
    state = network.state_dict()
    torch.save(state, "a.pth")
    torch.save({"state_dict": renamed(state, "module."), "epoch": 3}, "b.pth.tar")
    torch.save(lightning(state), "c.ckpt")
    torch.save({"m": renamed(state, "net._orig_mod."), "criterion": {"w": torch.ones(3)}}, "d.bin")
    torch.save(state | {"classes": ["a", "b"], "epoch": 3}, "e.pt", **OLD)
    save_file(renamed(state, "model."), "f.safetensors")
    files = ("a.pth", "b.pth.tar", "c.ckpt", "d.bin", "e.pt", "f.safetensors")
    loaded = [smoothcert.load_classifier(f"{name}:Net@{file}") for file in files]
    assert len({classifier.fingerprint for classifier in loaded}) == 1
    assert loaded[0].name == f"{name}:Net@a.pth"
    expected = votes(network, images)
    batch = np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    for classifier in loaded:
        assert votes(classifier, images) == expected
        assert not classifier.front
        with torch.no_grad():
            assert (classifier.logits(batch) == network(torch.from_numpy(batch)).numpy()).all()
    assert smoothcert.load_classifier(f"compiled:{name}:Net@a.pth").mode == "compiled"


def test_one_s_own_class_behind_a_normalization(mine):
    name, network = mine
    torch.save(renamed(network.state_dict(), "1.module."), "front.pth")
    refused(f"{name}:Net@front.pth", r"'1.module.', so a layer without weights .*Net\+WORD@front")
    batch = np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    for word, front in (("none", nn.Identity()), ("imagenet", NormalizeLayer(*IMAGENET))):
        found = smoothcert.load_classifier(f"{name}:Net+{word}@front.pth")
        with torch.no_grad():
            expected = network(front(torch.from_numpy(batch))).numpy()
        assert (found.logits(batch) == expected).all()
        assert bool(found.front) == (word != "none")
    saved = nn.Sequential(NormalizeLayer(*IMAGENET, saved=True), network).state_dict()
    torch.save(saved, "saved.pth")
    assert smoothcert.load_classifier(f"{name}:Net@saved.pth").fingerprint == found.fingerprint
    refused(f"{name}:Net+cifar10@saved.pth", "names another, 'cifar10'")


def test_weights_that_one_s_own_class_does_not_take(mine):
    name, network = mine
    state = dict(network.state_dict())
    torch.save(state, "a.pth")
    for code, message in (
        ("Nix@a.pth", "has no 'Nix'"),
        ("seven@a.pth", "seven makes a int, and weights are put into a torch.nn.Module"),
        ("needs@a.pth", r"needs the argument width\. Give mine_.*:needs,width=\.\.\."),
        ("needs,width=2@", "After an '@' comes the file of weights"),
        ("Net@", "Cannot import"),
        ("Extra@a.pth", "has extra state"),
        ("Half@a.pth", "is torch.float32, and the network's torch.float16 does not have its val"),
        ("Net@gone.pth", "There is no model file gone.pth"),
        ("Net@a.onnx", "There is no model file a.onnx"),
        ("Net@a.txt", "must be in a checkpoint"),
    ):
        refused(f"{name}:{code}", message)
    del state["0.bias"]
    state |= {"5.weight": torch.zeros(7, 4), "extra": torch.zeros(1)}
    torch.save(state, "bad.pth")
    refused(
        f"{name}:Net@bad.pth",
        r"do not fit mine_.*:Net: missing: 0.bias; unexpected: extra; 5.weight has the shape "
        r"\(7, 4\) and should have \(5, 4\)\.",
    )
    torch.save(renamed(network.state_dict(), "net."), "other.pth")
    refused(f"{name}:Other@other.pth", "makes a different model in each call: gain")
    kept = {"0.weight": network[0].weight.data, "0.bias": network[0].bias.data}
    torch.save(kept | {"3.weight": torch.ones(5, 4), "3.bias": torch.ones(5)}, "lazy.pth")
    found = smoothcert.load_classifier(f"{name}:lazy@lazy.pth")
    assert found.logits(np.zeros((2, 3, 8, 8), np.float32)).shape == (2, 5)


class Trap:
    """Writes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10**6))


def deep(path):
    """Every dictionary twice in the next, so that a walk of all paths would not end."""
    inner = {"w": torch.zeros(2)}
    for _ in range(60):
        inner = {"a": inner, "b": inner}
    torch.save(inner, path)


def cyclic(path):
    content = {"a": 1}
    content["b"] = content
    torch.save(content, path)


def expanded(path):
    torch.save({"layer1.0.conv1.weight": torch.zeros(1).expand(2**44)}, path)


HOSTILE = {
    "code.pth": (lambda p: torch.save({"x": Trap(p.with_name("sprung"))}, p), "'io.open', which"),
    "old.pth": (
        lambda p: torch.save({"x": Trap(p.with_name("sprung"))}, p, **OLD),
        "'io.open', which is no tensor",
    ),
    "pickle.pth": (
        lambda p: p.write_bytes(pickle.dumps(Trap(p.with_name("sprung")))),
        "is a pickle, which can run code",
    ),
    "module.pth": (lambda p: torch.save(CifarResNet(8), p), "CifarResNet', which is no tensor"),
    "bomb.pth": (bomb, "would unpack to 1000000 bytes"),
    "deep.pth": (deep, "holds no weights"),
    "cyclic.pth": (cyclic, "holds no weights"),
    "huge.pth": (expanded, "would take 70368744177664 bytes, far more than the file has"),
    "bytes.pth": (lambda p: torch.save({"x": bytearray(3)}, p), "holds no weights"),
    "list.pth": (lambda p: torch.save([torch.zeros(2)], p), "holds no weights: .* but a list"),
    "sparse.pth": (lambda p: torch.save({"w": torch.eye(3).to_sparse()}, p), "not a plain one"),
    "complex.pth": (
        lambda p: torch.save({"w": torch.zeros(2, dtype=torch.complex64), "v": torch.zeros(2)}, p),
        "not a plain one, but torch.strided of torch.complex64",
    ),
    "zeros.bin": (lambda p: p.write_bytes(bytes(64)), "it has another format"),
    "text.pth": (lambda p: p.write_bytes(b"hello"), "it has another format"),
    "empty.pth": (lambda p: p.write_bytes(b""), "is empty"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_checkpoints(name, tmp_path):
    write, message = HOSTILE[name]
    write(tmp_path / name)
    refused(f"cifar_resnet8+none@{tmp_path / name}", message)
    refused(str(tmp_path / name), message)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_parameters_and_half_precision(network, tmp_path, monkeypatch):
    """What is saved as parameters, or in 16 bits, is read and pruned like tensors in float32."""
    monkeypatch.chdir(tmp_path)
    torch.save({**network.state_dict(), **dict(network.named_parameters())}, "parameters.pth")
    torch.save(network.state_dict(), "tensors.pth")
    half = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    torch.save(half, "half.pth")
    torch.save({k: v.float() if v.ndim else v for k, v in half.items()}, "rounded.pth")
    for one, other in (("parameters", "tensors"), ("half", "rounded")):
        prints = []
        for name in (one, other):
            compress(f"cifar_resnet8+none@{name}.pth", "prune:0.2", f"{name}.safetensors")
            for model in (f"cifar_resnet8+none@{name}.pth", f"{name}.safetensors"):
                prints.append(smoothcert.load_classifier(model).fingerprint)
        assert prints[:2] == prints[2:]


def test_damaged_and_wrong_weights(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = network.state_dict()
    for options, name in (({}, "new.pth"), (OLD, "old.pth")):
        torch.save(state, name, **options)
        whole = (tmp_path / name).read_bytes()
        for end in (30, len(whole) // 2, len(whole) - 40):
            (tmp_path / name).write_bytes(whole[:end])
            refused(f"cifar_resnet8+none@{name}", "truncated|damaged")
    for value, message in (
        (torch.full((10,), float("nan")), "'9.bias' in w.pth are not all finite"),
        (torch.full((10,), float("inf")), "not all finite"),
        (torch.full((10,), 1 + 1e-12, dtype=torch.float64), "is torch.float64, and the network's"),
        (torch.ones(10, dtype=torch.int64), "is torch.int64, and the network's torch.float32"),
    ):
        torch.save({**state, "fc.bias": value}, "w.pth")
        refused("cifar_resnet8+none@w.pth", message)
    torch.save({**state, "fc.bias": torch.ones(10, dtype=torch.float64)}, "w.pth")
    smoothcert.load_classifier("cifar_resnet8+none@w.pth")  # the same numbers
    torch.save({**state, **renamed(state, "module.")}, "both.pth")
    refused("cifar_resnet8+none@both.pth", "unexpected: module.")


@pytest.mark.parametrize("options", [{}, OLD])
def test_changed_bytes_give_an_error_of_the_package(options, network, tmp_path):
    """Or another network, where they are in the weights."""
    torch.save({"state_dict": renamed(network.state_dict(), "1.")}, tmp_path / "c.pth", **options)
    whole = (tmp_path / "c.pth").read_bytes()
    rng, refusals = np.random.default_rng(0), 0
    for _ in range(80):
        changed = bytearray(whole)
        for place in rng.integers(0, 8_000, 3):  # the pickle is there
            changed[place] = rng.integers(256)
        (tmp_path / "c.pth").write_bytes(changed)
        try:
            smoothcert.load_classifier(f"cifar_resnet8@{tmp_path / 'c.pth'}")
        except ModelError:
            refusals += 1
    assert refusals > 40


@pytest.mark.parametrize(
    ("text", "architecture", "file", "entry"),
    [
        ("+none@x.pth", "+none", "x.pth", ""),
        ("net+mean=0.5+std=0.25@a/x.pth.tar", "net+mean=0.5+std=0.25", "a/x.pth.tar", ""),
        ("x.pth.tar#model.ema", "", "x.pth.tar", "model.ema"),
        ("a.b:Net+imagenet@x.ckpt#ema", "a.b:Net+imagenet", "x.ckpt", "ema"),
        ("fast:a:Net@s3://b/x.pth", "a:Net", "s3://b/x.pth", ""),
    ],
)
def test_references(text, architecture, file, entry):
    found = ModelReference.parse(text)
    assert (found.architecture, found.file, found.output) == (architecture, file, entry)
    assert found.is_code == (":Net" in text)
    assert found.at(found.file).text == text
