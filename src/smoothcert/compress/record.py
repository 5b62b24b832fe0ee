"""The report of a compression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier was right; an estimate from few inputs, not certified.

    Attributes:
        clean: share of the inputs classified correctly without noise, 0 to 1.
        noisy: the same under one draw of noise each.
        sigma: the standard deviation of that noise.
        inputs: how many inputs were classified.
    """

    clean: float
    noisy: float
    sigma: float
    inputs: int


@dataclass(frozen=True)
class CompressionReport:
    """The record of one compression.

    The counts are over the original's weight tensors and weights. Where sizes change, removed
    weights count as changed, and so do all weights of a tensor replaced by others (a factorized
    layer). A student shares nothing with its teacher: the counts are over its own, all changed.

    Attributes:
        path: the written file.
        method: what was done, in words.
        tensors_changed: weight tensors whose values or sizes differ from the original's.
        tensors: total number of weight tensors.
        fraction_changed: fraction of all weights that differ or were removed.
        bytes_before: size of the original file, 0 if it was not a file.
        bytes_after: size of the new file.
        exact: True for a change of format only, which should change nothing.
        batch_dependent: True if a row's result depends on its batch, so that certifying needs
            batches of one.
        accuracy_before: the original's accuracy on held-out inputs, None if not measured.
        accuracy_after: the new model's accuracy on the same inputs under the same noise.
        steps: how many compressions were done one after the other; with several, the counts are of
            the one that changed the largest fraction of its weights.
    """

    path: Path
    method: str
    tensors_changed: int
    tensors: int
    fraction_changed: float
    bytes_before: int
    bytes_after: int
    exact: bool = False
    batch_dependent: bool = False
    accuracy_before: Accuracy | None = None
    accuracy_after: Accuracy | None = None
    steps: int = 1

    @property
    def nothing_changed(self) -> bool:
        """True if the new model computes with exactly the old model's weights."""
        return self.tensors_changed == 0

    def describe(self) -> str:
        """One readable line; in capitals if nothing changed or rows depend on the batch."""
        return "; ".join(
            part for part in (self._what(), self._warning(), self._accuracies()) if part
        )

    def _what(self) -> str:
        if self.exact:
            return f"{self.method}: the same weights in another format"
        if self.nothing_changed:
            return (
                f"NOTHING WAS CHANGED: {self.method} left all {self.tensors} weight tensors "
                "unchanged, so recertifying would compare a model with itself"
            )
        most = " in the step that changed most" if self.steps > 1 else ""
        return (
            f"{self.method}: {self.tensors_changed} of {self.tensors} weight tensors, "
            f"{100 * self.fraction_changed:.1f} % of the weights changed{most}; "
            f"{self.bytes_before:,} to {self.bytes_after:,} bytes"
        )

    def _warning(self) -> str:
        if not self.batch_dependent:
            return ""
        return "BATCH-DEPENDENT: certify it with --batch-size 1, other batches are refused"

    def _accuracies(self) -> str:
        before, after = self.accuracy_before, self.accuracy_after
        if before is None or after is None:
            return ""
        return (
            f"accuracy {before.clean:.1%} to {after.clean:.1%} clean, {before.noisy:.1%} to "
            f"{after.noisy:.1%} under noise {after.sigma:g} (estimated on {after.inputs} inputs)"
        )


def differences(
    before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]
) -> tuple[int, int, float]:
    """(tensors changed, tensors, fraction of weights changed), as `CompressionReport` counts them.

    A tensor of another size is assumed to keep the values that it still has.
    """
    changed = [_changed(tensor, after.get(key)) for key, tensor in before.items()]
    return counted(changed, sum(tensor.size for tensor in before.values()))


def counted(changed: Sequence[int], weights: int) -> tuple[int, int, float]:
    """The same from the number of changed weights in each tensor, and that of all weights."""
    return sum(1 for count in changed if count), len(changed), sum(changed) / max(1, weights)


def _changed(before: NDArray[Any], after: NDArray[Any] | None) -> int:
    if after is None:
        return before.size
    if before.shape != after.shape:
        return before.size - after.size
    return int(np.count_nonzero(before != after))
