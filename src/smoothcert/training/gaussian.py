"""Training with Gaussian augmentation (Cohen et al. 2019; Lecuyer et al. 2019).

Every image gets fresh noise of the sigma it will be certified at. The schedule is a short
one-cycle, which is what small machines have time for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from smoothcert import zoo
from smoothcert.errors import InvalidInput
from smoothcert.sampling.inputs import Inputs


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Args:
        architecture: a name of the zoo.
        sigma: noise standard deviation on the [0, 1] scale.
        epochs: passes over the data.
        batch: images per step.
        rate: peak learning rate of the one-cycle schedule (AdamW).
        seed: of initialization, order and noise.
    """

    architecture: str
    sigma: float
    epochs: int = 40
    batch: int = 64
    rate: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers; the architecture is checked when it is built."""
        if not (np.isfinite(self.sigma) and self.sigma >= 0):
            raise InvalidInput(f"sigma must be a number >= 0; got {self.sigma}")
        if min(self.epochs, self.batch) < 1 or not self.rate > 0:
            raise InvalidInput(
                "epochs and batch must be at least 1 and the rate positive; got "
                f"{self.epochs}, {self.batch} and {self.rate}"
            )


def train(
    recipe: Recipe,
    data: Inputs,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Train a network of the zoo from scratch.

    Args:
        recipe: what and how.
        data: labelled training inputs.
        device: where to train.
        progress: called with (epoch, mean loss) after every epoch.

    Returns:
        The network in eval mode, on the CPU. Equal calls on one machine give equal weights.

    Raises:
        InvalidInput: the data has no labels.
    """
    if data.labels is None:
        raise InvalidInput(f"{data.name} has no labels; training needs them.")
    images = torch.from_numpy(np.stack([item.pixels for item in data])).to(device)
    images = images.to(torch.float32) / data.levels
    labels = torch.tensor(data.labels, device=device)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = zoo.build(recipe.architecture, data.shape[0], int(labels.max()) + 1).to(device)
        _fit(network, images, labels, recipe, progress)
    return network.cpu().eval()


def _fit(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    progress: Callable[[int, float], None] | None,
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=0.01)
    steps = recipe.epochs * -(-len(images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    network.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        for rows in torch.randperm(len(images), device=images.device).split(recipe.batch):
            clean = images[rows]
            noisy = clean + recipe.sigma * torch.randn_like(clean)
            loss = nn.functional.cross_entropy(network(noisy), labels[rows], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if progress is not None:
            progress(epoch, total / len(images))
