"""The 6n+2-layer residual networks for 32x32 images (He et al. 2016, section 4.2).

Three stages of n blocks at widths 16, 32 and 64. Where a stage changes the width, the shortcut
is a 1x1 convolution, as in the networks of Cohen et al. (2019).
"""

import re
from collections.abc import Mapping

import torch
from torch import nn

from smoothcert.zoo.names import NORMALIZATIONS, Normalization
from smoothcert.zoo.normalize import Normalize, layer  # noqa: F401 - its name of before

NORMALIZATION = "cifar10"
CLASSES = 10
OWN = "4.0.first.0.weight"
WIDTHS = (16, 32, 64)

_PLACES = (
    (r"conv1\.", "1."),
    (r"bn1\.", "2."),
    (r"layer([123])\.", lambda found: f"{int(found[1]) + 3}."),
    (r"(?:fc|linear)\.", "9."),
)
_PARTS = {
    "conv1.": "first.0.",
    "bn1.": "first.1.",
    "conv2.": "second.0.",
    "bn2.": "second.1.",
    "downsample.": "shortcut.",
    "shortcut.": "shortcut.",
}
"""The field's names of layers and of a block's parts, and the names here."""


def build(
    in_channels: int,
    num_classes: int,
    depth: int,
    inner: tuple[int, ...] | None = None,
    normalization: Normalization = NORMALIZATIONS[NORMALIZATION],
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
        layer(normalization, in_channels),
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
    initialize(network)
    return network


def initialize(network: nn.Module) -> None:
    """Draw the weights of convolutions as He et al. (2015) do."""
    for module in network.modules():
        # On the meta device there is nothing to draw, and torch would load its compiler for it.
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


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


def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """The tensors under the names here, if they have the field's.

    Those are `conv1`, `bn1`, `layer1.0.conv1` and `fc` in Cohen et al. (2019) and what followed.
    """
    if "layer3.0.conv2.weight" not in state:
        return None
    return {_renamed(key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    for pattern, place in _PLACES:
        if found := re.match(pattern, key):
            rest = key[found.end() :]
            block, dot, part = rest.partition(".")
            for theirs, ours in _PARTS.items():
                if dot and part.startswith(theirs):
                    rest = f"{block}.{ours}{part.removeprefix(theirs)}"
                    break
            return re.sub(pattern, place, found[0]) + rest
    return key


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
