"""Training with Gaussian augmentation (Cohen et al. 2019; Lecuyer et al. 2019).

Every image gets fresh noise of the sigma it will be certified at.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from smoothcert import zoo
from smoothcert.errors import InvalidInput
from smoothcert.sampling.inputs import Inputs
from smoothcert.training.checkpoint import Checkpoint
from smoothcert.training.recipe import Recipe, optimizer_for, schedule_for

_EDGE = 4  # pixels of zeros around an image before the random crop


def train(
    recipe: Recipe,
    data: Inputs,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> nn.Module:
    """Train a network of the zoo from scratch, or go on from a checkpoint.

    Args:
        recipe: what and how.
        data: labelled training inputs.
        device: where to train.
        progress: called with (epochs done, mean loss) after every epoch, and with a loss of NaN
            for the epochs that a checkpoint had done.
        checkpoint: where the state is kept after every epoch.

    Returns:
        The network in eval mode, on the CPU. Equal calls on one machine give equal weights,
        whether interrupted or not.

    Raises:
        InvalidInput: the data has no labels or no images, or the checkpoint is of another run.
    """
    if data.labels is None:
        raise InvalidInput(f"{data.name} has no labels; training needs them.")
    if len(data.shape) != 3:
        raise InvalidInput(
            f"{data.name} has inputs of shape {data.shape}; the zoo's networks take images of "
            "shape (channels, height, width). Train a network of your own and pass it as "
            "package.module:factory."
        )
    steps = np.stack([item.pixels for item in data])
    images = torch.from_numpy(steps.astype(np.uint8 if data.levels < 256 else np.int32))
    images, labels = images.to(device), torch.tensor(data.labels, device=device)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = zoo.build(recipe.architecture, data.shape[0], int(labels.max()) + 1).to(device)
        _fit(network, images, labels, data.levels, recipe, progress, checkpoint)
    return network.cpu().eval()


def accuracy(network: nn.Module, data: Inputs, sigma: float, seed: int = 0) -> float:
    """The share of inputs classified correctly under one draw of noise each (0 to 1).

    Args:
        network: a trained network, on the CPU.
        data: labelled inputs.
        sigma: noise standard deviation; 0 gives the clean accuracy.
        seed: of the noise.
    """
    right, generator = 0, torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for start in range(0, len(data), 256):
            rows = range(start, min(start + 256, len(data)))
            pixels = torch.from_numpy(np.stack([data.item(row).pixels for row in rows]))
            images = pixels.to(torch.float32) / data.levels
            images += sigma * torch.randn(images.shape, generator=generator)
            labels = torch.tensor([data.labels[row] for row in rows])  # type: ignore[index]
            right += int((network(images).argmax(1) == labels).sum())
    return right / len(data)


def _fit(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    levels: int,
    recipe: Recipe,
    progress: Callable[[int, float], None] | None,
    checkpoint: Checkpoint | None,
) -> None:
    optimizer = optimizer_for(recipe, network.parameters())
    schedule = schedule_for(recipe, optimizer, recipe.epochs * -(-len(images) // recipe.batch))
    done = checkpoint.restore(network, optimizer, schedule) if checkpoint else 0
    for epoch in range(done):
        if progress is not None:
            progress(epoch + 1, float("nan"))
    network.train()
    for epoch in range(done, recipe.epochs):
        total = torch.zeros((), device=images.device)
        for rows in torch.randperm(len(images), device=images.device).split(recipe.batch):
            loss = _loss(network, _augmented(images[rows], levels, recipe), labels[rows], recipe)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(rows)
        if checkpoint is not None:
            checkpoint.save(epoch + 1, network, optimizer, schedule)
        if progress is not None:
            progress(epoch + 1, float(total) / len(images))


def _augmented(pixels: torch.Tensor, levels: int, recipe: Recipe) -> torch.Tensor:
    """Float images, cropped and flipped if the recipe says so, without noise."""
    if recipe.crop_and_flip:
        pixels = _cropped(pixels)
        mirrored = torch.rand(len(pixels), device=pixels.device) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    return pixels.to(torch.float32) / levels


def _cropped(pixels: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = pixels.shape
    padded = F.pad(pixels, (_EDGE,) * 4)
    device = pixels.device
    top, left = torch.randint(2 * _EDGE + 1, (2, count, 1), device=device)
    rows = (top + torch.arange(height, device=device))[:, None, :, None]
    columns = (left + torch.arange(width, device=device))[:, None, None, :]
    planes = torch.arange(channels, device=device)[None, :, None, None]
    return padded[torch.arange(count, device=device)[:, None, None, None], planes, rows, columns]


def _loss(
    network: nn.Module, clean: torch.Tensor, labels: torch.Tensor, recipe: Recipe
) -> torch.Tensor:
    copies = clean.repeat(2, 1, 1, 1) if recipe.consistency else clean
    noisy = copies + recipe.sigma * torch.randn_like(copies)
    bf16 = recipe.precision == "bf16"
    with torch.autocast(clean.device.type, torch.bfloat16, enabled=bf16):
        logits = network(noisy)
    logits = logits.float()
    if not recipe.consistency:
        return F.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)
    fitted = F.cross_entropy(logits, labels.repeat(2), label_smoothing=recipe.smoothing)
    logs = F.log_softmax(logits, dim=1).view(2, len(labels), -1)
    mean = logs.exp().mean(0)
    apart = F.kl_div(logs, mean.expand_as(logs), reduction="none").sum(2).mean()
    return fitted + recipe.consistency * apart
