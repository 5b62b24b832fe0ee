"""Architectures by name, buildable from a weights file alone. Normalization is inside."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.errors import ModelError

if TYPE_CHECKING:
    import torch

ARCHITECTURES: dict[str, tuple[str, tuple[int, ...]]] = {
    "small_cnn": ("smoothcert.zoo.small_cnn", ()),
    **{
        f"cifar_resnet{depth}": ("smoothcert.zoo.cifar_resnet", (depth,))
        for depth in (8, 14, 20, 32, 44, 56, 110)
    },
}
"""Name to a module, which has `build(in_channels, num_classes, ...)` and `sizes(state)`, and the
further arguments of its `build`."""

PRETRAINED = Path(__file__).parent / "pretrained"
"""Weights that come with the package: `ARCH-NAME.safetensors` is `ARCH@pretrained-NAME`."""


def build(name: str, in_channels: int, num_classes: int) -> "torch.nn.Module":
    """A freshly initialized network of this architecture."""
    module, arguments = _entry(name)
    return import_module(module).build(in_channels, num_classes, *arguments)


def rebuild(name: str, state: Mapping[str, "torch.Tensor"]) -> "torch.nn.Module":
    """The network that these weights belong to, with the weights loaded, in eval mode.

    Raises:
        ModelError: the weights do not fit the architecture.
    """
    module, arguments = _entry(name)
    family = import_module(module)
    try:
        network = family.build(*family.sizes(state), *arguments)
        network.load_state_dict(state)
    except (KeyError, RuntimeError, IndexError) as error:
        raise ModelError(
            f"The weights do not fit the architecture {name!r}: {error}. "
            f"Name the architecture they were trained with ({', '.join(ARCHITECTURES)})."
        ) from error
    return network.eval()


def pretrained(architecture: str, name: str) -> Path:
    """The file behind `ARCH@pretrained-NAME`.

    Raises:
        ModelError: no such weights come with the package.
    """
    path = PRETRAINED / f"{architecture}-{name}.safetensors"
    if not path.is_file():
        there = sorted(file.stem for file in PRETRAINED.glob("*.safetensors"))
        known = ", ".join("@pretrained-".join(stem.split("-", 1)) for stem in there)
        raise ModelError(
            f"No weights {architecture}@pretrained-{name} come with the package; "
            f"there are: {known or '(none)'}."
        )
    return path


def _entry(name: str) -> tuple[str, tuple[int, ...]]:
    if name not in ARCHITECTURES:
        raise ModelError(
            f"There is no architecture {name!r}; there are: {', '.join(ARCHITECTURES)}. "
            "For a network of your own use package.module:factory."
        )
    return ARCHITECTURES[name]
