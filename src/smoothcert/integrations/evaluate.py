"""A metric of Hugging Face's `evaluate`: certified accuracy and average certified radius."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_DESCRIPTION = """\
Share of inputs with a certificate of their class at a radius or more, and the average radius, where
an input without one counts 0. Each certificate is wrong with probability at most its own alpha.
"""
_INPUTS = """\
predictions: certified classes, -1 where it abstains. radii: their radii. references: true classes.
at: radii at which certified accuracy is wanted.
"""


def certified_accuracy() -> Any:
    """An `evaluate.Metric`: `compute(predictions=..., radii=..., references=..., at=[0.25])`.

    Returns:
        The metric; `compute` gives `acr` and `certified_accuracy@RADIUS`.
    """
    import datasets
    import evaluate  # type: ignore[import-not-found]

    class CertifiedAccuracy(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> Any:
            types = {"predictions": "int64", "radii": "float64", "references": "int64"}
            features = datasets.Features({n: datasets.Value(kind) for n, kind in types.items()})
            return evaluate.MetricInfo(
                _DESCRIPTION, citation="", inputs_description=_INPUTS, features=features
            )

        def _compute(
            self,
            predictions: Sequence[int],
            radii: Sequence[float],
            references: Sequence[int],
            at: Sequence[float] = (0.25, 0.5),
        ) -> dict[str, float]:
            classes, truth = np.asarray(predictions), np.asarray(references)
            right = np.where((classes >= 0) & (classes == truth), np.asarray(radii), -1.0)
            shares = {f"certified_accuracy@{r:g}": float((right >= r).mean()) for r in at}
            return {"acr": float(right.clip(0).mean()), **shares}

    return CertifiedAccuracy()
