"""A ResNet-50 at 224x224 with 1,000 classes certifies end to end in bounded memory on a CPU."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import smoothcert
from smoothcert.cli.data_source import recorded_source
from smoothcert.data.inputs import to_float
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.runs.store import Run
from support.command_line import program

BLOCKS = (3, 4, 6, 3)
CLASSES = 1000


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with four times the width, and a shortcut (He et al. 2016, figure 5)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.inner = nn.Sequential(
            *(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            *(nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)),
        )
        same = channels == out and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x):
        return torch.relu(self.inner(x) + self.shortcut(x))


def resnet50(width: int = 64) -> nn.Module:
    """Random weights, and batch statistics of noise, so that the logits follow the image."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, width, 7, 2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, padding=1))
    channels = width
    for stage, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(Bottleneck(channels, width * 2**stage, stride))
            channels = 4 * width * 2**stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of the one batch below
    with torch.no_grad():
        network.train()(torch.rand(8, 3, 1, 1) + 0.25 * torch.randn(8, 3, 64, 64))
    return network.eval()


def narrow() -> nn.Module:
    """The same depth with an eighth of the channels."""
    return resnet50(8)


COMMAND = """
import sys
from smoothcert.cli.main import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("peak", int(peak.split()[1]) / 1024)
"""


def folders_of_photographs(root: Path) -> None:
    """Three smooth pictures of three sizes, in three of ImageNet's thousand classes."""
    rng = np.random.default_rng(0)
    classes = [f"n{number:08}" for number in range(CLASSES)]
    (root / "classes.txt").parent.mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(classes))
    for number, size in ((3, (500, 375)), (500, (333, 500)), (998, (256, 280))):
        (root / classes[number]).mkdir()
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(root / classes[number] / "a.jpg")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("model", "n", "millions"),
    [("narrow", 40, 0.631), pytest.param("resnet50", 40, 25.6, marks=pytest.mark.full)],
)
def test_certifies_in_bounded_memory(model, n, millions, tmp_path):
    network = {"narrow": narrow, "resnet50": resnet50}[model]()
    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(1e6 * millions, rel=0.02)  # 25.6 million as published
    folders_of_photographs(tmp_path / "val")
    reference = f"test_imagenet_size:{model}"
    options = ("--data", tmp_path / "val", "--size", 224, "--sigma", 0.25, "--n0", 8, "--n", n)
    arguments = [*("certify", reference), *options, "--out", tmp_path / "run"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        cwd=Path(__file__).parent,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=True,
    )
    peak = float(done.stdout.split()[-1])
    print(f"{model}: {peak:.0f} MB")
    assert peak < 4096
    found = Run.open(tmp_path / "run")
    assert (found.identity.shape, found.identity.num_classes) == ((3, 224, 224), CLASSES)
    assert found.labels == (3, 500, 998)
    recorded = recorded_source(found, None)  # what later commands open
    assert recorded.size == 224
    assert recorded.load().contents == found.contents
    # One input's draws again, by hand.
    inputs = smoothcert.load_inputs(str(tmp_path / "val"), size=224)
    item, record = inputs.item(1), next(iter(found.records(range(1, 2))))
    noise = RoundedGaussian(0.25, 1 / 255)
    draws = noise.draws(0, 1, Stream.ESTIMATION, np.arange(16), inputs.shape)
    with torch.inference_mode():
        logits = network(torch.from_numpy(to_float(item.pixels + draws, 255)))
    top = logits.topk(2, dim=1)
    clear = (top.values[:, 0] - top.values[:, 1] > 1e-3 * logits.abs().max()).numpy()
    assert clear.sum() >= 8
    assert (record.votes.estimation[:16] == top.indices[:, 0].numpy())[clear].all()
    assert len({int(label) for r in found.records(range(3)) for label in r.votes.estimation}) > 1


def test_runs_from_before_there_was_a_size_are_read():
    old = {"data": "digits", "split": "test", "grid": None, "limit": 3, "every": 1}
    run = SimpleNamespace(manifest=SimpleNamespace(origin={"data": old}))
    assert len(recorded_source(run, None).load()) == 3


@pytest.mark.full
def test_a_recertification_repeats_the_size(tmp_path):
    folders_of_photographs(tmp_path / "val")
    (tmp_path / "model.py").write_text(
        f"import sys\nsys.path[:0] = {sys.path!r}\nfrom test_imagenet_size import narrow\n"
    )
    options = ("--data", "val", "--size", 224, "--sigma", 0.25, "--n0", 8, "--n", 40)
    program("certify", "model:narrow", *options, "--out", "base", cwd=tmp_path)
    assert Run.open(tmp_path / "base").manifest.origin["data"]["size"] == 224
    to = ("--base", "base", "--policy", "uniform:20", "--out", "new")
    program("recertify", "model:narrow", *to, cwd=tmp_path)
    program("verify", "new", "--replay", "20%", cwd=tmp_path)
