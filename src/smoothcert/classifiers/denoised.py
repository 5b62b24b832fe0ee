"""A torch network behind a denoiser."""

import json
import math
from dataclasses import replace
from hashlib import sha256

import torch
from torch import nn

from smoothcert.classifiers.denoising import Denoising
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.errors import ModelError


class Denoised(nn.Module):
    """The denoiser's estimate of the image, cut to [0, 1], then the network."""

    def __init__(self, denoiser: nn.Module, network: nn.Module, wanted: Denoising) -> None:
        """Take a denoiser, what gets its images in [0, 1], and how the denoiser is called."""
        super().__init__()
        self.denoiser: nn.Module = denoiser
        self.network: nn.Module = network
        self.wanted: Denoising = wanted
        self.second: int | float | None = wanted.second
        self.kept: float = wanted.kept
        self.tried: bool = False
        self.training = False  # not of the parts: an exported graph has no eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From noisy images to logits."""
        return self.network(self.clean(images))

    def clean(self, images: torch.Tensor) -> torch.Tensor:
        """The denoised images, in [0, 1].

        Raises:
            ModelError: the denoiser gives another shape, or nothing but NaN for a first batch.
        """
        wanted, values = self.wanted, images
        if wanted.low:
            values = 2 * values - 1
        if wanted.schedule:
            values = math.sqrt(self.kept) * values
        more = () if self.second is None else (_for_each(self.second, values),)
        found = self.denoiser(values, *more)
        self._check(found, images)
        if wanted.predicts == "noise":
            spread = math.sqrt(1 - self.kept) if wanted.schedule else 1.0
            found = (values - spread * found) / math.sqrt(self.kept)
        found = found.clamp(wanted.low, 1)
        return (found + 1) / 2 if wanted.low else found

    def _check(self, found: torch.Tensor, images: torch.Tensor) -> None:
        """Refuse what are no images of that shape; NaN only once, as that takes time."""
        if not isinstance(found, torch.Tensor) or found.shape[1:] != images.shape[1:]:
            got = tuple(found.shape[1:]) if isinstance(found, torch.Tensor) else type(found)
            raise ModelError(
                f"The denoiser {self.wanted.model} gives {got} for images of shape "
                f"{tuple(images.shape[1:])}; it must give one tensor of the same shape. If the "
                "image or noise is a part of what it gives, wrap it in a module that returns only "
                "that."
            )
        if self.tried or torch.compiler.is_compiling():
            return
        self.tried = True
        if bool(found.isnan().all()):
            raise ModelError(
                f"The denoiser {self.wanted.model} gives NaN for every value. Check its weights, "
                "and denoiser_range."
            )


def _for_each(second: float, images: torch.Tensor) -> torch.Tensor:
    """The second argument for every image, shape (B,): whole numbers as int64, else float32."""
    kind = torch.int64 if isinstance(second, int) else torch.float32
    return torch.full((images.shape[0],), second, dtype=kind, device=images.device)


def denoised(
    wanted: Denoising, denoiser: TorchClassifier, classifier: TorchClassifier
) -> TorchClassifier:
    """The classifier behind a denoiser, hence with another fingerprint.

    Raises:
        ModelError: the denoiser takes only some sizes of batches.
    """
    if denoiser.rows is not None:
        raise ModelError(
            f"The denoiser {denoiser.name} takes only some batch sizes. Export it again with "
            "torch.export.Dim('batch') as its batch dimension."
        )
    said = json.dumps(wanted.record(), sort_keys=True)
    whole = f"{classifier.fingerprint}+{denoiser.fingerprint}+{said}"
    front = f"In front stands the denoiser {denoiser.name}, {wanted.describe()}."
    return replace(
        classifier,
        module=Denoised(denoiser.module, classifier.module, wanted),
        fingerprint=sha256(whole.encode()).hexdigest()[:32],
        takes=denoiser.takes,
        front=" ".join(some for some in (front, denoiser.front, classifier.front) if some),
        denoises=wanted.sigma,
    )
