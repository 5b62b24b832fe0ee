"""A user's script, run here and checked by pyright in strict mode: nothing public is untyped."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import smoothcert
from smoothcert import Certificate, Certification, Classifier, Inputs, Outcome, Run
from smoothcert.bounds import binomial


@dataclass(frozen=True)
class Brightness:
    """A classifier of the user's own: is the image bright?"""

    name: str = "brightness"
    fingerprint: str = "brightness-1"
    device: str = "cpu"
    fixed_batch: int | None = None

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        mean = images.mean(axis=(1, 2, 3))
        return np.stack([0.5 - mean, mean - 0.5], axis=1).astype(np.float32)


def radii(certificates: tuple[Certificate, ...]) -> list[float]:
    return [c.radius for c in certificates if c.outcome is Outcome.CERTIFIED]


def test_from_arrays_to_radii() -> None:
    pixels = np.linspace(0, 255, 40 * 16).round().reshape(40, 1, 4, 4) / 255
    labels = (pixels.mean(axis=(1, 2, 3)) > 0.5).astype(np.int64)
    inputs: Inputs = Inputs.from_arrays(pixels, labels, 1 / 255)
    model: Classifier = Brightness()
    base: Certification = smoothcert.certify(model, inputs, sigma=0.25, n0=20, n=500)
    again = smoothcert.recertify(base, model, inputs, per_input=100)
    assert len(radii(base.certificates)) > 30
    assert max(radii(again.certificates)) > 0
    summary = smoothcert.summarize(again.certificates, inputs.labels)
    acr: float = summary.acr
    compared = smoothcert.compare(base, again, labels=inputs.labels)
    p: float = compared.changes[0].p_value
    assert p <= 1
    assert acr > 0
    (whole,) = smoothcert.screen(base, [model], inputs, per_input=20)
    assert whole.acr >= 0
    label: int = smoothcert.predict(model, inputs.item(0), base.settings.noise, n=100).predicted
    assert label in (0, smoothcert.ABSTAIN)
    limit: NDArray[np.float64] = binomial.lower(np.array([90]), 100, 0.001)
    assert 0.7 < limit[0] < 0.9


def test_what_goes_wrong_is_of_one_family(tmp_path: Path) -> None:
    with pytest.raises(smoothcert.SmoothcertError, match="is not a run directory"):
        Run.open(tmp_path)
