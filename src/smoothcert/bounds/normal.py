"""The standard normal quantile, rounded in a stated direction.

SciPy's `ndtri` is good to a few units in the last place; the results here are moved by far
more than that, so the comparison with the exact quantile is a strict one
(docs/theory.md, section 1).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from smoothcert.errors import InvalidInput

# Relative error allowed for ndtri, about a hundred times what is observed against mpmath.
_RELATIVE = 1e-13


def quantile_below(q: ArrayLike) -> NDArray[np.float64]:
    """A float not above the exact quantile of q.

    Args:
        q: probabilities in [0, 1], any shape. 0 gives -inf and 1 gives +inf.

    Returns:
        Array of the same shape.

    Raises:
        InvalidInput: a probability out of range, or NaN.
    """
    return _moved(q, -1)


def quantile_above(q: ArrayLike) -> NDArray[np.float64]:
    """A float not below the exact quantile of q; arguments as for `quantile_below`."""
    return _moved(q, +1)


def _moved(q: ArrayLike, side: int) -> NDArray[np.float64]:
    q = np.asarray(q, float)
    inside = (q >= 0) & (q <= 1)
    if not inside.all():
        raise InvalidInput(f"q must be probabilities in [0, 1]; got {float(q[~inside].flat[0])}")
    z = special.ndtri(q)
    finite = np.where(np.isfinite(z), z, 0.0)
    moved = np.nextafter(finite + side * _RELATIVE * np.abs(finite), side * np.inf)
    return np.where(np.isfinite(z), moved, z)
