"""The class that scripts written for the code of Cohen, Rosenfeld & Kolter (2019) expect."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from smoothcert.api.predict import predict
from smoothcert.certificate import ABSTAIN, Settings
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.given import as_array
from smoothcert.data.inputs import Inputs, Item
from smoothcert.errors import ModelError
from smoothcert.methods import SCRATCH, Case
from smoothcert.noise.law import RoundedGaussian, grid_levels
from smoothcert.sampling.probe import probe
from smoothcert.sampling.sampler import Sampler
from smoothcert.tries import Seed, number_of, warn_if_used


class Smooth:
    """A smoothed classifier, one input at a time, with the interface of the 2019 code.

    As in that code, a class with too few votes is an abstention. Unlike there, limits are rounded
    to the safe side, the noise is exact on the input's grid, and each call's noise follows from
    `seed` and the number of the call, so a script gives the same result again.
    `smoothcert.certify` is faster on many inputs, and keeps what recertification needs.

    Objects with the same seed draw the same noise. If you make one for each of several candidates
    and keep the best, you have chosen it on that noise, and its radii do not hold at alpha: certify
    the chosen one with another seed.

    Args:
        base_classifier: a torch module, run where its weights are, or what `load_classifier`
            takes. It maps batches in [0, 1] to logits and normalizes inside.
        num_classes: number of the base classifier's classes.
        sigma: noise standard deviation on the [0, 1] scale.
        seed: noise seed; `random` for one that nobody has drawn from.
        grid: the step between neighbouring values of an input: 1/255 for 8-bit images.

    Raises:
        InvalidInput: sigma, seed or grid out of range.
        ModelError: the base classifier is not a model.

    Source: Cohen, Rosenfeld & Kolter, ICML 2019, algorithms CERTIFY and PREDICT.
    """

    ABSTAIN = ABSTAIN
    """The value for no class: -1."""

    def __init__(
        self,
        base_classifier: Any,
        num_classes: int,
        sigma: float,
        *,
        seed: Seed = 0,
        grid: float | Fraction = 1 / 255,
    ) -> None:
        """Load the classifier; see the class."""
        self.base_classifier: Classifier = load_classifier(
            base_classifier, _device(base_classifier)
        )
        self.num_classes: int = num_classes
        self.sigma: float = sigma
        self.seed: int = number_of(seed)
        self.grid: float | Fraction = grid
        self._settings = Settings(sigma, grid_levels(grid), seed=self.seed)
        self._calls = 0
        warn_if_used(SCRATCH.question(self.base_classifier.fingerprint, self._settings))

    def certify(self, x: Any, n0: int, n: int, alpha: float, batch_size: int) -> tuple[int, float]:
        """The class of an input and the radius of its certificate; see `Certificate`.

        Args:
            x: the input, a tensor or array of its shape (no batch axis), in [0, 1] on the grid,
                or a Pillow image or its path, which is read as `load_inputs` reads it; its
                distance to the grid (about 1e-6 for float32) is subtracted from the radius.
            n0: selection draws.
            n: estimation draws.
            alpha: probability that the result is wrong (docs/theory.md, section 2).
            batch_size: rows per forward pass.

        Returns:
            (class, l2 radius), or (ABSTAIN, 0.0).

        Raises:
            InvalidInput: a setting, or the input, is out of range.
            ModelError: the number of classes is wrong, or the rows depend on each other.
        """
        item, off_grid = self._item(x, batch_size)
        settings = replace(self._settings, n0=n0, n=n, alpha=alpha, off_grid=off_grid)
        sampler = Sampler(self.base_classifier, settings, self.num_classes, batch_size)
        (record,) = SCRATCH.records(sampler, [Case(item)])
        found = record.certificate
        return (found.predicted, found.radius) if found.radius > 0 else (ABSTAIN, 0.0)

    def predict(self, x: Any, n: int, alpha: float, batch_size: int) -> int:
        """The smoothed classifier's class of an input's grid point, or ABSTAIN.

        Arguments and errors as for `certify`. A class other than the smoothed classifier's is
        returned with probability at most alpha (docs/theory.md, section 4).
        """
        item, _ = self._item(x, batch_size)
        facts = {"n": n, "alpha": alpha, "seed": self.seed, "batch_size": batch_size}
        return predict(self.base_classifier, item, self._noise, **facts).predicted

    @property
    def _noise(self) -> RoundedGaussian:
        return self._settings.noise

    def _item(self, x: Any, batch_size: int) -> tuple[Item, float]:
        """The input under its own number, which determines its noise, and its grid distance."""
        inputs = Inputs.from_arrays(as_array(x)[None], grid=self.grid, name="x")
        item = Item(self._calls, inputs.item(0).pixels)
        if self._calls == 0:
            found = probe(self.base_classifier, item, self._noise, self.seed, batch_size)
            if found.num_classes != self.num_classes:
                raise ModelError(
                    f"The base classifier has {found.num_classes} classes, not {self.num_classes}."
                )
        self._calls += 1
        return item, inputs.off_grid


def _device(model: Any) -> str:
    """The device of a torch module's weights."""
    has_weights = hasattr(model, "parameters") and not isinstance(model, type)
    first = next(iter(model.parameters()), None) if has_weights else None
    return "cpu" if first is None else str(first.device)
