"""A callback of Lightning that certifies the network while it is trained."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from smoothcert.api.certify import certify
from smoothcert.classifiers.loading import load_classifier
from smoothcert.data.given import as_inputs


def certify_callback(
    inputs: Any,
    sigma: float,
    *,
    network: str = "model",
    every: int = 1,
    radii: Sequence[float] = (0.25, 0.5),
    n: int = 1000,
    **options: Any,
) -> Any:
    """A `lightning.pytorch.Callback` that logs `certified/acr` and `certified/ca@RADIUS`.

    The draws are new each time. Figures by which an epoch is chosen are no certificates of that
    epoch's network: certify the chosen one afterwards, with a seed of its own (docs/theory.md,
    section 6).

    Args:
        inputs: a few labelled inputs, as for `certify`.
        sigma: noise standard deviation on the [0, 1] scale.
        network: the attribute of the LightningModule that maps batches in [0, 1] to logits.
        every: certify after each `every`-th validation.
        radii: radii at which certified accuracy is logged, >= 0.
        n: estimation draws of each input.
        options: further ones of `certify`.

    Returns:
        The callback, for the `callbacks` of a Trainer.
    """
    from lightning.pytorch import Callback  # type: ignore[import-not-found]

    data, how = as_inputs(inputs), {"n": n, "seed": "random", **options}

    class CertifyCallback(Callback):  # type: ignore[misc]
        seen = 0

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            self.seen += not trainer.sanity_checking
            if trainer.sanity_checking or self.seen % every:
                return
            copy = deepcopy(getattr(pl_module, network))  # in eval mode, on the same device
            model = load_classifier(copy, str(pl_module.device))
            summary = certify(model, data, sigma, **how).summary(radii)
            shares = {f"certified/ca@{radius:g}": share for radius, share in summary.accuracy}
            for logger in trainer.loggers:
                logger.log_metrics({"certified/acr": summary.acr, **shares}, trainer.global_step)

    return CertifyCallback()
