"""A training run's state after an epoch, so that it can be stopped and continued."""

import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothcert.errors import InvalidInput, StoreError
from smoothcert.training.recipe import Recipe


class Checkpoint:
    """One file that is replaced after every epoch and removed at the end.

    Args:
        path: where it is kept.
        recipe: the recipe it belongs to.
        data: fingerprint of the training data.
    """

    def __init__(self, path: Path, recipe: Recipe, data: str) -> None:
        """Remember what the file has to match."""
        self.path: Path = path
        self.belongs_to: str = json.dumps([asdict(recipe), data], sort_keys=True)

    def save(self, epoch: int, network: nn.Module, optimizer: Any, schedule: Any) -> None:
        """Keep the state after `epoch` epochs; the old file stays until the new one is whole."""
        state = {
            "belongs_to": self.belongs_to,
            "epoch": epoch,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "random": _random_state(network),
        }
        temporary = self.path.with_name(self.path.name + ".tmp")
        data = io.BytesIO()
        torch.save(state, data)  # which ends the process where it cannot write
        try:
            temporary.write_bytes(data.getvalue())
            os.replace(temporary, self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreError(
                f"Cannot write {self.path}: {error.strerror}. Make room or fix the permissions, "
                "and repeat the command with --resume."
            ) from error

    def restore(self, network: nn.Module, optimizer: Any, schedule: Any) -> int:
        """Load the state, if there is one, and return how many epochs are done.

        Raises:
            StoreError: the file is damaged.
            InvalidInput: it belongs to another recipe or other data.
        """
        if not self.path.is_file():
            return 0
        device = next(network.parameters()).device
        try:
            state = torch.load(self.path, map_location=device, weights_only=True)
            belongs_to, epoch = state["belongs_to"], state["epoch"]
        except Exception as error:  # torch, zipfile and pickle each have their own kinds
            raise StoreError(
                f"The checkpoint {self.path} is damaged: {error}. Delete it to start again."
            ) from error
        if belongs_to != self.belongs_to:
            raise InvalidInput(
                f"The checkpoint {self.path} belongs to another recipe or other data. Give the "
                "options it was made with, or delete it to start again."
            )
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"][0].cpu())
        if len(state["random"]) > 1:
            torch.cuda.set_rng_state(state["random"][1].cpu(), device)
        return epoch

    def clear(self) -> None:
        """Delete an existing checkpoint of any recipe.

        Raises:
            InvalidInput: the file is not a checkpoint.
        """
        if not self.path.exists():
            return
        try:
            ours = "belongs_to" in torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001 - torch, zipfile and pickle each have their own kinds
            ours = False
        if not ours:
            raise InvalidInput(
                f"{self.path} would be replaced by checkpoints, but is not one of smoothcert's. "
                "Move it, or give another --out."
            )
        self.remove()

    def remove(self) -> None:
        """Delete the file; the weights are written."""
        self.path.unlink(missing_ok=True)


def _random_state(network: nn.Module) -> list[torch.Tensor]:
    device = next(network.parameters()).device
    states = [torch.get_rng_state()]
    return states if device.type != "cuda" else [*states, torch.cuda.get_rng_state(device)]
