"""Float sums and differences, rounded in a stated direction (docs/theory.md, section 1)."""

import numpy as np


def difference_below(a: float, *amounts: float) -> float:
    """A float not above a minus the amounts, and not below 0."""
    for amount in amounts:
        a = float(np.nextafter(a - amount, -np.inf))
    return max(0.0, a)


def sum_above(a: float, b: float) -> float:
    """A float not below a + b, and not above 1."""
    return min(1.0, float(np.nextafter(a + b, np.inf)))
