"""References taken apart: every form, with and without prefixes and outputs."""

from pathlib import Path

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
        ("package.module:factory,width=24", ("eager", "", "", "")),
        ("fast:m:factory,weights=a/x.onnx#out,device=cuda:0", ("fast", "", "", "")),
        ("x,y=2.onnx", ("eager", "", "x,y=2.onnx", "")),
        ("a,b/x,y.pth#ema", ("eager", "", "a,b/x,y.pth", "ema")),
        ("c:x,y.onnx", ("eager", "", "c:x,y.onnx", "")),
        ("small_cnn@x,y=2.pth", ("eager", "small_cnn", "x,y=2.pth", "")),
        ("s3://b/x,y=2.onnx?region=a#out", ("eager", "", "s3://b/x,y=2.onnx?region=a", "out")),
    ],
)
def test_what_is_in_a_reference(text, found):
    assert parts(text) == found
    reference = ModelReference.parse(text)
    assert reference.is_code == ("factory" in text)
    assert reference.is_address == ("://" in text)
    assert (reference.path is None) == bool(reference.hub or "://" in text or "factory" in text)


@pytest.mark.parametrize(
    ("text", "code", "found"),
    [
        ("p.m:f", "p.m:f", {}),
        ("p.m:f,width=24,pretrained=False", "p.m:f", {"width": 24, "pretrained": False}),
        ("fast:m:f, width = 24", "m:f", {"width": 24}),
        ("m:f,a=-3,b=0,c=007,d=1_000", "m:f", {"a": -3, "b": 0, "c": "007", "d": "1_000"}),
        (
            "m:f,a=1.,b=.5,c=-1e-3,d=2E5,e=1e",
            "m:f",
            {"a": 1.0, "b": 0.5, "c": -1e-3, "d": 2e5, "e": "1e"},
        ),
        (
            "m:f,a=TRUE,b=none,c=nan,d=1e999",
            "m:f",
            {"a": True, "b": None, "c": "nan", "d": "1e999"},
        ),
        ("m:f,a=x=y,b=\u0663", "m:f", {"a": "x=y", "b": "\u0663"}),
        ("m:f,weights=a/w.pth#ema", "m:f", {"weights": "a/w.pth#ema"}),
        ("m:f,url=s3://b/w.onnx", "m:f", {"url": "s3://b/w.onnx"}),
        ("m:f,config=a.json", "m:f", {"config": "a.json"}),
        ("m:f,width=2+p.json", "m:f", {"width": 2}),
        ("m:C@w.pth", "m:C", {}),
        ("m:C,width=24@w.pth#ema", "m:C", {"width": 24}),
        ("m:C,config=a/b.yaml@c/w.pth", "m:C", {"config": "a/b.yaml"}),
        ("m:C,width=24+mean=0.5,0.4,0.3+std=1,1,1@w.pth", "m:C", {"width": 24}),
        ("m:C+mean=0.5,0.4,0.3@w.pth", "m:C", {}),
        ("m:C,width=24@s3://b/w.pth", "m:C", {"width": 24}),
    ],
)
def test_what_code_is_called_with(text, code, found):
    reference = ModelReference.parse(text)
    assert (reference.code, dict(reference.arguments.items)) == (code, found)
    kinds = [type(value) for _, value in reference.arguments.items]
    assert kinds == [type(value) for value in found.values()]
    assert reference.is_code
    assert reference == ModelReference.parse(reference.text)
    if reference.file:
        assert reference.at(reference.file) == reference
        moved = reference.at("/there/w.pth")
        assert (moved.code, moved.arguments) == (code, reference.arguments)
        assert moved.path == Path("/there/w.pth")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m:f,24", r"'24' in 'm:f,24' has no name\. Arguments are given as name=value, as in"),
        ("m:f,shape=3,4", "'4' in .* has no name.*a value cannot have a comma"),
        ("m:f,", "has no name"),
        ("m:f,width=1,width=2", "has the argument 'width' twice"),
        ("m:f,width=", "'width' in 'm:f,width=' has no value"),
        (
            "m:f,hidden-size=3",
            "'hidden-size' .* no name of .* Did you mean 'hidden_size'",
        ),
        ("m:f,=3", "'' in 'm:f,=3' is no name"),
        ("m:f,a='x'", "in its value. Texts are given without quotes"),
        ("m:f,a=[1]", "lists cannot be given"),
        ("m:f,a=1e+5", r"1e5 needs no '\+'"),
        ("m:f,width=24+imagenet", "After a '\\+' comes what stands before the model"),
        ("m:C,24@w.pth", "'24' in 'm:C,24@w.pth' has no name"),
    ],
)
def test_arguments_that_are_malformed(text, message):
    with pytest.raises(ModelError, match=message):
        ModelReference.parse(text)


def test_arguments_in_another_order_are_the_same():
    one, other = (ModelReference.parse(f"m:f,{a}").arguments for a in ("a=1,b=x", "b=x, a=1"))
    assert one.text == other.text == "a=1,b='x'"
    assert ModelReference.parse("m:f,a=1.0,b=x").arguments.text != one.text


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
    for name in ("x.onnx#1", "net@x.pt2", "m:f,width=24.onnx", "x,y=1.onnx"):
        (tmp_path / name).write_bytes(b"")
        assert parts(name) == ("eager", "", name, "")


def test_an_output_needs_a_name():
    with pytest.raises(ModelError, match="has no output name after '#'"):
        ModelReference.parse("x.onnx#")
