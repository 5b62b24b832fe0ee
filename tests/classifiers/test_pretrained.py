"""The weights that come with the package: they load by name, and say what they are."""

import pytest

import smoothcert
from smoothcert import zoo
from smoothcert.classifiers.pytorch import read_weights

FILES = sorted(zoo.PRETRAINED.glob("*.safetensors"))


def test_there_is_one_for_every_sigma():
    assert [file.stem for file in FILES] == [
        f"cifar_resnet20-{s}" for s in ("0.25", "0.50", "1.00")
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_weights_load_by_name_and_name_their_recipe(file):
    sigma = file.stem.rpartition("-")[2]
    classifier = smoothcert.load_classifier(f"cifar_resnet20@pretrained-{sigma}")
    data = smoothcert.Inputs.from_arrays([[[[0.0] * 32] * 32] * 3])
    assert classifier.logits(data.item(0).pixels[None].astype("float32")).shape == (1, 10)
    _, facts = read_weights(file)
    assert facts["sigma"] == facts["recipe"]["sigma"] == float(sigma)
    assert 0.4 < facts["accuracy"]["noisy"] < 0.8
    assert "/" not in facts["data"]
    assert file.stat().st_size < 2_000_000
