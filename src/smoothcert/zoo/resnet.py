"""The 50-layer residual network for ImageNet (He et al. 2016), with the stride in the 3x3 layer.

Its tensors are named as in the published weights of the field, behind a normalization: `1.conv1`,
`1.layer1.0.conv1`, `1.fc`.
"""

from collections.abc import Mapping

import torch
from torch import nn

from smoothcert.zoo.cifar_resnet import initialize
from smoothcert.zoo.names import NORMALIZATIONS, Normalization
from smoothcert.zoo.normalize import layer

NORMALIZATION = "imagenet"
CLASSES = 1000
OWN = ""
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
"""A block's output has so many times its width."""


def build(
    in_channels: int,
    num_classes: int,
    *blocks: int,
    inner: tuple[int, ...] | None = None,
    normalization: Normalization = NORMALIZATIONS[NORMALIZATION],
) -> nn.Module:
    """The network with so many blocks in its four stages, behind its normalization.

    `inner` has two widths for every block, after its first and its second convolution, if they
    differ from the stage's.
    """
    usual = tuple(w for w, n in zip(WIDTHS, blocks, strict=True) for _ in range(2 * n))
    inner = inner or usual
    if len(inner) != len(usual):
        raise ValueError(f"it has {len(usual) // 2} blocks, not {len(inner) / 2:g}")
    network = ResNet(in_channels, num_classes, blocks, inner)
    initialize(network)
    return nn.Sequential(layer(normalization, in_channels), network)


def inner_layers(state: Mapping[str, torch.Tensor]) -> tuple[tuple[str, str, str], ...]:
    """The first two convolutions of every block, in order; the shortcut fixes the third's width."""
    end = ".conv3.weight"
    blocks = [key.removesuffix(end) for key in state if key.endswith(end)]
    blocks.sort(key=lambda block: [int(p.removeprefix("layer")) for p in block.split(".")])
    pairs = (("conv1", "bn1", "conv2"), ("conv2", "bn2", "conv3"))
    return tuple((f"{b}.{c}", f"{b}.{n}", f"{b}.{r}") for b in blocks for c, n, r in pairs)


def sizes(state: Mapping[str, torch.Tensor]) -> tuple[int, int, tuple[int, ...]]:
    """(in_channels, num_classes, inner widths) of the network with these weights."""
    inner = tuple(state[f"{first}.weight"].shape[0] for first, _, _ in inner_layers(state))
    return state["1.conv1.weight"].shape[1], state["1.fc.weight"].shape[0], inner


def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """The tensors under the names here, if they have the field's."""
    if "layer1.0.conv3.weight" not in state:
        return None
    return {f"1.{key}": value for key, value in state.items()}


class ResNet(nn.Module):
    """A 7x7 convolution and a pooling, four stages of blocks, an average and a linear layer."""

    def __init__(
        self, in_channels: int, num_classes: int, blocks: tuple[int, ...], inner: tuple[int, ...]
    ) -> None:
        """Take the blocks of each stage and two inner widths of each block."""
        super().__init__()
        self.conv1: nn.Conv2d = nn.Conv2d(in_channels, WIDTHS[0], 7, 2, padding=3, bias=False)
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(WIDTHS[0])
        self.pool: nn.MaxPool2d = nn.MaxPool2d(3, 2, padding=1)
        channels, between = WIDTHS[0], iter(inner)
        for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True), 1):
            made = []
            for place in range(count):
                stride = 2 if stage > 1 and place == 0 else 1
                widths = (next(between), next(between), EXPANSION * width)
                made.append(Bottleneck(channels, widths, stride))
                channels = EXPANSION * width
            self.add_module(f"layer{stage}", nn.Sequential(*made))
        self.stages: int = len(blocks)
        self.fc: nn.Linear = nn.Linear(channels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From normalized images of any size to logits."""
        found = self.pool(torch.relu(self.bn1(self.conv1(images))))
        for stage in range(1, self.stages + 1):
            found = self.get_submodule(f"layer{stage}")(found)
        return self.fc(nn.functional.adaptive_avg_pool2d(found, 1).flatten(1))


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution, and a shortcut."""

    def __init__(self, channels: int, widths: tuple[int, int, int], stride: int) -> None:
        """The shortcut is the identity unless the shape changes."""
        super().__init__()
        first, second, last = widths
        self.conv1: nn.Conv2d = nn.Conv2d(channels, first, 1, bias=False)
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(first)
        self.conv2: nn.Conv2d = nn.Conv2d(first, second, 3, stride, padding=1, bias=False)
        self.bn2: nn.BatchNorm2d = nn.BatchNorm2d(second)
        self.conv3: nn.Conv2d = nn.Conv2d(second, last, 1, bias=False)
        self.bn3: nn.BatchNorm2d = nn.BatchNorm2d(last)
        self.downsample: nn.Module = (
            nn.Identity()
            if channels == last and stride == 1
            else nn.Sequential(
                nn.Conv2d(channels, last, 1, stride, bias=False), nn.BatchNorm2d(last)
            )
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Add the shortcut before the last ReLU."""
        inner = torch.relu(self.bn1(self.conv1(images)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        return torch.relu(self.bn3(self.conv3(inner)) + self.downsample(images))
