"""The LeNet of MACER, Consistency, SmoothMix and CAT-RS for MNIST and Fashion-MNIST.

Two 5x5 convolutions, each pooled, and two linear layers, for 28x28 images (LeCun et al. 1998, with
ReLU, max pooling and more channels). It has no normalization, and takes values in [0, 1] as they
are. Its tensors are named as in the checkpoints: `1.conv1`, `1.conv2`, `1.fc1`, `1.fc2`.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from smoothcert.errors import InvalidInput
from smoothcert.zoo.names import NORMALIZATIONS, Normalization
from smoothcert.zoo.normalize import layer

NORMALIZATION = "none"
CLASSES = 10
OWN = ""
SIDE = 28
WIDTHS = (20, 50, 500)


def build(
    in_channels: int,
    num_classes: int,
    inner: tuple[int, ...] | None = None,
    normalization: Normalization = NORMALIZATIONS[NORMALIZATION],
) -> nn.Module:
    """The network; `inner` has the channels of the first convolution, if they are not 20."""
    (first,) = inner or WIDTHS[:1]
    return nn.Sequential(layer(normalization, in_channels), LeNet(in_channels, num_classes, first))


def inner_layers(_state: Mapping[str, torch.Tensor]) -> tuple[tuple[str, str, str], ...]:
    """The first convolution, without a normalization; linear layers read the second."""
    return (("1.conv1", "", "1.conv2"),)


def sizes(state: Mapping[str, torch.Tensor]) -> tuple[int, int, tuple[int, ...]]:
    """(in_channels, num_classes, inner widths) of the network with these weights."""
    first, channels = state["1.conv1.weight"].shape[:2]
    return channels, state["1.fc2.weight"].shape[0], (first,)


def from_published(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """The tensors under the names here, if they have the field's."""
    if not {"conv2.weight", "fc2.weight"} <= state.keys():
        return None
    return {f"1.{key}": value for key, value in state.items()}


class LeNet(nn.Module):
    """The network behind its normalization."""

    def __init__(self, in_channels: int, num_classes: int, first: int) -> None:
        """Take the channels of the images and of the first convolution."""
        super().__init__()
        _, second, hidden = WIDTHS
        left = ((SIDE - 4) // 2 - 4) // 2  # the side, after each convolution and pooling
        self.conv1: nn.Conv2d = nn.Conv2d(in_channels, first, 5)
        self.conv2: nn.Conv2d = nn.Conv2d(first, second, 5)
        self.fc1: nn.Linear = nn.Linear(second * left * left, hidden)
        self.fc2: nn.Linear = nn.Linear(hidden, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From 28x28 images to logits."""
        if images.shape[-2:] != (SIDE, SIDE):
            raise InvalidInput(
                f"lenet takes images of {SIDE}x{SIDE}; got {'x'.join(map(str, images.shape[-2:]))}."
                " Give images of that size, or take another architecture."
            )
        found = F.max_pool2d(torch.relu(self.conv1(images)), 2)
        found = F.max_pool2d(torch.relu(self.conv2(found)), 2)
        return self.fc2(torch.relu(self.fc1(found.flatten(1))))
