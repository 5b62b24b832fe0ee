"""What is stored of a draw, and how it follows from the logits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_CLASS = -1
"""The label of a draw whose logits have a NaN or a tie at the top: it votes for no class."""

LABEL = np.dtype(np.int32)
"""What is stored of a draw: the top class."""

CONTEST = np.dtype([("label", np.int32), ("second", np.int32), ("gap", np.float32)])
"""Or the top class, the second one, and the difference of their logits (0 in a tie)."""


def answers_of(logits: NDArray[np.floating], answer: np.dtype) -> NDArray[Any]:
    """What `answer` asks of each row of (B, K) logits."""
    return labels_of(logits) if answer == LABEL else contests_of(logits)


def labels_of(logits: NDArray[np.floating]) -> NDArray[np.int32]:
    """The top class of each row of (B, K) logits; `NO_CLASS` where there is a tie or a NaN."""
    at_top = logits == logits.max(axis=1, keepdims=True)  # a NaN is the maximum, and equals nothing
    decided = at_top.sum(axis=1) == 1
    return np.where(decided, at_top.argmax(axis=1), NO_CLASS).astype(np.int32)


def contests_of(logits: NDArray[np.floating]) -> NDArray[Any]:
    """Top class, runner-up and the gap between them, of each row of (B, K) logits: `CONTEST`."""
    rows = np.arange(len(logits))
    top = logits.argmax(axis=1)
    others = logits.astype(np.result_type(logits, np.float32))
    best = others[rows, top]
    others[rows, top] = -np.inf
    found = np.empty(len(logits), dtype=CONTEST)
    found["label"] = labels_of(logits)
    found["second"] = others.argmax(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):  # of two infinities, and beyond float32
        gap = (best - others[rows, found["second"]]).astype(np.float32)
    found["gap"] = np.nan_to_num(gap, nan=0.0)
    return found
