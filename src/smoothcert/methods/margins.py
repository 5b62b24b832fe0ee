"""How close each draw's label was to changing, in one byte.

A small change of the model changes labels where the original's decision was close. Only the order
within winners and within losers is kept: it costs one byte, and logits have no unit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_STEPS = 255  # 0..254: a label and one more byte value stay free in the stored form


def ranked(contests: NDArray[Any], candidate: int) -> NDArray[np.int32]:
    """The margins of draws with respect to a class.

    Args:
        contests: `engine.CONTEST` answers, shape (n,).
        candidate: the class.

    Returns:
        int32 array of 0..254: floor(255 sqrt(s)) for a draw if a share s of its side (winners or
        losers) is nearer to changing, which is finest near 0. Losers whose runner-up is the class
        come before all others.
    """
    found = np.zeros(len(contests), dtype=np.int32)
    won = contests["label"] == candidate
    far = ~won & (contests["second"] != candidate)
    for side in (won, ~won):
        places = np.flatnonzero(side)
        order = places[np.lexsort((contests["gap"][places], far[places]))]
        share = np.arange(len(order)) / max(1, len(order))
        found[order] = np.floor(_STEPS * np.sqrt(share))
    return found


def shares(margins: NDArray[np.int32]) -> NDArray[np.float64]:
    """The approximate share of their side that is nearer, from `ranked` bytes."""
    return ((margins + 0.5) / _STEPS) ** 2
