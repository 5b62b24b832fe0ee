"""What a training step minimizes, by name, of several noisy draws of every image.

- `plain`: the cross-entropy of every draw (Cohen et al. 2019).
- `consistency`: the same, and the divergence of every draw's prediction from the image's mean
  prediction (Jeong and Shin 2020, without their entropy term).
- `macer`: the cross-entropy of the mean prediction, and what the certified radius lacks of a
  target (Zhai et al. 2020). The defaults are those of their code, for CIFAR-10 at sigma 0.25.

The second term is multiplied by a weight. `_FORMS` has the defaults.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite, log

import torch
from torch.nn import functional as F

from smoothcert.errors import InvalidInput, require_one_of

TARGET = 8.0
"""The radius, in units of half the sigma, from which MACER asks for no more (their gamma)."""

SHARPNESS = 16.0
"""Logits are multiplied by it before MACER's radius, whose softmax is then nearly a vote (beta)."""

_EDGE = 1e-7
"""Probabilities are kept so far from 0 and 1. Closer, the radius is beyond the target anyway."""

_Part = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss with its settings.

    Args:
        name: see above.
        draws: noisy draws of each image in a step; a step costs so many times that of one.
        weight: of the second term; 0 where there is none.

    Raises:
        InvalidInput: an unknown name, too few draws, or a weight that the loss does not take.
    """

    name: str
    draws: int
    weight: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        require_one_of("loss", self.name, _FORMS)
        form = _FORMS[self.name]
        if self.draws < form.least or not (isfinite(self.weight) and self.weight >= 0):
            raise InvalidInput(
                f"The loss {self.name} needs draws >= {form.least} and a finite weight >= 0; got "
                f"{self.draws} and {self.weight}"
            )
        if self.weight and form.term is None:
            raise InvalidInput(
                f"The loss {self.name} has no second term; got the weight {self.weight:g}. Leave "
                "it out, or take consistency or macer."
            )

    @staticmethod
    def parse(text: str) -> "Loss":
        """A loss from a name and what differs from its defaults: `macer,weight=4,draws=8`.

        Raises:
            InvalidInput: as above, or the text has another form.
        """
        name, *settings = text.split(",")
        require_one_of("loss", name, LOSSES)
        given: dict[str, float] = {}
        for key, _, value in (setting.partition("=") for setting in settings):
            try:
                number = {"draws": int, "weight": float}[key](value)
            except (KeyError, ValueError):
                number = None
            if number is None or key in given:
                raise InvalidInput(
                    f"A loss is given by name, weight and draws, as in {name},draws=8; got {text!r}"
                )
            given[key] = number
        return replace(LOSSES[name], **given)  # type: ignore[arg-type]

    def value(
        self, logits: torch.Tensor, labels: torch.Tensor, sigma: float, smoothing: float
    ) -> torch.Tensor:
        """The loss of a batch.

        Args:
            logits: (draws, images, classes), of draws with noise of this sigma.
            labels: (images,), whole numbers.
            sigma: on the [0, 1] scale.
            smoothing: of the labels in the cross-entropy, in [0, 1).
        """
        form = _FORMS[self.name]
        fitted = form.fit(logits, labels, smoothing)
        if form.term is None:
            return fitted
        return fitted + self.weight * form.term(logits, labels, sigma)


def _every_draw(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    known = labels.repeat(len(logits))
    return F.cross_entropy(logits.flatten(0, 1), known, label_smoothing=smoothing)


def _mean_prediction(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    logs = F.log_softmax(logits, dim=2).logsumexp(0) - log(len(logits))
    return F.cross_entropy(logs, labels, label_smoothing=smoothing)


def _apart(logits: torch.Tensor, _labels: torch.Tensor, _sigma: float) -> torch.Tensor:
    logs = F.log_softmax(logits, dim=2)
    mean = logs.exp().mean(0)
    return F.kl_div(logs, mean.expand_as(logs), reduction="none").sum(2).mean()


def _short_of_target(logits: torch.Tensor, labels: torch.Tensor, sigma: float) -> torch.Tensor:
    """What the radius lacks of the target, over the images that are right; 0 for the others."""
    votes = F.softmax(SHARPNESS * logits, dim=2).mean(0)
    known = F.one_hot(labels, votes.shape[1]).bool()
    own = torch.where(known, votes, 0.0).sum(1)
    other = torch.where(known, 0.0, votes).amax(1)
    # With fewer than 26,000 classes a radius below the target has no probability at an edge.
    upper, lower = (torch.special.ndtri(p.clamp(_EDGE, 1 - _EDGE)) for p in (own, other))
    lacking = (TARGET - (upper - lower)).clamp(min=0.0)
    return sigma / 2 * torch.where(own > other, lacking, 0.0).mean()


@dataclass(frozen=True)
class _Form:
    """How a loss is computed, and its defaults.

    Attributes:
        draws: by default.
        weight: by default.
        fit: from logits, labels and label smoothing.
        term: from logits, labels and sigma; None for a loss that has only the fit.
        least: with fewer draws than these the term says nothing.
    """

    draws: int
    weight: float
    fit: _Part
    term: _Part | None
    least: int = 1


_FORMS = {
    "plain": _Form(1, 0.0, _every_draw, None),
    "consistency": _Form(2, 1.0, _every_draw, _apart, least=2),
    "macer": _Form(16, 12.0, _mean_prediction, _short_of_target),
}

LOSSES = {name: Loss(name, form.draws, form.weight) for name, form in _FORMS.items()}
"""By name, with their defaults."""
