"""How a denoiser in front of a classifier is called: denoised smoothing, also by diffusion models.

Salman et al. (NeurIPS 2020) certify classifier(denoiser(x + noise)); Carlini et al. (ICLR 2023)
take one step of a diffusion model as the denoiser, at the step that has as much noise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput, did_you_mean

KEYS = tuple(
    f"denoiser{more}" for more in ("", "_range", "_predicts", "_time", "_schedule", "_sigma")
)
"""Keys of a preprocess.json that are about the denoiser."""

_SIGMA = "sigma"
_KINDS = {"linear": (1e-4, 0.02), "cosine": ()}
_MOST_STEPS = 10**5
_OFFSET, _LARGEST = 0.008, 0.999  # of the cosine schedule


@dataclass(frozen=True)
class Schedule:
    """How much noise a diffusion model's steps have: x_t = sqrt(a_t) x + sqrt(1 - a_t) noise.

    Attributes:
        kind: `linear` (Ho et al. 2020) or `cosine` (Nichol and Dhariwal 2021).
        steps: how many there are; they are counted from 0.
        first, last: the linear schedule's first and last beta.

    Raises:
        InvalidInput: not such a schedule.
    """

    kind: str = "linear"
    steps: int = 1000
    first: float = _KINDS["linear"][0]
    last: float = _KINDS["linear"][1]

    def __post_init__(self) -> None:
        """Refuse what is no schedule."""
        if self.kind not in _KINDS:
            raise InvalidInput(
                f"denoiser_schedule has the kind linear or cosine; got {self.kind!r:.60}"
                f"{did_you_mean(str(self.kind), _KINDS)}"
            )
        whole = isinstance(self.steps, int) and not isinstance(self.steps, bool)
        if not whole or not 2 <= self.steps <= _MOST_STEPS:
            raise InvalidInput(
                f"denoiser_schedule has 2 to {_MOST_STEPS} steps; got {self.steps!r:.60}"
            )
        if not 0 < self.first <= self.last < 1:
            raise InvalidInput(
                "denoiser_schedule goes from a first beta above 0 up to a last below 1; got "
                f"{self.first:g} and {self.last:g}"
            )

    @cached_property
    def kept(self) -> NDArray[np.float64]:
        """a_t, the share of the image's square in step t, shape (steps,), falling."""
        if self.kind == "linear":
            betas = np.linspace(self.first, self.last, self.steps)
        else:
            times = (np.arange(self.steps + 1) / self.steps + _OFFSET) / (1 + _OFFSET)
            whole = np.cos(times * np.pi / 2) ** 2
            betas = np.minimum(1 - whole[1:] / whole[:-1], _LARGEST)
        return np.cumprod(1 - betas, dtype=np.float64)

    def step(self, noise: float) -> int:
        """The step whose noise, sqrt((1 - a_t) / a_t) of the image's, is nearest to this.

        Raises:
            InvalidInput: the first step has more noise, or the last has less.
        """
        found = np.sqrt((1 - self.kept) / self.kept)
        if not found[0] <= noise <= found[-1]:
            raise InvalidInput(
                f"The steps of denoiser_schedule have noise from {found[0]:.3g} to {found[-1]:.3g} "
                f"on the scale of denoiser_range, where denoiser_sigma is {noise:.3g}: no step "
                "fits. Check both, or use a denoiser for this sigma."
            )
        return int(np.abs(found - noise).argmin())


@dataclass(frozen=True)
class Denoising:
    """A denoiser, and what it takes and gives.

    Attributes:
        model: its reference, as in the file.
        low: least value of the scale on which it takes and gives images, 0 or -1; the largest is 1.
        predicts: `image`, or `noise`: standard normal where there is a schedule, else what was
            added.
        time: its second argument, a number or `sigma`; None if it has none or the schedule says it.
        schedule: of a diffusion model; its second argument is then the step.
        sigma: of the noise for which it is used, for images in [0, 1]; None if it is not known.

    Raises:
        InvalidInput: settings that do not go together.
    """

    model: str
    low: int = 0
    predicts: str = "image"
    time: int | float | str | None = None
    schedule: Schedule | None = None
    sigma: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.predicts not in ("image", "noise"):
            near = did_you_mean(str(self.predicts), ("image", "noise"))
            raise InvalidInput(
                f"denoiser_predicts must be image or noise; got {self.predicts!r:.60}{near}"
            )
        if self.sigma is not None and not (math.isfinite(self.sigma) and self.sigma > 0):
            raise InvalidInput(f"denoiser_sigma must be a positive number; got {self.sigma:g}")
        if self.sigma is None and (self.schedule or self.time == _SIGMA):
            key = "denoiser_schedule" if self.schedule else "denoiser_time"
            raise InvalidInput(f"{key} needs denoiser_sigma, the sigma of the certification.")
        if self.schedule and self.time is not None:
            raise InvalidInput(
                "denoiser_schedule finds the time by denoiser_sigma: leave out denoiser_time."
            )
        _ = self.step  # raises where the schedule does not reach sigma

    @property
    def noise(self) -> float:
        """Sigma on the denoiser's own scale: twice as large on [-1, 1] as on [0, 1]."""
        return (1 - self.low) * (self.sigma or 0.0)

    @cached_property
    def step(self) -> int | None:
        """The schedule's step that has this noise; None without a schedule."""
        return self.schedule.step(self.noise) if self.schedule else None

    @property
    def second(self) -> int | float | None:
        """The second argument, one for each image; None for none."""
        if isinstance(self.time, str):
            return self.noise
        return self.time if self.step is None else self.step

    @property
    def kept(self) -> float:
        """The share of the image's square in what the denoiser takes, in (0, 1]."""
        return 1.0 if self.schedule is None else float(self.schedule.kept[self.step])

    def record(self) -> dict[str, Any]:
        """What decides the result, beside the denoiser itself, for the fingerprint."""
        named = {"low": self.low, "predicts": self.predicts, "kept": self.kept}
        return named | {"second": self.second, "whole": isinstance(self.second, int)}

    def describe(self) -> str:
        """How it is used, in words, without a full stop."""
        parts = [f"on images in [{self.low}, 1]"]
        if self.schedule:
            parts.append(f"at step {self.second} of {self.schedule.steps} ({self.schedule.kind})")
        elif self.second is not None:
            parts.append(f"with {self.second:g} as second argument")
        if self.predicts == "noise":
            parts.append("which predicts the noise")
        sigma = f" for sigma {self.sigma:g}" if self.sigma else ""
        return f"{', '.join(parts)}{sigma}"


def denoising(content: Mapping[str, Any]) -> Denoising | None:
    """What the keys of a preprocess.json say about a denoiser; None if there is none.

    Raises:
        InvalidInput: values that cannot be what was meant.
    """
    found = {key: content[key] for key in KEYS if key in content}
    if not found:
        return None
    if not isinstance(model := found.get("denoiser"), str) or not model:
        raise InvalidInput(
            f"{next(iter(found))} needs a denoiser beside it, a reference such as "
            f"denoiser.pt2 or package.module:factory; got {model!r:.60}"
        )
    time = found.get("denoiser_time")
    if time is not None and time != _SIGMA:
        _number(time, "denoiser_time", ", or the word sigma")
    return Denoising(
        model,
        low=_low(found.get("denoiser_range", [0, 1])),
        predicts=found.get("denoiser_predicts", "image"),
        time=time,
        schedule=_schedule(found["denoiser_schedule"]) if "denoiser_schedule" in found else None,
        sigma=(
            _number(found["denoiser_sigma"], "denoiser_sigma")
            if "denoiser_sigma" in found
            else None
        ),
    )


def _low(value: Any) -> int:
    if value not in ([0, 1], [-1, 1]):
        raise InvalidInput(f"denoiser_range must be [0, 1] or [-1, 1]; got {value!r:.60}")
    return int(value[0])


def _schedule(value: Any) -> Schedule:
    if not isinstance(value, dict) or "kind" not in value:
        raise InvalidInput(
            'denoiser_schedule is {"kind": "linear", "steps": 1000, "first": 1e-4, "last": 0.02} '
            f'or {{"kind": "cosine", "steps": 1000}}; got {value!r:.60}'
        )
    kind = value["kind"]
    allowed = ("kind", "steps", *(("first", "last") if kind != "cosine" else ()))
    for key in value:
        if key not in allowed:
            raise InvalidInput(
                f"denoiser_schedule has {key!r:.60}, which is not known. A {kind!r:.20} one has "
                f"{', '.join(allowed)}."
            )
    betas = {key: _number(value[key], key) for key in ("first", "last") if key in value}
    return Schedule(kind=str(kind), steps=value.get("steps", 1000), **betas)


def _number(value: Any, name: str, more: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
        raise InvalidInput(f"{name} must be a number{more}; got {value!r:.60}")
    if not math.isfinite(value):
        raise InvalidInput(f"{name} must be finite{more}; got {value!r:.60}")
    return float(value)
