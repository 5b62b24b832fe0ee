"""Where a run's evaluations went and what they found, by vote share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smoothcert.certificate import Certificate, Outcome
from smoothcert.runs.store import Run
from smoothcert.text import many
from smoothcert.vocabulary import RESULTS

_EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True)
class Bin:
    """The inputs in one bin of vote share (the original's votes, where there is an original).

    Attributes:
        low, high: the share is at least `low` and below `high` (or equal to it, if that is 1).
        inputs: how many.
        certified: how many of them have a certificate.
        radius: their mean certified radius; an abstention counts 0.
        evaluations: spent on them.
        replayed: cached draws evaluated again.
        flips: replayed draws on which the class was lost (with IRS: on which labels differ).
        zeta: mean upper limit of the disparity, None where no certificate uses one.
    """

    low: float
    high: float
    inputs: int
    certified: int
    radius: float
    evaluations: int
    replayed: int
    flips: int
    zeta: float | None


def parts(run: Run) -> dict[str, int]:
    """Evaluations by purpose; the values add up to the total."""
    spent = {"selection": 0, "estimation": 0, "replayed": 0, "fresh": 0}
    for c in run.certificates:
        if not RESULTS[c.method].reuses:
            selection = min(run.identity.settings.n0, c.evaluations)
            spent["selection"] += selection
            spent["estimation"] += c.evaluations - selection
        else:
            spent["fresh" if RESULTS[c.method].fresh else "replayed"] += c.evaluations
    spent["pilot"] = run.pilot_evaluations
    return {name: count for name, count in spent.items() if count}


def without_evaluations(certificates: Sequence[Certificate]) -> tuple[int, ...]:
    """Indices of the inputs on which a plan spent nothing."""
    return tuple(c.index for c in certificates if c.outcome is Outcome.UNSPENT)


def nothing_spent(indices: Sequence[int], most: int = 20) -> str:
    """The inputs that got nothing, in a sentence; empty if there are none."""
    if not indices:
        return ""
    shown = ", ".join(map(str, indices[:most]))
    more = f" and {len(indices) - most:,} more" if len(indices) > most else ""
    return (
        f"{many(len(indices), 'input')} got no draws from the plan: {shown}{more}. To ask for more "
        "is a second try, which needs draws of its own: recertify --fresh-seed, or certify --seed."
    )


def by_share(certificates: Sequence[Certificate]) -> tuple[Bin, ...]:
    """The nonempty bins of vote share, ascending."""
    share = [_share(c) for c in certificates]
    numbers = np.searchsorted(_EDGES, share, side="right") - 1
    highs = (*_EDGES[1:], 1.0)
    grouped: dict[int, list[Certificate]] = {}
    for number, certificate in zip(numbers.tolist(), certificates, strict=True):
        grouped.setdefault(number, []).append(certificate)
    return tuple(_bin(_EDGES[i], highs[i], grouped[i]) for i in sorted(grouped))


def _share(c: Certificate) -> float:
    k, n = (c.cached_k, c.cached_n) if c.cached_n else (c.k, c.n)
    return k / n if n else 0.0


def _bin(low: float, high: float, certificates: Sequence[Certificate]) -> Bin:
    replayed = [c for c in certificates if RESULTS[c.method].replays and c.n]
    zetas = [c.zeta for c in replayed if RESULTS[c.method].disparity]
    return Bin(
        low,
        high,
        inputs=len(certificates),
        certified=sum(c.outcome is Outcome.CERTIFIED for c in certificates),
        radius=float(np.mean([c.radius for c in certificates])),
        evaluations=sum(c.evaluations for c in certificates),
        replayed=sum(c.n for c in replayed),
        flips=sum(c.flips for c in replayed),
        zeta=float(np.mean(zetas)) if zetas else None,
    )
