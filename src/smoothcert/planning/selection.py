"""What the selection draws of a base say: the pilot of the exact test, and what it plans from.

Selection draws are counted in no recertification, so a pilot on them may decide everything, and be
shown to anyone (docs/theory.md, section 13).
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.certificate import Record, Settings
from smoothcert.methods.exact import Exact
from smoothcert.planning import FlipRates, Known, Policy, PricedPlanner
from smoothcert.planning.pilot import PilotVotes
from smoothcert.sampling.answers import NO_CLASS

WINNERS, LOSERS = 40, 5
"""Selection draws of each pilot input that are replayed, its first ones. Losers matter little."""

_FEWEST, _SHARE = 2, 40  # inputs, if there are as many; of the evaluations, a fortieth
_SURE = 0.98  # share of the selection votes above which hardly a label changes


def counts_of(records: Iterable[Record]) -> NDArray[np.int64]:
    """Votes for the class and the best other one: selection's, then estimation's; (inputs, 4)."""
    rows = []
    for record in records:
        votes, candidate = record.votes, record.certificate.candidate
        rows.append(votes_for(votes.selection, candidate) + votes_for(votes.estimation, candidate))
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def known(counts: NDArray[np.int64], n: NDArray[np.int64], method: Exact) -> Known:
    """What a certification from scratch says of each input.

    Args:
        counts: see `counts_of`.
        n: its estimation draws, shape (inputs,).
        method: the method's settings.
    """
    k, other = counts[:, 2], counts[:, 3]
    proven = np.zeros(len(k), dtype=bool)
    if method.form != "runner-up":
        proven |= binomial.lower(k, n, method.spent) > 0.5
    if method.form != "binary":
        share = method.spent / 2
        q, most = binomial.lower(k, n, share), binomial.upper(other, n, share)
        proven |= q > most
    return Known(counts[:, :2], k, n, proven)


def votes_for(labels: NDArray[np.int32], candidate: int) -> tuple[int, int]:
    """An input's votes for the class, and for the best other one."""
    counts = np.bincount(labels[labels != NO_CLASS], minlength=candidate + 1)
    votes = int(counts[candidate])
    counts[candidate] = 0
    return votes, int(counts.max())


def positions(
    selected: NDArray[np.int64], n: NDArray[np.int64], settings: Settings, method: Exact
) -> NDArray[np.int64]:
    """Positions of the pilot's inputs, spread evenly over the selection votes of their class.

    As many as the settings say, but the pilot takes at most a fortieth of the evaluations; inputs
    that are almost sure only where there are no others, since they hardly show changes.
    """
    votes = selected[:, 0]
    (likely,) = np.nonzero((2 * votes > settings.n0) & (n > 0))
    total = Policy.parse(method.policy).total(
        len(likely), float(n[likely].mean()) if len(likely) else 0
    )
    likely = unsure if len(unsure := likely[votes[likely] <= _SURE * settings.n0]) else likely
    ordered = likely[np.argsort(votes[likely], kind="stable")]
    affordable = max(_FEWEST, int(total / _SHARE / (WINNERS + LOSERS)))
    count = min(method.pilot, affordable, len(ordered))
    return np.sort(ordered[np.linspace(0, len(ordered) - 1, count).astype(int)])


def draws(record: Record) -> tuple[NDArray[np.int64], int]:
    """The first winners, then the first losers, of the selection draws; and how many winners."""
    side = record.votes.selection == record.certificate.candidate
    winners, losers = np.flatnonzero(side)[:WINNERS], np.flatnonzero(~side)[:LOSERS]
    return np.concatenate([winners, losers]), len(winners)


def planner(
    votes: PilotVotes,
    records: Mapping[int, Record],
    settings: Settings,
    method: Exact,
    facts: Known,
) -> PricedPlanner:
    """What a plan can be made from once a pilot has run.

    Raises:
        ValueError: an input does not have one label for each draw of the pilot.
    """
    counts = []
    for position, label in zip(votes.positions.tolist(), votes.labels, strict=True):
        record = records[position]
        asked, winners = draws(record)
        if len(label) != len(asked):
            raise ValueError(f"the pilot has {len(label)} labels; expected {len(asked)}")
        kept = label == record.certificate.candidate
        lost, won = int((~kept[:winners]).sum()), int(kept[winners:].sum())
        counts.append((winners, lost, len(asked) - winners, won))
    shares = (facts.selected[votes.positions, 0] + 0.5) / (settings.n0 + 1)
    flips = FlipRates.fit(shares, *np.array(counts, dtype=np.int64).reshape(-1, 4).T)
    return PricedPlanner(method, settings, flips, facts, votes.evaluations)
