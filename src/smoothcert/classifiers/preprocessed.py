"""A torch network behind its preprocessing."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.classifiers.ranges import Ranges
from smoothcert.vocabulary import RESAMPLINGS


class Preprocessed(nn.Module):
    """The same operations as `Preprocessing.apply`, in the same order, then the network."""

    mean: torch.Tensor
    std: torch.Tensor
    counts: torch.Tensor
    units: torch.Tensor
    start: torch.Tensor
    stepped: torch.Tensor

    def __init__(self, network: nn.Module, wanted: Preprocessing) -> None:
        """Take a network, and what is done to images (B, C, H, W) in [0, 1] before it."""
        super().__init__()
        self.network: nn.Module = network
        self.wanted: Preprocessing = wanted
        for name, values in (("mean", wanted.mean), ("std", wanted.std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        if wanted.ranges is not None:
            for name in ("counts", "units", "start", "stepped"):
                self.register_buffer(name, torch.from_numpy(getattr(wanted.ranges, name)))
        self.training = False  # not of the network: an exported graph has no eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From [0, 1] to logits."""
        wanted, values = self.wanted, images
        if not wanted.fits(images.ndim):
            raise ValueError(f"images of four axes are needed for: {wanted.describe()}")
        if wanted.ranges is not None:
            values = self._in_ranges(values, wanted.ranges)
        if wanted.resize:
            antialias = RESAMPLINGS[wanted.resampling][1]
            mode = wanted.resampling.removesuffix("-plain")
            values = nn.functional.interpolate(
                values, wanted.resize, mode=mode, align_corners=False, antialias=antialias
            )
        if wanted.scale != 1:
            values = values * wanted.scale
        if wanted.channels == "bgr":
            values = values.flip(1)
        if wanted.mean:
            values = values - _per_channel(self.mean, values)
        if wanted.std:
            values = values / _per_channel(self.std, values)
        if wanted.layout == "nhwc":
            values = values.permute(0, 2, 3, 1)
        elif wanted.layout == "flat":
            values = values.flatten(1)
        return self.network(values)

    def _in_ranges(self, values: torch.Tensor, ranges: Ranges) -> torch.Tensor:
        """As `Ranges.apply`, to the bit."""
        if values.ndim != 2 or values.shape[1] != len(ranges.low):
            raise ValueError(ranges.mismatch(values.shape))
        scaled = values.double() * self.counts
        whole = torch.where(self.stepped, scaled.round(), scaled)
        return (whole * self.units + self.start).float()


def _per_channel(constants: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Constants, one or one per channel, in a shape that fits values (B, C, ...)."""
    return constants.view(-1, *[1] * (values.ndim - 2))


def behind(wanted: Preprocessing, classifier: TorchClassifier, file: Path) -> TorchClassifier:
    """The classifier with this in front, hence with another name and fingerprint."""
    said = json.dumps(wanted.record(), sort_keys=True)
    return replace(
        classifier,
        module=Preprocessed(classifier.module, wanted).to(classifier.device),
        name=f"{classifier.name}+{file.name}",
        fingerprint=sha256(f"{classifier.fingerprint}+{said}".encode()).hexdigest()[:32],
        takes=(),
    )
