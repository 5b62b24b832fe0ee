"""How to train: frozen recipes, a few of them by name."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from smoothcert.errors import InvalidInput, did_you_mean, require_one_of
from smoothcert.training.losses import LOSSES, Loss

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("one-cycle", "step")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Recipe:
    """How to train with Gaussian augmentation.

    Args:
        architecture: a name of the zoo; it does not matter where a network is trained further.
        sigma: noise standard deviation on the [0, 1] scale.
        epochs: passes over the data.
        batch: images per step.
        rate: peak learning rate.
        seed: of initialization, order, augmentation and noise.
        optimizer: `adamw` (weight decay 0.01) or `sgd` (momentum 0.9, weight decay 1e-4).
        schedule: `one-cycle` (Smith and Topin 2019), or `step`: a tenth after every third of
            the epochs.
        crop_and_flip: crop at random from an edge of four pixels, and mirror half the images.
        smoothing: label smoothing.
        precision: `fp32`, or `bf16` for autocast; weights stay float32.
        loss: what a step minimizes, and of how many draws of noise per image.

    Raises:
        InvalidInput: a number out of range, an unknown name, or MACER without noise.
    """

    architecture: str
    sigma: float
    epochs: int = 40
    batch: int = 64
    rate: float = 0.01
    seed: int = 0
    optimizer: str = "adamw"
    schedule: str = "one-cycle"
    crop_and_flip: bool = False
    smoothing: float = 0.02
    precision: str = "fp32"
    loss: Loss = LOSSES["plain"]

    def __post_init__(self) -> None:
        """Check the values; the architecture is checked when it is built."""
        if not (np.isfinite(self.sigma) and self.sigma >= 0):
            raise InvalidInput(f"sigma must be a number >= 0; got {self.sigma}")
        if min(self.epochs, self.batch) < 1 or not self.rate > 0:
            raise InvalidInput(
                "epochs and batch must be at least 1 and the rate positive; got "
                f"{self.epochs}, {self.batch} and {self.rate}"
            )
        if not 0 <= self.smoothing < 1:
            raise InvalidInput(f"smoothing must be in [0, 1); got {self.smoothing}")
        if self.loss.name == "macer" and self.sigma == 0:
            raise InvalidInput(
                "The loss macer widens certified radii, which are 0 without noise; got sigma 0. "
                "Give the sigma to certify at, or the loss plain."
            )
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            require_one_of(name, getattr(self, name), known)


RECIPES = {
    "quick": Recipe("small_cnn", 0.0),
    "short": Recipe(
        "cifar_resnet20",
        0.0,
        epochs=16,
        batch=128,
        rate=0.2,
        optimizer="sgd",
        crop_and_flip=True,
        smoothing=0.0,
        precision="bf16",
    ),
    "finetune": Recipe(
        "",
        0.0,
        epochs=4,
        rate=0.01,
        optimizer="sgd",
        smoothing=0.0,
        loss=LOSSES["consistency"],
    ),
    "cohen2019": Recipe(
        "cifar_resnet110",
        0.0,
        epochs=90,
        batch=400,
        rate=0.1,
        optimizer="sgd",
        schedule="step",
        crop_and_flip=True,
        smoothing=0.0,
    ),
}
"""By name: `quick` for the digits; `short`, CIFAR-10 in about 20 minutes on two cores; `finetune`
for a network that is trained; and that of Cohen et al. (2019), appendix C."""


def recipe(
    name: str,
    sigma: float,
    *,
    architecture: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    loss: str | None = None,
    crop_and_flip: bool | None = None,
    seed: int = 0,
) -> Recipe:
    """A recipe by name, for this sigma, with the values that are not None in place of its own.

    `loss` is a name, or more of it: `macer,weight=4` (see `Loss.parse`).

    Raises:
        InvalidInput: no recipe of this name, or a number out of range.
    """
    if name not in RECIPES:
        near = did_you_mean(name, RECIPES)
        raise InvalidInput(f"There is no recipe {name!r}; there are: {', '.join(RECIPES)}{near}")
    changed = {
        "architecture": architecture,
        "epochs": epochs,
        "batch": batch,
        "rate": rate,
        "loss": None if loss is None else Loss.parse(loss),
        "crop_and_flip": crop_and_flip,
    }
    given = {key: value for key, value in changed.items() if value is not None}
    return replace(RECIPES[name], sigma=sigma, seed=seed, **given)  # type: ignore[arg-type]


def optimizer_for(
    recipe: Recipe, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """The recipe's optimizer."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, recipe.rate, weight_decay=0.01)
    return torch.optim.SGD(parameters, recipe.rate, momentum=0.9, weight_decay=1e-4)


def schedule_for(
    recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The recipe's schedule over `steps` steps in all, to be advanced after every one."""
    if recipe.schedule == "step":
        third = max(1, -(-steps // 3))
        return torch.optim.lr_scheduler.StepLR(optimizer, third)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=steps, cycle_momentum=recipe.optimizer == "adamw"
    )
