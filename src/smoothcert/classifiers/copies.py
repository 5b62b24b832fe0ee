"""Copies of torch modules, for threads that work in parallel."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from smoothcert.classifiers.code import called, shares_state
from smoothcert.classifiers.quiet import quiet
from smoothcert.errors import ModelError


def whole_copy(module: nn.Module, name: str) -> nn.Module:
    """A copy of a module, to be changed.

    Raises:
        ModelError: it cannot be copied.
    """
    found = copied(module)
    if found is None:
        raise ModelError(
            f"{name} holds something that cannot be copied (a lock, a file, a generator, or hooks "
            "that write to shared objects), so the original would be changed. Compress the network "
            "before adding that, or make the change in the factory."
        )
    return found


def copied(module: nn.Module, share: bool = False) -> nn.Module | None:
    """A copy of a module that computes the same.

    Args:
        module: any module.
        share: keep the parameters, which no forward pass changes, instead of copying them.

    Returns:
        None if it cannot be copied: it holds a lock, a file or a generator, or hooks that write to
        what the copies would share.
    """
    if any(shares_state(function) for some in module.modules() for function in called(some)):
        return None
    memo: dict[int, Any] = {id(p): p for p in module.parameters()} if share else {}
    for some in module.modules():
        for value in some.__dict__.values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()  # torch cannot copy these itself
    try:
        with quiet():
            return deepcopy(module, memo)
    except Exception:  # noqa: BLE001 - whatever the user's objects raise
        return None
