"""How the tensors of a file differ from those that a network wants."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[int, ...] | None]
"""What a network wants: the shapes of its tensors by name, None for one that has none yet."""

COUNTER = "num_batches_tracked"
"""A buffer that checkpoints of before 2018 do not have, and that no forward pass in eval reads."""

_SHOWN, _LONGEST = 3, 120


def differences(wanted: Shapes, tensors: "Mapping[str, torch.Tensor]") -> str:
    """Missing and unexpected names and differing shapes, a few of each; empty if there are none."""
    missing = [key for key in wanted if key not in tensors and not key.endswith(COUNTER)]
    more = [key for key in tensors if key not in wanted]
    differing = [
        f"{key} has the shape {tuple(tensors[key].shape)} and should have {shape}"
        for key, shape in wanted.items()
        if shape is not None and key in tensors and tuple(tensors[key].shape) != shape
    ]
    found = (("missing: ", missing), ("unexpected: ", more), ("", differing))
    return "; ".join(f"{what}{_few(names)}" for what, names in found if names)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:_LONGEST] for name in names[:_SHOWN]) + more
