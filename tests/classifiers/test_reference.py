"""References taken apart: every form, with and without prefixes and outputs."""

import pytest

from smoothcert import zoo
from smoothcert.classifiers.reference import ModelReference
from smoothcert.errors import ModelError


def parts(text: str) -> tuple[str, ...]:
    found = ModelReference.parse(text)
    return found.mode, found.hub or found.architecture, found.file, found.output


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x.onnx", ("eager", "", "x.onnx", "")),
        ("a/x.onnx#logits", ("eager", "", "a/x.onnx", "logits")),
        ("x.pt2", ("eager", "", "x.pt2", "")),
        ("compiled:x.pt2", ("compiled", "", "x.pt2", "")),
        ("fast:small_cnn@a/x.safetensors", ("fast", "small_cnn", "a/x.safetensors", "")),
        ("a@b/x.pt2", ("eager", "a", "b/x.pt2", "")),
        ("b/a@x.pt2", ("eager", "", "b/a@x.pt2", "")),
        ("c:/x.pt2", ("eager", "", "c:/x.pt2", "")),
        ("net.pth.tar", ("eager", "", "net.pth.tar", "")),
        ("s3://b/x.onnx?region=a#out", ("eager", "", "s3://b/x.onnx?region=a", "out")),
        ("compiled:s3://b/c/x.pt2", ("compiled", "", "s3://b/c/x.pt2", "")),
        ("fast:net@gs://b/x.safetensors", ("fast", "net", "gs://b/x.safetensors", "")),
        ("timm:resnet18@w.safetensors", ("eager", "timm", "", "")),
        ("compiled:hf:org/name", ("compiled", "hf", "", "")),
        ("package.module:factory", ("eager", "", "", "")),
        ("fast:package.module:factory", ("fast", "", "", "")),
    ],
)
def test_what_is_in_a_reference(text, found):
    assert parts(text) == found
    reference = ModelReference.parse(text)
    assert reference.is_code == ("factory" in text)
    assert reference.is_address == ("://" in text)
    assert (reference.path is None) == bool(reference.hub or "://" in text or "factory" in text)


@pytest.mark.parametrize("text", ["x.onnx#a", "fast:net@s3://b/x.safetensors", "compiled:x.pt2"])
def test_the_same_with_its_file_elsewhere(text):
    reference = ModelReference.parse(text)
    assert reference.at(reference.file).text == text
    moved = reference.at("/there/" + reference.file.rpartition("/")[2])
    assert moved.path is not None and moved.path.parent.name == "there"
    same = ("mode", "architecture", "output")
    assert [getattr(moved, n) for n in same] == [getattr(reference, n) for n in same]


def test_weights_that_come_with_the_package():
    reference = ModelReference.parse("cifar_resnet20@pretrained-0.25")
    assert reference.path == zoo.pretrained("cifar_resnet20", "0.25")
    with pytest.raises(ModelError, match="pretrained"):
        _ = ModelReference.parse("small_cnn@pretrained-nothing").path


def test_a_path_may_look_like_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.onnx#1", "net@x.pt2"):
        (tmp_path / name).write_bytes(b"")
        assert parts(name) == ("eager", "", name, "")


def test_an_output_needs_a_name():
    with pytest.raises(ModelError, match="has no output name after '#'"):
        ModelReference.parse("x.onnx#")
