"""A factory's or class's arguments are part of the model's reference, in every command."""

import numpy as np
import pytest
import torch

import smoothcert
from smoothcert.errors import ModelError
from smoothcert.report.card import model_name
from smoothcert.runs.store import Run
from support.command_line import run_in

MINE = """
import numpy as np
import torch
from torch import nn
import smoothcert

class Net(nn.Sequential):
    def __init__(self, width, scale=1.0, names=("a", "b"), bias=True):
        super().__init__(nn.Flatten(), nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 3, bias))
        self.scale = scale

    def forward(self, x):
        return super().forward(x) * self.scale

def make(width=4, *, depth=0, scale=1.0, pretrained=True):
    torch.manual_seed(depth)
    assert pretrained in (True, False)
    return Net(width, scale)

def closed(gain=1.0):
    torch.manual_seed(0)
    net = Net(4)
    net.register_forward_hook(lambda module, args, out: out * gain)
    return net

def function(shift=0, name="shift"):
    return smoothcert.from_function(
        lambda x: np.roll(x.reshape(len(x), -1)[:, :3], shift, axis=1), name, "1"
    )

def fails(width): raise ValueError(f"no width {width}")
def anything(**settings): return make(**settings)
def by_position(width, /, depth=0): return make(width)

ready = make()
"""
DRAWS = ("--sigma", 0.25, "--n0", 10, "--n", 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with four tiny images, a file of code, and weights."""
    folder = tmp_path_factory.mktemp("arguments")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 4, 4), np.uint8)
    np.savez(folder / "d.npz", x=pixels, y=np.arange(4) % 3)
    (folder / "args_mine.py").write_text(MINE)
    torch.manual_seed(7)
    layers = torch.nn.ModuleList([torch.nn.Linear(16, 5), torch.nn.Linear(5, 3)])
    state = {f"module.{2 * int(k[0]) + 1}{k[1:]}": v for k, v in layers.state_dict().items()}
    torch.save({"state_dict": state}, folder / "w,5.pth")
    (folder / "p.json").write_text('{"mean": 0.5, "std": 0.25}')
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "other"),
    [
        ("factory", "args_mine:make,width=6,depth=1", "args_mine:make,width=6,depth=2"),
        ("class", "args_mine:Net,width=5@w,5.pth", "args_mine:Net,width=5,scale=-2@w,5.pth"),
        ("front", "args_mine:make,scale=2+p.json", "args_mine:make,scale=2"),
    ],
)
def test_from_the_original_to_a_replayed_run(folder, name, model, other):
    """The workers are processes of their own, which know only the reference."""
    certify = ("certify", model, "--data", "d.npz", *DRAWS, "--out", name)
    run_in(*certify, cwd=folder)
    base = Run.open(folder / name)
    assert base.manifest.origin["model"] == model
    changed = f"{name}-changed"
    recertify = ("recertify", other, "--base", name, "--data", "d.npz", "--method", "joint")
    run_in(*recertify, "--workers", 2, "--out", changed, cwd=folder)
    run = Run.open(folder / changed)
    assert run.manifest.origin["model"] == other
    assert run.identity.model != base.identity.model
    _, said = run_in("verify", changed, "--replay", 1, cwd=folder, code=2)
    assert f"--model {other}" in said  # code that only a run names
    shown, said = run_in("verify", changed, "--replay", 1, "--model", other, cwd=folder)
    assert "all as stored" in shown + said
    _, said = run_in("verify", changed, "--replay", 1, "--model", model, cwd=folder, code=2)
    assert "fingerprint" in said or "another model" in said


@pytest.mark.slow
def test_compressed_and_screened(folder):
    model = "args_mine:make,width=6,scale=3"
    run_in("certify", model, "--data", "d.npz", *DRAWS, "--out", "whole", cwd=folder)
    run_in("compress", model, "--to", "onnx", "--data", "d.npz", "--out", "x,6.onnx", cwd=folder)
    images = np.random.default_rng(0).random((5, 1, 4, 4), np.float32)
    run_in(
        *("screen", model, "x,6.onnx", "args_mine:make,width=6,scale=4", "--base", "whole"),
        *("--data", "d.npz", "--per-input", 10, "--out", "screened"),
        cwd=folder,
    )
    assert (folder / "screened").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        logits = [smoothcert.load_classifier(m).logits(images) for m in (model, "x,6.onnx")]
    np.testing.assert_allclose(*logits, rtol=1e-4)


def fingerprint(code: str) -> str:
    return smoothcert.load_classifier(f"args_mine:{code}").fingerprint


def test_other_arguments_are_another_model(here):
    """Whether they change weights, a number, a closure, or a function of arrays."""
    different = [
        *("make", "make,width=6", "make,depth=1", "make,scale=2", "closed", "closed,gain=2"),
        *("function", "function,shift=1", "function,shift=2"),
    ]
    found = {code: fingerprint(code) for code in different}
    assert len(set(found.values())) == len(found)
    assert fingerprint("make,width=4") == fingerprint("make,pretrained=false") == found["make"]
    assert fingerprint("anything,depth=1") == fingerprint("make,depth=1,width=4")
    assert fingerprint("function,shift=1,name=a") == fingerprint("function,name=a, shift=1")


@pytest.mark.parametrize("body", ["Net(width)", "made.setdefault(width, Net(width))"])
def test_a_file_that_seeds_when_imported_is_called_with_them_again(here, folder, body):
    """Also where it returns one object in both calls, and its file is run again."""
    name = f"seeds_{len(body)}"
    seeded = "import torch\ntorch.manual_seed(3)\nmade = {}\nfrom args_mine import Net\n"
    (folder / f"{name}.py").write_text(f"{seeded}def make(width): return {body}\n")
    found = smoothcert.load_classifier(f"{name}:make,width=6")
    assert found.name == f"{name}:make,width=6"
    assert found.logits(np.zeros((2, 1, 4, 4), np.float32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "make,widht=3",
            "'widht'. Did you mean 'width'? It takes width=4, depth=0, scale=1.0, pretrained=True.",
        ),
        ("make,qqq=3", "args_mine:make has no argument 'qqq'. It takes width=4, "),
        (
            "Net,scale=2",
            "needs the argument width. Give args_mine:Net,scale=2,width=...",
        ),
        ("Net,scale=2@w,5.pth", "args_mine:Net needs the argument width."),
        ("Net,widht=2@w,5.pth", "args_mine:Net has no argument 'widht'. Did you mean 'width'?"),
        ("Net,width=6@w,5.pth", "do not fit args_mine:Net,width=6: 1.weight has the shape"),
        ("Net,width=5", "makes a different model in each call: 1.weight"),
        ("mkae(7)", "has no 'mkae(7)'. Did you mean 'make'?"),
        ("make,7", "'7' in 'args_mine:make,7' has no name."),
        ("make,width=3,width=4", "has the argument 'width' twice."),
        ("make(7)", "Did you mean 'args_mine:make,width=7'?"),
        ("Net(7, scale=2)", "Did you mean 'args_mine:Net,width=7,scale=2'?"),
        ("fails,width=7", "The factory args_mine:fails failed: no width 7, in"),
        ("make,width=wide", "The factory args_mine:make failed: TypeError: "),
        ("by_position,depth=7", "args_mine:by_position takes width by position only"),
        ("by_position,width=7", "args_mine:by_position has no argument 'width'"),
        ("ready,width=7", "args_mine:ready is a model already and takes no arguments."),
        ("anything,qqq=3", "The factory args_mine:anything failed: TypeError: "),
    ],
)
def test_arguments_that_are_refused(here, code, message):
    with pytest.raises(ModelError) as caught:
        smoothcert.load_classifier(f"args_mine:{code}")
    assert message in str(caught.value)


def test_a_card_leaves_out_folders_in_arguments(folder):
    run_in("certify", "args_mine:make", "--data", "d.npz", *DRAWS, "--out", "plain", cwd=folder)
    run = Run.open(folder / "plain")
    for model, shown in (
        ("m:f,a=/home/me/w.pth,b=../x/y.pt", "m:f,a=w.pth,b=y.pt"),
        ("m:C,a=/home/me/c.yaml,b=0.5@/home/me/w.pth", "m:C,a=c.yaml,b=0.5@w.pth"),
        ("net@/home/me/a,b=/w.pth", "net@w.pth"),
    ):
        run.manifest.origin["model"] = model
        assert model_name(run) == shown
