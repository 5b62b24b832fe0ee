"""Architectures by name, which can be built from a weights file alone. Normalization is inside."""

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import torch

ARCHITECTURES: dict[str, tuple[str, tuple[int, ...]]] = {
    "small_cnn": ("smoothcert.zoo.small_cnn", ()),
    **{
        f"cifar_resnet{depth}": ("smoothcert.zoo.cifar_resnet", (depth,))
        for depth in (8, 14, 20, 32, 44, 56, 110)
    },
}
"""Name to a module and the further arguments of its `build`. The module has

- `build(in_channels, num_classes, *arguments, inner=None)`, with other inner widths if given;
- `inner_layers(state)`: (convolution, its normalization, the convolution that reads it) by name,
  for every convolution that only one other reads, so that its width is free;
- `sizes(state)`: the input channels, the classes and the inner widths of these weights."""

_SPARE = 2**22
"""Up to this many missing values, weights are tried, so that the message can name them."""

PRETRAINED = Path(__file__).parent / "pretrained"
"""Weights in the package: `ARCH-NAME.safetensors` is `ARCH@pretrained-NAME`."""


def build(name: str, in_channels: int, num_classes: int) -> "torch.nn.Module":
    """A freshly initialized network of this architecture."""
    module, arguments = _entry(name)
    return import_module(module).build(in_channels, num_classes, *arguments)


def rebuild(name: str, state: Mapping[str, "torch.Tensor"]) -> "torch.nn.Module":
    """The network that these weights belong to, with the weights loaded, in eval mode.

    Inner widths are read from the weights, so a slimmed network is rebuilt with its own widths.

    Raises:
        ModelError: the weights do not fit the architecture.
    """
    module, arguments = _entry(name)
    family = import_module(module)
    state = _as_defined(state)
    try:
        in_channels, num_classes, inner = family.sizes(state)
        _check_sizes(lambda: family.build(in_channels, num_classes, *arguments, inner=inner), state)
        network = family.build(in_channels, num_classes, *arguments, inner=inner)
        network.load_state_dict(state)
    except (KeyError, RuntimeError, IndexError, ValueError, TypeError, ArithmeticError) as error:
        raise ModelError(
            f"The weights do not fit the architecture {name!r}: {error}. "
            f"Name the architecture they were trained with ({', '.join(ARCHITECTURES)})."
        ) from error
    return network.eval()


def _as_defined(state: Mapping[str, "torch.Tensor"]) -> Mapping[str, "torch.Tensor"]:
    """The tensors under the network's own names, in the order of its layers.

    safetensors keeps neither: `10.weight` comes before `2.weight`, and the tensors of a wrapped
    network have the wrapper's prefix.
    """
    for prefix in _WRAPPERS:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    numbered = {key: re.split(r"(\d+)", key) for key in state}  # text and digits take turns
    order = sorted(state, key=lambda key: [int(p) if p.isdigit() else p for p in numbered[key]])
    return {key: state[key] for key in order}


_WRAPPERS = ("_orig_mod.", "module.")
"""The prefixes that torch.compile and DataParallel put before every name."""


def _check_sizes(
    build: "Callable[[], torch.nn.Module]", state: Mapping[str, "torch.Tensor"]
) -> None:
    """Raise ValueError if the network is larger than the weights, whose shapes may be false.

    A tensor of shape (2^30, 0) has no bytes, but a layer with 2^30 outputs would have gigabytes.
    """
    import torch

    with torch.device("meta"):
        wanted = sum(tensor.numel() for tensor in build().state_dict().values())
    given = sum(tensor.numel() for tensor in state.values())
    if wanted > given + _SPARE:
        raise ValueError(f"a network of these shapes has {wanted} values, but the file has {given}")


def inner_layers(
    name: str, state: Mapping[str, "torch.Tensor"]
) -> tuple[tuple[str, str, str], ...]:
    """(convolution, its normalization, its only reader) of every layer whose width is free."""
    return import_module(_entry(name)[0]).inner_layers(state)


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
            f"The package has no weights {architecture}@pretrained-{name}; "
            f"it has: {known or '(none)'}."
        )
    return path


def _entry(name: str) -> tuple[str, tuple[int, ...]]:
    if name not in ARCHITECTURES:
        raise ModelError(
            f"There is no architecture {name!r}. The architectures are {', '.join(ARCHITECTURES)}"
            f"{did_you_mean(name, ARCHITECTURES) or '.'} "
            "For your own network use package.module:factory."
        )
    return ARCHITECTURES[name]
