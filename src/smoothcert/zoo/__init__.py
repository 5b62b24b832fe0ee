"""Architectures by name, buildable from a weights file alone. Normalization is inside."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from smoothcert.errors import ModelError

if TYPE_CHECKING:
    import torch

ARCHITECTURES = {"small_cnn": "smoothcert.zoo.small_cnn"}
"""Name to module; the module has `build(in_channels, num_classes)` and `sizes(state)`."""


def build(name: str, in_channels: int, num_classes: int) -> "torch.nn.Module":
    """A freshly initialized network of this architecture."""
    return import_module(_module(name)).build(in_channels, num_classes)


def rebuild(name: str, state: Mapping[str, "torch.Tensor"]) -> "torch.nn.Module":
    """The network that these weights belong to, with the weights loaded, in eval mode.

    Raises:
        ModelError: the weights do not fit the architecture.
    """
    module = import_module(_module(name))
    try:
        network = module.build(*module.sizes(state))
        network.load_state_dict(state)
    except (KeyError, RuntimeError, IndexError) as error:
        raise ModelError(
            f"The weights do not fit the architecture {name!r}: {error}. "
            f"Name the architecture they were trained with ({', '.join(ARCHITECTURES)})."
        ) from error
    return network.eval()


def _module(name: str) -> str:
    if name not in ARCHITECTURES:
        raise ModelError(
            f"There is no architecture {name!r}; there are: {', '.join(ARCHITECTURES)}. "
            "For a network of your own use package.module:factory."
        )
    return ARCHITECTURES[name]
