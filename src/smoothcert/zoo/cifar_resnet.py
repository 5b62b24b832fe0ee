"""The 6n+2-layer residual networks for 32x32 images (He et al. 2016, section 4.2).

Three stages of n blocks at widths 16, 32 and 64. Where a stage changes the width, the shortcut
is a 1x1 convolution, as in the networks of Cohen et al. (2019).
"""

from collections.abc import Mapping

import torch
from torch import nn

WIDTHS = (16, 32, 64)
MEAN = (0.4914, 0.4822, 0.4465)  # CIFAR-10's channels, on the [0, 1] scale
STD = (0.2023, 0.1994, 0.2010)


def build(
    in_channels: int, num_classes: int, depth: int, inner: tuple[int, ...] | None = None
) -> nn.Module:
    """The network of this depth (8, 14, 20, 32, ...), with the normalization inside.

    `inner` has the channels between the two convolutions of every block, if they differ from the
    stage's width.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"The depth must be 6 n + 2 with n at least 1; got {depth}")
    blocks_per_stage = (depth - 2) // 6
    if inner is None:
        inner = tuple(width for width in WIDTHS for _ in range(blocks_per_stage))
    if len(inner) != 3 * blocks_per_stage:
        raise ValueError(f"depth {depth} has {3 * blocks_per_stage} blocks, not {len(inner)}")
    between = iter(inner)
    layers: list[nn.Module] = [
        Normalize(in_channels),
        nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(WIDTHS[0]),
        nn.ReLU(),
    ]
    channels = WIDTHS[0]
    for width in WIDTHS:
        blocks = []
        for _ in range(blocks_per_stage):
            stride = 1 if width in (channels, 16) else 2
            blocks.append(Block(channels, next(between), width, stride))
            channels = width
        layers.append(nn.Sequential(*blocks))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def inner_layers(state: Mapping[str, torch.Tensor]) -> tuple[tuple[str, str, str], ...]:
    """The first convolution of every block, in order; the shortcut fixes all other widths."""
    end = ".first.0.weight"
    blocks = [key.removesuffix(end) for key in state if key.endswith(end)]
    blocks.sort(key=lambda block: [int(part) for part in block.split(".")])
    return tuple((f"{b}.first.0", f"{b}.first.1", f"{b}.second.0") for b in blocks)


def sizes(state: Mapping[str, torch.Tensor]) -> tuple[int, int, tuple[int, ...]]:
    """(in_channels, num_classes, inner widths) of the network with these weights."""
    weights = [tensor for tensor in state.values() if tensor.ndim in (2, 4)]
    inner = tuple(state[f"{first}.weight"].shape[0] for first, _, _ in inner_layers(state))
    return weights[0].shape[1], weights[-1].shape[0], inner


class Normalize(nn.Module):
    """Per-channel centring and scaling; by the channels' mean unless there are three."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, channels: int) -> None:
        """Fix the constants, which are not weights and are not saved."""
        super().__init__()
        mean, std = (
            torch.tensor(v if channels == 3 else [sum(v) / 3] * channels).view(-1, 1, 1)
            for v in (MEAN, STD)
        )
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From [0, 1] to zero mean and unit variance."""
        return (images - self.mean) / self.std


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, inner: int, width: int, stride: int) -> None:
        """The shortcut is the identity unless the shape changes."""
        super().__init__()
        self.first: nn.Sequential = nn.Sequential(
            nn.Conv2d(channels, inner, 3, stride, padding=1, bias=False), nn.BatchNorm2d(inner)
        )
        self.second: nn.Sequential = nn.Sequential(
            nn.Conv2d(inner, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        same = channels == width and stride == 1
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Add the shortcut before the last ReLU."""
        inner = torch.relu(self.first(images))
        return torch.relu(self.second(inner) + self.shortcut(images))
