"""What networks from hubs have in common: a normalization, and weights in a file."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from smoothcert.classifiers.loading import checked_file
from smoothcert.classifiers.pytorch import read_weights
from smoothcert.errors import ModelError

_MOST_CLASSES = 2**20


class Normalized(nn.Module):
    """A network behind the per-channel normalization it was trained with.

    The constants are saved buffers, and `facts` is part of the module's text, so that both are
    in the fingerprint.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], facts: str
    ) -> None:
        """Take (channels,) constants on the [0, 1] scale, and what the weights do not show."""
        super().__init__()
        self.network: nn.Module = network
        self.facts: str = facts
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From [0, 1] to logits."""
        return self.network((images - self.mean) / self.std)

    def extra_repr(self) -> str:
        """The architecture's name or configuration."""
        return self.facts


def filled(build: Callable[..., nn.Module], path: Path, what: str) -> nn.Module:
    """The network of `build(num_classes=...)` with the weights of a safetensors file.

    Raises:
        ModelError: no such file, not safetensors, or the weights do not fit.
    """
    if checked_file(path).suffix != ".safetensors":
        raise ModelError(f"The weights of {what} must be in a .safetensors file; got {path.name!r}")
    state, _ = read_weights(path)
    try:
        last = [key for key, value in build().state_dict().items() if value.ndim > 1][-1]
        classes = len(state[last])
        if classes > state[last].numel() or classes > _MOST_CLASSES:
            raise ModelError(f"The weights in {path.name} do not fit {what}: {classes} classes")
        network = build(num_classes=classes)
        network.load_state_dict(state)
    except KeyError as error:
        raise ModelError(
            f"The weights in {path.name} do not fit {what}: no tensor {error}"
        ) from error
    except (RuntimeError, TypeError, IndexError) as error:
        raise ModelError(f"The weights in {path.name} do not fit {what}: {brief(error)}") from error
    return network


def brief(error: BaseException) -> str:
    """An error of another library as one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".") if len(text) <= 200 else f"{text[:197]}..."
