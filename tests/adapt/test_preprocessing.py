"""What the options and the files of hubs mean, in numbers."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.preprocessing_files import given
from smoothcert.classifiers.resampling import resized
from smoothcert.errors import InvalidInput
from smoothcert.vocabulary import RESAMPLINGS

IMAGES = np.random.default_rng(0).random((2, 3, 20, 30)).astype(np.float32)
SIZES = [(33, 47), (9, 11), (9, 47), (1, 1), (20, 30)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RESAMPLINGS)
def test_resizing_is_that_of_torch(name, size):
    mode, antialias = name.removesuffix("-plain"), not name.endswith("-plain")
    tensor = torch.from_numpy(IMAGES)
    theirs = torch.nn.functional.interpolate(tensor, size, mode=mode, antialias=antialias)
    assert np.abs(resized(IMAGES, size, name) - theirs.numpy()).max() < 5e-6


@pytest.mark.parametrize("size", SIZES)
def test_and_with_antialiasing_that_of_pillow(size):
    for name, kernel in (("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)):
        theirs = np.asarray(Image.fromarray(IMAGES[0, 0]).resize(size[::-1], kernel))
        assert np.abs(resized(IMAGES, size, name)[0, 0] - theirs).max() < 5e-6
    if size == (9, 11):  # the control: the plain kernel is another one where images shrink
        plain = resized(IMAGES, size, "bicubic-plain")[0, 0]
        assert np.abs(plain - theirs).max() > 0.1


def test_names_stand_for_the_scale_and_the_order_of_what_the_model_takes():
    asked = {"scale": 255.0, "channels": "bgr", "mean": "imagenet", "std": "imagenet"}
    found, _ = given(None, asked)
    assert found.mean == pytest.approx((103.53, 116.28, 123.675))
    assert found.std == pytest.approx((57.375, 57.12, 58.395))
    expected = (IMAGES - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape(
        [0.229, 0.224, 0.225], (3, 1, 1)
    )
    assert np.allclose(found.apply(IMAGES), expected[:, ::-1], atol=1e-5)


def test_numbers_are_taken_as_they_are():
    found, _ = given(None, {"channels": "bgr", "mean": "0.1,0.2,0.3", "std": "0.5"})
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.5,))


def test_bytes_are_rounded_half_to_even_and_cut():
    values = np.array([-0.3, 0.5 / 255, 1.5 / 255, 2.5 / 255, 1.7], np.float32).reshape(1, 1, 1, 5)
    found = Preprocessing(scale=255, whole=True).apply(values)
    assert found.dtype == np.uint8
    assert found.ravel().tolist() == [0, 0, 2, 2, 255]


REFUSED = {
    "--scale 255": ({"mean": "123.675,116.28,103.53"}, "Check the numbers"),
    "for 0..1. Leave out --scale": ({"scale": 255.0, "mean": "0.485,0.456,0.406"}, "multiply"),
    "std 0.229, 0.224, 0.225 is for 0..1": ({"scale": 255.0, "std": "0.229,0.224,0.225"}, ""),
    "std 58.4": ({"std": "58.4"}, "add --scale 255"),
    "cannot be larger or negative": ({"mean": "-0.5"}, ""),
    "std must be positive": ({"std": "0"}, ""),
    "std must be positive numbers; got nan": ({"std": "nan"}, ""),
    "scale must be a positive number": ({"scale": float("inf")}, ""),
    "Did you mean 'imagenet'": ({"mean": "imagnet"}, ""),
    "mean has 2 numbers and std 3": ({"mean": "0.1,0.2", "std": "0.1,0.2,0.3"}, ""),
    "layout must be nchw or nhwc or flat": ({"layout": "NHCW"}, ""),
    "channels must be rgb or bgr": ({"channels": "grb"}, ""),
    "resize is HEIGHTxWIDTH": ({"resize": "large"}, ""),
    "sides of 1 to": ({"resize": "0x4"}, ""),
    "--resampling says how": ({"resampling": "bicubic"}, ""),
    "resampling must be": ({"resampling": "lanczos", "resize": "8"}, ""),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_meant_is_refused(text, tmp_path):
    asked, more = REFUSED[text]
    with pytest.raises(InvalidInput) as refused:
        given(None, asked)
    assert text in str(refused.value)
    assert more in str(refused.value)


def read(content, tmp_path, **asked):
    file = tmp_path / "p.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return given(file, asked)


def test_our_own_file_has_the_options_names_and_reads_back(tmp_path):
    content = {"scale": 255, "mean": "imagenet", "std": [58.0], "resize": [24, 32]}
    content |= {"channels": "bgr", "layout": "nhwc", "resampling": "bicubic"}
    found, notes = read(content, tmp_path)
    assert notes == ()
    assert (found.resize, found.layout, found.std) == ((24, 32), "nhwc", (58.0,))
    assert read(found.record(), tmp_path)[0] == found
    assert read(content, tmp_path, std="60")[0].std == (60.0,)


VIT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.25, 0.2],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 224},
}


def test_a_hugging_face_file(tmp_path):
    found, (note,) = read(VIT, tmp_path)
    assert found == Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))
    assert "not put in front: do_resize" in note
    assert "224" in note
    turned, _ = read(VIT, tmp_path, channels="bgr")
    assert turned.mean == (0.3, 0.4, 0.5)
    assert read(VIT, tmp_path, resize="224")[1] == ()
    whole = VIT | {"do_rescale": False, "image_mean": [128.0] * 3, "image_std": [64.0] * 3}
    found, _ = read(whole, tmp_path)
    assert (found.scale, found.mean[0]) == (255, 128)
    assert not read({**VIT, "do_normalize": False, "do_resize": False}, tmp_path)[0]
    flipped = {"do_flip_channel_order": True, "do_rescale": True, "do_normalize": False}
    assert read(flipped, tmp_path)[0] == Preprocessing(channels="bgr")


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["ViTImageProcessor", "ConvNextImageProcessor"])
def test_it_means_what_transformers_does(processor, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the hf extra is not installed")
    made = getattr(transformers, processor)(image_mean=[0.5, 0.4, 0.3], image_std=[0.5, 0.25, 0.2])
    made.save_pretrained(tmp_path)
    found, _ = given(tmp_path / "preprocessor_config.json", {})
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    theirs = made(Image.fromarray(pixels), do_resize=False, return_tensors="np")["pixel_values"]
    ours = found.apply((pixels.transpose(2, 0, 1)[None] / 255).astype(np.float32))
    assert np.abs(ours - theirs).max() < 1e-5


def test_a_timm_file(tmp_path):
    config = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 224, 224], "crop_pct": 0.9}
    for content in (
        {"architecture": "x", "pretrained_cfg": config},
        {"architecture": "x"} | config,
    ):
        found, (note,) = read(content, tmp_path)
        assert found == Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
        assert "0.9" in note


FILES = {
    "has do_pad, which may change pixels": VIT | {"do_pad": True},
    "has rescale_offset": VIT | {"rescale_offset": True},
    "has no image_std": {k: v for k, v in VIT.items() if k != "image_std"},
    "swaps channels and normalizes": VIT | {"do_flip_channel_order": True},
    "has border, which may": {"pretrained_cfg": {"mean": [0.5], "std": [1], "border": 3}},
    "has no mean and std": {"pretrained_cfg": {"mean": [0.5]}},
    "has 'means', which is not known": {"means": [0.5]},
    "Did you mean 'mean'": {"means": [0.5]},
    "is not JSON": "{",
    "one JSON object": [1],
    "mean must be a number; got 'a'": {"mean": ["a"]},
    "mean must be a number; got True": {"mean": True},
    "of ordinary size": '{"mean": [1' + "0" * 400 + "]}",
    "std must be positive numbers; got inf": '{"std": [Infinity]}',
    "one per channel is meant": {"mean": [0.1] * 5000},
    "resize is HEIGHTxWIDTH": {"resize": [1, 2, 3]},
    "resampling must be": {"resize": 8, "resampling": {"a": 1}},
    "layout must be": {"layout": 3},
    "channels must be": {"channels": ["bgr"]},
}


@pytest.mark.parametrize("text", FILES)
def test_other_files_are_refused(text, tmp_path):
    with pytest.raises(InvalidInput) as refused:
        read(FILES[text], tmp_path)
    assert text in str(refused.value)


def test_files_of_strangers(tmp_path):
    with pytest.raises(InvalidInput, match="is not JSON"):
        read("[" * 100_000, tmp_path)
    with pytest.raises(InvalidInput, match="the limit for such a file"):
        read(" " * 2**21, tmp_path)
    with pytest.raises(InvalidInput, match="There is no file"):
        given(tmp_path / "none.json", {})
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="is not JSON"):
        given(tmp_path / "b.json", {})
    with pytest.raises(InvalidInput, match="not a regular file"):
        given(tmp_path, {})


def test_a_hubs_file_is_not_scaled_again(tmp_path):
    with pytest.raises(InvalidInput, match="says how values are scaled"):
        read(VIT, tmp_path, scale=255.0)
