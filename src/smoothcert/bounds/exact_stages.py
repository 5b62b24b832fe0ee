"""The exact test in two stages: a first look at the replays, and where it says so a second.

As in `exact`, K of n cached draws are votes for the class, and a plan that was fixed before any
counted draw was looked at replays M1(k) of them, of which X1 are lost. Where X1 is between two
numbers, also fixed beforehand, it replays more, up to M2(k), of which X are lost. The limit is that
of Buehler (1957) over (stage, k, x): docs/theory.md, section 13.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.bounds.buehler import limits
from smoothcert.bounds.counts import rising
from smoothcert.bounds.exact import limit
from smoothcert.bounds.ordering import Looks
from smoothcert.errors import InvalidInput


def looks(
    first: ArrayLike, second: ArrayLike, least: ArrayLike, most: ArrayLike, fresh: ArrayLike = 0
) -> Looks:
    """A plan in two stages, for 0, 1, ..., n cached votes.

    Args:
        first: votes replayed at the first look, shape (n + 1,), at most as many as there are.
        second: votes replayed if one goes on, those of the first look included; the others
            broadcast with `first`.
        least: the fewest lost votes at the first look with which one goes on.
        most: the most; less than `least` where one never goes on.
        fresh: fresh draws, which count only where nothing is replayed.

    Returns:
        The plan.

    Raises:
        InvalidInput: not whole numbers, or not first <= second <= votes.
    """
    votes = np.arange(np.asarray(first).size)
    first, second, _ = rising(first=first, second=second, votes=votes)
    fresh = np.where(first > 0, 0, rising(fresh=fresh)[0])
    least = rising(least=least)[0]
    most = rising(one_more_than_most=np.asarray(most, float) + 1)[0] - 1  # -1 where there is none
    goes = (first > 0) & (second > first) & (least <= np.minimum(most, first))
    more, least = np.where(goes, second - first, 0), np.where(goes, least, 0)
    most = np.where(goes, np.minimum(most, first), -1)
    return Looks(*(part.astype(np.int64) for part in (first, fresh, more, least, most)))


def lower(
    k: ArrayLike, seen: ArrayLike, again: ArrayLike, plan: Looks, alpha: float
) -> NDArray[np.float64]:
    """Lower limits of p' from one look or two.

    Args:
        k: cached votes for the class, any shape.
        seen: votes lost among all that were replayed; where the plan replays none, the votes
            among the fresh draws. Broadcasts with the others.
        again: whether there was a second look.
        plan: what `looks` gave, fixed beforehand.
        alpha: error probability, in (0, 1); less than `buehler.LEAST_ALPHA` gives 0.

    Returns:
        Array of the broadcast shape, with P[limit > p'] <= alpha; rounded down.

    Raises:
        InvalidInput: alpha out of range, counts that are not whole or exceed what they are of, or
            a second look, or none, against the plan.
    """
    k = rising(k=k, n=len(plan.first) - 1)[0].astype(np.int64)
    k, seen, again = np.broadcast_arrays(k, seen, np.asarray(again, bool))
    evaluated = (plan.first + plan.fresh)[k] + np.where(again, plan.more[k], 0)
    seen = rising(seen=seen, evaluated=evaluated)[0].astype(np.int64)
    least, most = plan.least[k], plan.most[k]
    late = (least <= most) & (least <= seen) & (seen <= most + plan.more[k])
    if not np.all(np.where(again, late, (seen < least) | (seen > most))):
        raise InvalidInput("Whether there is a second look must be as the plan says")
    outcome = (k, seen, again.astype(np.int64))
    return limits(lambda one, z: limit(*one[:2], one[2] > 0, plan, alpha, z), outcome, alpha)
