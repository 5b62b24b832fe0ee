"""A three-layer convolutional network for small images of any size; the demo's classifier."""

from collections.abc import Mapping

import torch
from torch import nn

NORMALIZATION = ""  # its own, `Centre`
CLASSES = 0
OWN = "12.weight"
WIDTHS = (16, 32, 32)


def build(in_channels: int, num_classes: int, inner: tuple[int, ...] | None = None) -> nn.Module:
    """Three 3x3 convolutions with batch normalization, the last two halving the size.

    `inner` has the widths of the first two, if they differ from the usual ones.
    """
    layers: list[nn.Module] = [Centre()]
    channels = in_channels
    widths = (*(inner or WIDTHS[:2]), WIDTHS[2])
    for width, stride in zip(widths, (1, 2, 2), strict=True):
        layers += [
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, num_classes)]
    return nn.Sequential(*layers)


def from_published(_state: Mapping[str, torch.Tensor]) -> None:
    """Nothing: no one else has this network."""


def inner_layers(_state: Mapping[str, torch.Tensor]) -> tuple[tuple[str, str, str], ...]:
    """The first two convolutions; the third is read by the linear layer."""
    return (("1", "2", "4"), ("4", "5", "7"))


def sizes(state: Mapping[str, torch.Tensor]) -> tuple[int, int, tuple[int, ...]]:
    """(in_channels, num_classes, inner widths) of the network with these weights."""
    weights = [tensor for tensor in state.values() if tensor.ndim > 1]
    inner = tuple(tensor.shape[0] for tensor in weights[:2])
    return weights[0].shape[1], weights[-1].shape[0], inner


class Centre(nn.Module):
    """The normalization: from [0, 1] to [-2, 2]."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Shift and scale."""
        return (images - 0.5) * 4.0
