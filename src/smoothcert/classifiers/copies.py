"""Copies of torch modules, for threads that work at the same time."""

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
        ModelError: it has none.
    """
    found = copied(module)
    if found is None:
        raise ModelError(
            f"{name} holds what cannot be copied (a lock, a file, a generator, or hooks that write "
            "to what is shared), and would itself be changed. Compress the network before that is "
            "added, or make the change in the factory."
        )
    return found


def copied(module: nn.Module, share: bool = False) -> nn.Module | None:
    """A copy of a module that computes the same.

    Args:
        module: any.
        share: keep the parameters, which no forward pass changes, instead of copying them.

    Returns:
        None if it has no such copy: it holds what cannot be copied, such as a lock, a file or a
        generator, or hooks that write to what the copies would have in common.
    """
    if any(shares_state(function) for some in module.modules() for function in called(some)):
        return None
    memo: dict[int, Any] = {id(p): p for p in module.parameters()} if share else {}
    for some in module.modules():
        for value in some.__dict__.values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()  # torch copies no others
    try:
        with quiet():
            return deepcopy(module, memo)
    except Exception:  # noqa: BLE001 - whatever the user's objects raise
        return None
