"""Training with Gaussian augmentation (Cohen et al. 2019; Lecuyer et al. 2019).

Every image gets fresh noise of the sigma it will be certified at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from smoothcert import zoo
from smoothcert.classifiers.out_of_memory import ran_out
from smoothcert.classifiers.pytorch import set_training
from smoothcert.classifiers.torch_modes import arithmetic
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, OutOfMemory
from smoothcert.training.checkpoint import Checkpoint
from smoothcert.training.recipe import Recipe, optimizer_for, schedule_for

TEMPERATURE = 4.0
"""Of the softmax that a student matches."""

_EDGE = 4  # pixels of zeros around an image before the random crop

# The loss of logits, given the noisy images they are of and which rows of the data these are.
_Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def train(
    recipe: Recipe,
    data: Inputs,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
    checkpoint: Checkpoint | None = None,
    *,
    network: nn.Module | None = None,
    teacher: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> nn.Module:
    """Train a network of the zoo from scratch, or any network further, or go on after a stop.

    Args:
        recipe: what and how.
        data: training inputs; labelled, unless there is a teacher.
        device: where to train.
        progress: called with (epochs done, mean loss) after every epoch, and with a loss of NaN
            for the epochs that a checkpoint had done.
        checkpoint: where the state is kept after every epoch.
        network: one to start from, which is changed: any module from float images in [0, 1] to
            logits. An exported program keeps its normalization statistics and leaves out dropout,
            as it was exported. By default one of the recipe's architecture, freshly initialized.
        teacher: from noisy images to the logits to imitate, in place of the labels (Hinton et
            al. 2015): its softmax at `TEMPERATURE` on the very draws that the network sees.

    Returns:
        The network in eval mode, on the CPU. Equal calls on one machine give equal weights,
        whether interrupted or not.

    Raises:
        InvalidInput: the data has no labels or no images, or the checkpoint is of another run.
    """
    if data.labels is None and teacher is None:
        raise InvalidInput(f"{data.name} has no labels; training needs them.")
    if len(data.shape) != 3 and (network is None or recipe.crop_and_flip):
        raise InvalidInput(
            f"{data.name} has inputs of shape {data.shape}; the zoo's networks take images of "
            "shape (channels, height, width), and only images are cropped and mirrored. Train a "
            "network of your own: train package.module:factory, without --augment."
        )
    steps = np.stack([item.pixels for item in data])
    images = torch.from_numpy(steps.astype(np.uint8 if data.levels < 256 else np.int32)).to(device)
    if teacher is not None:
        loss, classes = _imitating(teacher), teacher(images[:1] / data.levels).shape[1]
    else:
        labels = torch.tensor(data.labels, device=device)
        loss, classes = _labelled(labels, recipe), int(labels.max()) + 1
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        if network is None:
            network = zoo.build(recipe.architecture, data.shape[0], classes)
        network = network.to(device)
        if images.is_cuda and images.ndim == 4:  # bfloat16 convolutions want channels last
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with arithmetic("eager"):  # on CUDA, other sums of gradients differ from call to call
            _fit(network, images, data.levels, loss, recipe, progress, checkpoint)
    if images.is_cuda and images.ndim == 4:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return set_training(network.cpu(), False)


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
    levels: int,
    loss_of: _Loss,
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
    set_training(network, True)
    for epoch in range(done, recipe.epochs):
        total = torch.zeros((), device=images.device)
        for rows in torch.randperm(len(images), device=images.device).split(recipe.batch):
            with _explaining_memory(len(rows), recipe):
                noisy = _noisy(_augmented(images[rows], levels, recipe), recipe)
                loss = loss_of(_logits(network, noisy, recipe), noisy, rows)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
            total += loss.detach() * len(rows)
        if checkpoint is not None:
            checkpoint.save(epoch + 1, network, optimizer, schedule)
        if progress is not None:
            progress(epoch + 1, float(total) / len(images))


@contextmanager
def _explaining_memory(images: int, recipe: Recipe) -> Iterator[None]:
    """Turn a step's error about memory into one that says what makes a step smaller."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        name, draws = recipe.loss.name, recipe.loss.draws
        fewer = f", or fewer draws (--loss {name},draws={draws // 2})" if draws > 3 else ""
        raise OutOfMemory(
            f"A training step on {images} images, {draws} noisy draws of each, ran out of memory. "
            f"Give train a smaller batch (--batch {max(1, images // 2)}){fewer}."
        ) from error


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


def _noisy(clean: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The loss's draws of noise: one of every image, then another of every image, and so on."""
    copies = clean.repeat(recipe.loss.draws, *[1] * (clean.ndim - 1))
    return copies + recipe.sigma * torch.randn_like(copies)


def _logits(network: nn.Module, noisy: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    bf16 = recipe.precision == "bf16"
    if noisy.is_cuda and noisy.ndim == 4:
        noisy = noisy.contiguous(memory_format=torch.channels_last)
    with torch.autocast(noisy.device.type, torch.bfloat16, enabled=bf16):
        return network(noisy).float()


def _labelled(labels: torch.Tensor, recipe: Recipe) -> _Loss:
    """The recipe's loss."""

    def loss(logits: torch.Tensor, _noisy: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        by_draw = logits.unflatten(0, (recipe.loss.draws, len(rows)))
        return recipe.loss.value(by_draw, labels[rows], recipe.sigma, recipe.smoothing)

    return loss


def _imitating(teacher: Callable[[torch.Tensor], torch.Tensor]) -> _Loss:
    """The divergence from the teacher's softened prediction, times the squared temperature."""

    def loss(logits: torch.Tensor, noisy: torch.Tensor, _rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            aim = F.log_softmax(teacher(noisy) / TEMPERATURE, dim=1)
        softened = F.log_softmax(logits / TEMPERATURE, dim=1)
        apart = F.kl_div(softened, aim, reduction="batchmean", log_target=True)
        return TEMPERATURE**2 * apart

    return loss
