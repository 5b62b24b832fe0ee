"""Small networks of digits as they are deployed: ONNX files that do not take images in [0, 1]."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import smoothcert
from smoothcert.compress.export import to_onnx

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
SIDE = 24


def images(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits in three tinted channels of 24x24 bytes, (N, 3, 24, 24), and their labels."""
    data = smoothcert.load_inputs("digits", split, limit=count)
    grey = np.stack([item.pixels for item in data]) / data.levels
    large = np.kron(grey, np.ones((1, 1, 3, 3)))
    tint = np.array([1.0, 0.7, 0.3]).reshape(1, 3, 1, 1)
    return np.round(255 * large * tint).astype(np.uint8), np.array(data.labels)


def write_data(path: Path, split: str, count: int) -> Path:
    """The same as an .npz for --data."""
    x, y = images(split, count)
    np.savez(path, x=x, y=y)
    return path


class Network(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, side=SIDE, *, channels_last=False, softmax=False):
        super().__init__()
        self.channels_last, self.softmax = channels_last, softmax
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=side // 8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(256, 10),
        )

    def forward(self, x):
        scores = self.layers(x.permute(0, 3, 1, 2) if self.channels_last else x)
        return scores.softmax(1) if self.softmax else scores


def resized(x, side):
    """As torch resizes, without antialiasing."""
    tensor = torch.from_numpy(np.asarray(x, np.float32))
    return nn.functional.interpolate(tensor, (side, side), mode="bilinear").numpy()


@dataclass(frozen=True)
class Kind:
    """A model as it is deployed.

    Attributes:
        options: of `adapt`, for it.
        by_hand: what its owner does to float images (B, 3, 24, 24) in [0, 1].
        network: makes it.
        rows: its fixed batch size, or None.
    """

    options: tuple[str, ...]
    by_hand: object
    network: object
    rows: int | None = None


def _outside(x):
    return (x - MEAN.reshape(3, 1, 1)) / STD.reshape(3, 1, 1)


def _bytes_bgr(x):
    mean = np.array([103.53, 116.28, 123.675]).reshape(3, 1, 1)
    return ((255 * x)[:, ::-1] - mean) / 58.0


KINDS = {
    "outside": Kind(
        ("--mean", "imagenet", "--std", "imagenet"), _outside, lambda: Network(softmax=True)
    ),
    "nhwc": Kind(
        ("--layout", "nhwc", "--mean", "half", "--std", "half"),
        lambda x: ((x - 0.5) / 0.5).transpose(0, 2, 3, 1),
        lambda: Network(channels_last=True),
    ),
    "fixed": Kind(
        (
            *("--scale", "255", "--channels", "bgr", "--mean", "imagenet", "--std", "58"),
            *("--resize", "48x48", "--resampling", "bilinear-plain"),
        ),
        lambda x: _bytes_bgr(resized(x, 48)),
        lambda: Network(48),
        rows=1,
    ),
}


def write(kind: Kind, path: Path) -> Path:
    """The network, trained for seconds under noise on what its owner gives it, as ONNX."""
    torch.manual_seed(0)
    network = kind.network()
    x, y = images("train", 600)
    rng = np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(20):
        for rows in np.array_split(rng.permutation(len(x)), 12):
            noisy = x[rows] / 255 + rng.normal(0, 0.25, x[rows].shape)
            given = torch.from_numpy(np.ascontiguousarray(kind.by_hand(noisy), np.float32))
            scores = network(given)
            losses = nn.functional.nll_loss if network.softmax else nn.functional.cross_entropy
            loss = losses(scores.log() if network.softmax else scores, torch.from_numpy(y[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    shape = kind.by_hand(x[:1] / 255).shape[1:]
    to_onnx(network.eval(), shape, path, kind.rows)
    return path


class ByHand:
    """The original file, given what its owner gives it; a classifier of the user's own."""

    device, fixed_batch = "cpu", None

    def __init__(self, path, by_hand):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.by_hand, self.name, self.fingerprint = by_hand, path.name, f"by hand {by_hand}"

    def logits(self, batch):
        given = np.ascontiguousarray(self.by_hand(batch.astype(np.float64)), np.float32)
        name = self.session.get_inputs()[0].name
        return np.concatenate(
            [self.session.run(None, {name: given[row : row + 1]})[0] for row in range(len(given))]
        )
