"""What every bound accepts as a count, decided once: a limit of half a vote proves nothing.

The theorems count draws: docs/theory.md, section 1.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.errors import InvalidInput

_MOST = 2**53 - 1  # floats hold every whole number up to here


def rising(**counts: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Counts as floats of one shape, after checking that each is whole and at most the next.

    Args:
        counts: numbers or arrays that broadcast, from the smallest to the largest. Whole floats
            (3.0) are counts, and so are booleans (0 and 1).

    Returns:
        An array of the broadcast shape for each, in order.

    Raises:
        InvalidInput: a count that is not a whole number from 0 to 2^53 - 1, or is out of order.
    """
    given = [np.asarray(count) for count in counts.values()]
    wanted = f"Counts must be whole numbers 0 <= {' <= '.join(counts)} < 2^53"
    for name, count in zip(counts, given, strict=True):
        if count.dtype.kind not in "buif":
            raise InvalidInput(f"{wanted}; got {name} = {str(counts[name])[:60]}")
    found = np.broadcast_arrays(*(count.astype(float) for count in given))
    good = (found[0] >= 0) & (found[-1] <= _MOST)
    for count in found:
        good &= count == np.floor(count)
    for smaller, larger in pairwise(found):
        good &= smaller <= larger
    if not np.all(good):
        at = np.unravel_index(np.argmin(good), good.shape)
        got = ", ".join(f"{n} = {float(c[at])}" for n, c in zip(counts, found, strict=True))
        raise InvalidInput(f"{wanted}; got {got.replace('.0,', ',').removesuffix('.0')}")
    return tuple(found)
