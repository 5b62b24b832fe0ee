"""Checkpoints in the commands: what stood before the network is said, recorded and kept."""

import numpy as np
import pytest
import torch
from torch import nn

from smoothcert.runs.store import Run
from support.command_line import run_in
from support.field_networks import CIFAR10, CifarResNet, NormalizeLayer, settled

pytestmark = pytest.mark.slow

MINE = """
from support.field_networks import CifarResNet

class Net(CifarResNet):
    def __init__(self):
        super().__init__(8)
"""
DRAWS = ("--sigma", 0.25, "--n0", 10, "--n", 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data, a checkpoint of the field, bare weights, and a class."""
    folder = tmp_path_factory.mktemp("field")
    torch.manual_seed(0)
    network = settled(CifarResNet(8))
    spread = nn.Sequential(NormalizeLayer(*CIFAR10), nn.DataParallel(network))
    content = {"epoch": 3, "arch": "cifar_resnet8", "state_dict": spread.state_dict()}
    torch.save(content, folder / "c.pth.tar")
    torch.save({"net": network.state_dict(), "epoch": 440}, folder / "440.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    np.savez(folder / "d.npz", x=pixels, y=np.arange(4))
    (folder / "mine.py").write_text(MINE)
    return folder


def test_from_a_checkpoint_to_a_verified_run(folder):
    _, said = run_in(
        *("certify", "c.pth.tar", "--data", "d.npz", *DRAWS, "--out", "base"), cwd=folder
    )
    front = (
        "Put before the network of c.pth.tar: the normalization cifar10 (mean 0.4914, 0.4822, "
        "0.4465; std 0.2023, 0.1994, 0.201), as usual for the data set: the tensors' names begin "
        "with '1.module.', so a layer without weights stood there; if it was another, give "
        "cifar_resnet8+WORD@c.pth.tar."
    )
    assert front in said
    base = Run.open(folder / "base")
    assert (base.manifest.origin["model"], base.manifest.origin["front"]) == ("c.pth.tar", front)
    shown, said = run_in("verify", "base", "--replay", 1, cwd=folder)
    assert "280 draws replayed: all as stored" in shown + said
    assert front in said
    _, said = run_in(
        "compress", "c.pth.tar", "--to", "prune:0.1", "--out", "p.safetensors", cwd=folder
    )
    assert front in said
    _, said = run_in(
        *("recertify", "p.safetensors", "--base", "base", "--data", "d.npz", "--out", "pruned"),
        cwd=folder,
    )
    assert "Put before" not in said  # the file of this package says it itself
    run_in("verify", "pruned", "--replay", 1, cwd=folder)
    _, said = run_in("report", "base", "--out", "page", cwd=folder)
    page = "".join(path.read_text() for path in (folder / "page").rglob("*.html"))
    assert "Before the model" in page


def test_one_s_own_class_and_the_zoo_s_have_the_same_votes(folder):
    for model, out in (
        ("cifar_resnet8+cifar10@440.pth", "zoo"),
        ("mine:Net+cifar10@440.pth", "own"),
    ):
        run_in("certify", model, "--data", "d.npz", *DRAWS, "--out", out, cwd=folder)
    votes = [
        [record.votes.estimation.tolist() for record in Run.open(folder / out).records(range(4))]
        for out in ("zoo", "own")
    ]
    assert votes[0] == votes[1]
    _, said = run_in("verify", "own", "--replay", 1, cwd=folder, code=2)
    assert "is Python code. Code that only a run names is not imported" in said
    model = "mine:Net+cifar10@440.pth"
    shown, said = run_in("verify", "own", "--replay", 1, "--model", model, cwd=folder)
    assert "280 draws replayed: all as stored" in shown + said


def test_the_commands_refuse_what_the_file_does_not_say(folder):
    _, said = run_in(
        *("certify", "cifar_resnet8@440.pth", "--data", "d.npz", *DRAWS, "--out", "no"),
        cwd=folder,
        code=2,
    )
    assert "does not say how the network's inputs are normalized. Give cifar_resnet8+WORD@" in said
    assert not (folder / "no").exists()
