"""The layer that a normalization is, the first of a network."""

import torch
from torch import nn

from smoothcert.errors import ModelError
from smoothcert.zoo.names import NORMALIZATIONS, Normalization


def layer(normalization: Normalization, channels: int) -> nn.Module:
    """The layer for so many channels, which has no weights.

    Constants of three channels are averaged for another number of them.

    Raises:
        ModelError: constants for another number of channels.
    """
    return Normalize(normalization, channels) if normalization.mean else nn.Identity()


class Normalize(nn.Module):
    """Per-channel centring and scaling. Its constants are not saved, but part of its text."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, normalization: Normalization, channels: int) -> None:
        """Fix the constants."""
        super().__init__()
        for name, values in (("mean", normalization.mean), ("std", normalization.std)):
            fixed = torch.tensor(_for(values, channels)).view(-1, 1, 1)
            self.register_buffer(name, fixed, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From [0, 1] to what the network was trained with."""
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """The constants, for the fingerprint; CIFAR-10's, the first there were, are left out."""
        mean, std = (part.flatten().tolist() for part in (self.mean, self.std))
        first = (torch.tensor(_for(values, len(mean))) for values in (_FIRST.mean, _FIRST.std))
        if [mean, std] == [part.tolist() for part in first]:
            return ""
        return f"mean={mean}, std={std}"


# Where it was first; fingerprints of users' factories that build it know it by that name.
Normalize.__module__ = "smoothcert.zoo.cifar_resnet"

_FIRST = NORMALIZATIONS["cifar10"]


def _for(values: tuple[float, ...], channels: int) -> list[float]:
    if len(values) == channels:
        return list(values)
    if len(values) not in (1, 3):
        raise ModelError(
            f"The normalization has constants for {len(values)} channels, the network takes "
            f"{channels}. Give one for each channel, or one for all."
        )
    return [sum(values) / len(values)] * channels
