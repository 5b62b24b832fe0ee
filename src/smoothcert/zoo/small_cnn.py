"""A three-layer convolutional network for small images of any size; the demo's classifier."""

from collections.abc import Mapping

import torch
from torch import nn

WIDTHS = (16, 32, 32)


def build(in_channels: int, num_classes: int) -> nn.Module:
    """Three 3x3 convolutions with batch normalization, the last two halving the size."""
    layers: list[nn.Module] = [Centre()]
    channels = in_channels
    for width, stride in zip(WIDTHS, (1, 2, 2), strict=True):
        layers += [
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, num_classes)]
    return nn.Sequential(*layers)


def sizes(state: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """(in_channels, num_classes) of the network with these weights."""
    weights = [tensor for tensor in state.values() if tensor.ndim > 1]
    return weights[0].shape[1], weights[-1].shape[0]


class Centre(nn.Module):
    """The normalization: from [0, 1] to [-2, 2]."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Shift and scale."""
        return (images - 0.5) * 4.0
