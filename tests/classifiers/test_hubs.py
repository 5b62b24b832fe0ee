"""Networks published elsewhere: transformers for real; for timm and torchvision, our glue alone.

torchvision has no build for every torch, so the packages themselves are stood in for by the few
functions that are called; what they are called with and what is made of the answer is tested.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import smoothcert
from smoothcert.compress import compress
from smoothcert.data.inputs import Inputs
from smoothcert.errors import MissingExtra, ModelError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def images(count=5, size=16):
    return np.random.default_rng(0).random((count, 3, size, size), dtype=np.float32)


def normalized(batch, mean=MEAN, std=STD):
    return torch.from_numpy((batch - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1)))


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def vit_config(transformers, heads=2):
    return transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=heads,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
        num_labels=5,
    )


def resnet_config(transformers):
    return transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        num_labels=5,
    )


def saved(transformers, folder, network, **processor):
    """A model and a processor, as transformers writes them."""
    from smoothcert.classifiers.quiet import quiet

    with quiet():
        network.save_pretrained(folder)
        settings = {"image_mean": list(MEAN), "image_std": list(STD)} | processor
        transformers.ViTImageProcessor(**settings).save_pretrained(folder)
    return network.eval()


@pytest.fixture
def vit(transformers, tmp_path):
    torch.manual_seed(0)
    network = transformers.ViTForImageClassification(vit_config(transformers))
    return saved(transformers, tmp_path / "vit", network)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_folder_of_hugging_face(kind, transformers, tmp_path):
    torch.manual_seed(0)
    if kind == "vit":
        network = transformers.ViTForImageClassification(vit_config(transformers))
    else:
        network = transformers.ResNetForImageClassification(resnet_config(transformers))
    network = saved(transformers, tmp_path / "m", network)
    classifier = smoothcert.load_classifier(f"hf:{tmp_path / 'm'}")
    with torch.inference_mode():
        expected = network(pixel_values=normalized(images()).float()).logits.numpy()
    assert np.allclose(classifier.logits(images()), expected, atol=1e-6)
    assert expected.std(axis=0).max() > 1e-4  # the images do matter


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({"do_normalize": False}, (0, 0, 0), (1, 1, 1)),
        ({"do_rescale": False}, [m / 255 for m in MEAN], [s / 255 for s in STD]),
        ({"rescale_factor": 1 / 127.5}, [m / 2 for m in MEAN], [s / 2 for s in STD]),
    ],
)
def test_other_processors(settings, mean, std, transformers, tmp_path):
    torch.manual_seed(0)
    network = transformers.ResNetForImageClassification(resnet_config(transformers))
    saved(transformers, tmp_path / "m", network, **settings)
    classifier = smoothcert.load_classifier(f"hf:{tmp_path / 'm'}")
    assert np.allclose(classifier.module.mean.flatten(), mean)
    assert np.allclose(classifier.module.std.flatten(), std)


@pytest.mark.slow
def test_a_processor_that_does_more_is_refused(transformers, tmp_path):
    """EfficientNet's divides by the standard deviation twice."""
    from smoothcert.classifiers.quiet import quiet

    network = transformers.ResNetForImageClassification(resnet_config(transformers))
    saved(transformers, tmp_path / "m", network)
    with quiet():
        transformers.EfficientNetImageProcessor(include_top=True).save_pretrained(tmp_path / "m")
    with pytest.raises(ModelError, match="does more than scale and normalize"):
        smoothcert.load_classifier(f"hf:{tmp_path / 'm'}")


def test_the_fingerprint_covers_what_weights_do_not_show(vit, transformers, tmp_path):
    """The same weights with another number of heads, or another normalization."""
    first = smoothcert.load_classifier(f"hf:{tmp_path / 'vit'}")
    (tmp_path / "vit").rename(tmp_path / "moved")
    assert smoothcert.load_classifier(f"hf:{tmp_path / 'moved'}").fingerprint == first.fingerprint
    heads = transformers.ViTForImageClassification(vit_config(transformers, heads=4))
    heads.load_state_dict(vit.state_dict())
    saved(transformers, tmp_path / "heads", heads)
    saved(transformers, tmp_path / "mean", vit, image_mean=[0.4, 0.5, 0.7])
    for name in ("heads", "mean"):
        other = smoothcert.load_classifier(f"hf:{tmp_path / name}")
        assert np.abs(other.logits(images()) - first.logits(images())).max() > 1e-5
        assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize("names", [("dog", "cat", "cow", "emu", "fox"), ()])
def test_class_names_are_those_of_the_configuration(names, transformers, tmp_path):
    """Not the placeholders that transformers makes where there are none."""
    config = vit_config(transformers)
    if names:
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
    saved(transformers, tmp_path, transformers.ViTForImageClassification(config))
    assert smoothcert.load_classifier(f"hf:{tmp_path}").class_names == names


def test_pickled_weights_are_not_read(vit, tmp_path):
    folder = tmp_path / "vit"
    (folder / "model.safetensors").unlink()
    torch.save(vit.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded as a Hugging Face image classifier"):
        smoothcert.load_classifier(f"hf:{folder}")


def test_code_of_the_repository_is_not_run(vit, tmp_path):
    import json

    folder = tmp_path / "vit"
    (folder / "own.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {}}
    for name in ("AutoConfig", "AutoModelForImageClassification"):
        config["auto_map"][name] = "own.Own"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="contains custom code"):
        smoothcert.load_classifier(f"hf:{folder}")
    assert not (tmp_path / "sprung").exists()


def test_a_backbone_without_its_classifier_is_refused(vit, tmp_path):
    """transformers would fill the head with random numbers."""
    weights = tmp_path / "vit" / "model.safetensors"
    state = {k: v for k, v in load_file(weights).items() if not k.startswith("classifier")}
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="has no weights for classifier.bias, classifier.weight"):
        smoothcert.load_classifier(f"hf:{tmp_path / 'vit'}")


@pytest.mark.slow
def test_a_hugging_face_model_certifies_and_compresses(vit, tmp_path):
    data = Inputs.from_arrays((images(4) * 255).astype(np.uint8))
    model = f"hf:{tmp_path / 'vit'}"
    original = smoothcert.certify(model, data, 0.25, n0=10, n=200)
    assert (original.num_classes, len(original.certificates)) == (5, 4)
    compress(model, "onnx", tmp_path / "vit.onnx", inputs=data)
    exported = smoothcert.certify(tmp_path / "vit.onnx", data, 0.25, n0=10, n=200)
    for a, b in zip(original.records, exported.records, strict=True):
        assert (a.votes.estimation == b.votes.estimation).mean() > 0.98


def test_a_wrong_size_of_images_is_said(vit, tmp_path):
    classifier = smoothcert.load_classifier(f"hf:{tmp_path / 'vit'}")
    with pytest.raises(ModelError, match=r"failed on a batch of shape \(5, 3, 20, 20\)"):
        classifier.logits(images(size=20))


# Stand-ins: ours, for what timm and torchvision are called with.

NETWORK = """
import torch
from torch import nn

def network(num_classes=4):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, num_classes))
"""
TIMM = """
import torchvision
from stand_in import network

def create_model(name, pretrained=False, num_classes=4):
    if name != "tiny.tag":
        raise RuntimeError(f"Unknown model ({name})")
    made = network(num_classes)
    if pretrained:
        made[4].bias.data += 1
    made.pretrained_cfg = {"architecture": "tiny", "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
    return made
"""
TORCHVISION = """
import enum
from types import SimpleNamespace
from stand_in import network

class Tiny(enum.Enum):
    V1 = 1
    V2 = 2
    DEFAULT = 2

    def transforms(self):
        return SimpleNamespace(mean=[0.1 * self.value] * 3, std=[0.5] * 3)

    def get_state_dict(self, progress, check_hash, weights_only):
        assert check_hash and weights_only
        state = network().state_dict()
        state["4.bias"] += self.value
        return state

def get_model_weights(name):
    if name != "tiny":
        raise ValueError(f"Unknown model {name}")
    return Tiny

def get_model(name, weights=None, num_classes=4):
    made = network(num_classes)
    if weights:
        made.load_state_dict(weights.get_state_dict(True, check_hash=True, weights_only=True))
    return made
"""


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """The folder of the stand-in packages, the only timm and torchvision while it is used."""
    for name in [*sys.modules]:
        if name.split(".")[0] in ("timm", "torchvision", "stand_in"):
            monkeypatch.delitem(sys.modules, name)
    for hub in ("from_timm", "from_torchvision"):
        monkeypatch.delitem(sys.modules, f"smoothcert.classifiers.{hub}", raising=False)
    for file, text in {
        "stand_in.py": NETWORK,
        "timm.py": TIMM,
        "torchvision/__init__.py": "",
        "torchvision/models.py": TORCHVISION,
    }.items():
        (tmp_path / "packages" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packages" / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield tmp_path / "packages"
    for name in [*sys.modules]:
        if name.split(".")[0] in ("timm", "torchvision", "stand_in") or "from_t" in name:
            sys.modules.pop(name)


def by_hand(mean, std, shift, classes=4):
    """Logits of the stand-in's network with so much added to them."""
    from stand_in import network

    with torch.inference_mode():
        return network(classes)(normalized(images(), mean, std).float()).numpy() + shift


def logits(reference):
    return smoothcert.load_classifier(reference).logits(images())


def test_a_denoiser_stands_before_the_published_normalization(stand_ins, tmp_path):
    halves = torch.nn.Conv2d(3, 3, 1, bias=False, groups=3).eval()
    torch.nn.init.constant_(halves.weight, 0.5)
    batch = {0: torch.export.Dim("batch")}
    example = torch.from_numpy(images()).float()
    program = torch.export.export(halves, (example,), dynamic_shapes=(batch,))
    torch.export.save(program, tmp_path / "halves.pt2")
    (tmp_path / "d.json").write_text('{"denoiser": "halves.pt2"}')
    from stand_in import network

    with torch.inference_mode():
        expected = network(4)(normalized(images() / 2).float()).numpy() + 1
    assert np.allclose(logits(f"timm:tiny.tag+{tmp_path}/d.json"), expected, atol=1e-5)
    (tmp_path / "d.json").write_text('{"denoiser": "halves.pt2", "mean": 0.5}')
    with pytest.raises(ModelError, match="nothing but a denoiser is put in front"):
        logits(f"timm:tiny.tag+{tmp_path}/d.json")


def test_glue_published_weights(stand_ins):
    assert np.allclose(logits("timm:tiny.tag"), by_hand(MEAN, STD, 1), atol=1e-6)
    half = (0.5,) * 3
    assert np.allclose(logits("torchvision:tiny"), by_hand((0.2,) * 3, half, 2), atol=1e-6)
    assert np.allclose(logits("torchvision:tiny@V1"), by_hand((0.1,) * 3, half, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("reference", "mean", "std"),
    [("timm:tiny.tag", MEAN, STD), ("torchvision:tiny", (0.2,) * 3, (0.5,) * 3)],
)
def test_glue_weights_of_a_file(reference, mean, std, stand_ins, tmp_path):
    from stand_in import network

    state = network(7).state_dict()
    state["4.bias"] += 3
    save_file(state, tmp_path / "w.safetensors")
    found = logits(f"{reference}@{tmp_path / 'w.safetensors'}")
    assert found.shape == (5, 7)
    assert np.allclose(found, by_hand(mean, std, 3, 7), atol=1e-6)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("timm:what", r"timm cannot make 'what': Unknown model \(what\). Check the name"),
        ("timm:tiny.tag@w.bin", "There is no model file w.bin"),
        ("timm:tiny.tag@gone.safetensors", "There is no model file gone.safetensors"),
        ("timm:tiny.tag@w.onnx", "There is no model file w.onnx"),
        ("timm:", "'timm:' does not name a model: give x.onnx"),
        ("torchvision:what", "torchvision has no classifier 'what'"),
        ("torchvision:tiny@V9", "torchvision has no classifier 'tiny@V9'"),
        ("torchvision:tiny@w.pkl", "w.pkl is a pickle"),
        ("torchvision:tiny@gone.safetensors", "There is no model file gone.safetensors"),
        ("hf:/no/such/folder", "There is no folder /no/such/folder"),
    ],
)
def test_bad_references(reference, message, stand_ins):
    if reference.startswith("hf:"):
        pytest.importorskip("transformers")
    with pytest.raises(ModelError, match=message):
        smoothcert.load_classifier(reference)


def test_weights_of_another_network_do_not_fit(stand_ins, tmp_path):
    save_file({"4.weight": torch.zeros(3, 9)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="w.safetensors do not fit timm's tiny.tag"):
        smoothcert.load_classifier(f"timm:tiny.tag@{tmp_path / 'w.safetensors'}")
    save_file({"other": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="do not fit torchvision's tiny: no tensor '4.weight'"):
        smoothcert.load_classifier(f"torchvision:tiny@{tmp_path / 'w.safetensors'}")


@pytest.mark.parametrize(
    ("reference", "package", "extra"),
    [
        ("timm:tiny.tag", "timm", "timm"),
        ("timm:tiny.tag", "torchvision", "timm"),  # which timm imports
        ("torchvision:tiny", "torchvision", "torchvision"),
        ("hf:org/name", "transformers", "hf"),
    ],
)
def test_a_missing_package_is_named(reference, package, extra, stand_ins, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "smoothcert.classifiers.from_transformers", raising=False)
    line = rf"'{package}', which is not installed.*pip install 'smoothcert\[{extra}\]'"
    with pytest.raises(MissingExtra, match=line):
        smoothcert.load_classifier(reference)


def test_a_torchvision_of_another_torch(stand_ins):
    text = "raise RuntimeError('operator torchvision::nms does not exist')"
    Path(stand_ins, "torchvision", "models.py").write_text(text)
    with pytest.raises(ModelError, match="nms does not exist. Install matching builds"):
        smoothcert.load_classifier("torchvision:tiny")
