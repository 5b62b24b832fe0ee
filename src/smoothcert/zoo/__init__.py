"""Architectures by name, which can be built from a weights file alone. Normalization is inside.

`ARCH+WORD` has another normalization; see `names`.
"""

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcert.errors import ModelError, did_you_mean
from smoothcert.zoo.fitting import differences
from smoothcert.zoo.names import NORMALIZATIONS, Architecture, Normalization

if TYPE_CHECKING:
    import torch

ARCHITECTURES: dict[str, tuple[str, tuple[int, ...]]] = {
    "small_cnn": ("smoothcert.zoo.small_cnn", ()),
    **{
        f"cifar_resnet{depth}": ("smoothcert.zoo.cifar_resnet", (depth,))
        for depth in (8, 14, 20, 32, 44, 56, 110)
    },
    "resnet50": ("smoothcert.zoo.resnet", (3, 4, 6, 3)),
    "lenet": ("smoothcert.zoo.lenet", ()),
}
"""Name to a module and the further arguments of its `build`. The module has

- `build(in_channels, num_classes, *arguments, inner=None)`, with other inner widths if given, and
  with `normalization=` where it can have another than its own;
- `NORMALIZATION`, the word of its own (empty if it can have no other), and `CLASSES`, how many the
  data set of that word has;
- `OWN`, a tensor that only its own names have, and `from_published(state)`, the tensors under its
  own names if they have those of the field;
- `inner_layers(state)`: (convolution, its normalization or "" without one, the convolution that
  reads it) by name, for every convolution that only one other reads, so that its width is free;
- `sizes(state)`: the input channels, the classes and the inner widths of these weights."""

_SPARE = 2**22
"""Up to this many missing values, weights are tried, so that the message can name them."""

PRETRAINED = Path(__file__).parent / "pretrained"
"""Weights in the package: `ARCH-NAME.safetensors` is `ARCH@pretrained-NAME`."""


def build(name: str, in_channels: int, num_classes: int) -> "torch.nn.Module":
    """A freshly initialized network of this architecture."""
    return _builder(name)(in_channels, num_classes)


def rebuild(name: str, state: Mapping[str, "torch.Tensor"]) -> "torch.nn.Module":
    """The network that these weights belong to, with the weights loaded, in eval mode.

    Inner widths are read from the weights, so a slimmed network is rebuilt with its own widths.

    Raises:
        ModelError: the weights do not fit the architecture.
    """
    family, make = _family(name), _builder(name)
    state = _as_defined(state)
    try:
        in_channels, num_classes, inner = family.sizes(state)
        _check_sizes(lambda: make(in_channels, num_classes, inner=inner), state)
        network = make(in_channels, num_classes, inner=inner)
        wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        if wrong := differences(wanted, state):
            raise ValueError(wrong)
        network.load_state_dict(state)
    except (KeyError, RuntimeError, IndexError, ValueError, TypeError, ArithmeticError) as error:
        raise ModelError(
            f"The weights do not fit the architecture {name!r}: "
            f"{'missing: ' if isinstance(error, KeyError) else ''}{str(error).strip(chr(39))}. "
            f"Name the architecture they were trained with ({', '.join(ARCHITECTURES)})."
        ) from error
    return network.eval()


def own_names(
    base: str, state: Mapping[str, "torch.Tensor"]
) -> tuple[Mapping[str, "torch.Tensor"], bool] | None:
    """The tensors under the names of this package's network, from these or from the field's.

    Returns:
        They, and whether they had these names already; None if they have neither.
    """
    family = _family(base)
    if family.OWN in state:
        return state, True
    found = family.from_published(state)
    return None if found is None else (found, False)


def usual_normalization(name: Architecture, state: Mapping[str, "torch.Tensor"]) -> str:
    """The word of what the field puts before a network with these weights; empty if unknown.

    That is the normalization of the data set, which the architecture and the number of classes
    say.
    """
    family = _family(name.base)
    if name.usual:
        return name.usual
    try:
        classes = family.sizes(_as_defined(state))[1]
    except (KeyError, IndexError, ValueError):  # it has no such layers, as `rebuild` will say
        return ""
    return family.NORMALIZATION if classes == family.CLASSES else ""


def own_normalization(base: str) -> Normalization | None:
    """The normalization inside an architecture; None if it can have no other."""
    return NORMALIZATIONS.get(_family(base).NORMALIZATION)


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
    return _family(name).inner_layers(state)


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


def _family(name: str) -> Any:
    """The module of an architecture; see `ARCHITECTURES`.

    Raises:
        ModelError: there is no such architecture.
    """
    base = Architecture.parse(name).base
    if base not in ARCHITECTURES:
        raise ModelError(
            f"There is no architecture {base!r}. The architectures are {', '.join(ARCHITECTURES)}"
            f"{did_you_mean(base, ARCHITECTURES) or '.'} "
            "For your own network use package.module:factory."
        )
    return import_module(ARCHITECTURES[base][0])


def _builder(name: str) -> Any:
    """Its `build`, with all arguments but the sizes and the inner widths."""
    family, asked = _family(name), Architecture.parse(name)
    chosen = asked.normalization or NORMALIZATIONS.get(asked.usual)
    if chosen is None:
        return lambda *sizes, **inner: family.build(*sizes, *ARCHITECTURES[asked.base][1], **inner)
    if not family.NORMALIZATION:
        raise ModelError(
            f"{asked.base} has a normalization of its own, and no other: leave out what follows "
            f"the '+' in {name!r}."
        )
    return lambda *sizes, **inner: family.build(
        *sizes, *ARCHITECTURES[asked.base][1], normalization=chosen, **inner
    )
