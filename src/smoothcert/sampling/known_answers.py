"""A few logits stored with a run, so that another network under the same name is detected.

A fingerprint covers what can be hashed. What a factory reads elsewhere, or a file edited between
two sessions, shows in the model's logits.
"""

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

_ROWS, _COLUMNS = 4, 32
_TOLERANCE = 1e-3  # of the largest logit: processors and batch sizes change 1e-6 to 1e-4


def kept(logits: NDArray[np.floating]) -> str:
    """The first rows and columns of logits of shape (rows, classes), as text for run.json."""
    with np.errstate(over="ignore"):
        few = np.asarray(logits[:_ROWS, :_COLUMNS], dtype="<f4")
    return f"{few.shape[0]}x{few.shape[1]}:{base64.b64encode(few.tobytes()).decode()}"


def read(text: str) -> NDArray[np.float32]:
    """Decode a text from `kept`.

    Raises:
        ValueError: it is not such a text.
    """
    shape, _, values = text.partition(":")
    rows, _, columns = shape.partition("x")
    if not (rows.isdigit() and columns.isdigit() and 0 < int(rows) <= _ROWS):
        raise ValueError(f"{text!r:.40} holds no logits")
    try:
        data = base64.b64decode(values, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{text!r:.40} holds no logits") from error
    return np.frombuffer(data, dtype="<f4").reshape(int(rows), int(columns))


def agree(one: str, other: str) -> bool:
    """Whether two texts by `kept` are from one network, as far as they show.

    Rows that only one of them has are not compared: a batch may have fewer rows than are stored.
    """
    a, b = read(one).astype(np.float64), read(other).astype(np.float64)
    rows = min(len(a), len(b))
    a, b = a[:rows], b[:rows]
    if a.shape != b.shape:
        return False
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return False
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    scale = np.abs(a[finite]).max(initial=1e-30)
    return bool((np.abs(a[finite] - b[finite]) <= _TOLERANCE * scale).all())
