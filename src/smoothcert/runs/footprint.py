"""The bytes that a certification from scratch will take on disk, from labels like those seen.

Blocks of such labels are made with the functions that write a run, and measured.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Record, Settings, Votes
from smoothcert.data.inputs import Inputs
from smoothcert.methods import Allocation, Bound, Method, scratch
from smoothcert.planning.pilot import PilotVotes
from smoothcert.runs import pilots, plan_file
from smoothcert.runs.sealed import table_bytes
from smoothcert.runs.tables import certificates_table, inputs_table, votes_table

_RUN_JSON, _EVENT = 1200, 157  # bytes that hardly differ
_INPUTS = 16  # in the blocks that are made, or one block
_LONGEST = 2**18  # labels of an input that are made; more take space in proportion


@dataclass(frozen=True, eq=False)
class Footprint:
    """What labels to expect, and in which blocks.

    Attributes:
        settings: of the certification.
        inputs: of the run.
        votes: selection labels, of all inputs in order.
        shares: a probability of each input's class to make labels with, shape (inputs,).
        classes: number of classes.
        block: inputs per block.
    """

    settings: Settings
    inputs: Inputs
    votes: PilotVotes
    shares: NDArray[np.float64]
    classes: int
    block: int

    def stored(self, method: Method, draws: NDArray[np.int64]) -> int:
        """Bytes of a run, about."""
        total = len(self.inputs)
        block = min(self.block, total)
        count = min(max(1, _INPUTS // block), total // block)
        picks = np.linspace(0, total - 1, count * block).astype(int)
        rng = np.random.default_rng(0)
        made = sum(self._block(method, draws, some, rng) for some in np.split(picks, count)) / len(
            picks
        )
        return round(made * total) + self._head(method, draws)

    def _block(
        self,
        method: Method,
        draws: NDArray[np.int64],
        picks: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> float:
        records = list(self._records(draws, picks, rng))
        votes = len(table_bytes(votes_table(records, method)))
        wanted = draws[picks]
        votes *= max(1, wanted.sum()) / max(1, np.minimum(wanted, _LONGEST).sum())
        seal = {"votes": "0" * 64}
        return votes + len(table_bytes(certificates_table(records), seal)) + _EVENT

    def _records(
        self, draws: NDArray[np.int64], picks: NDArray[np.int64], rng: np.random.Generator
    ) -> Iterator[Record]:
        for pick in picks.tolist():
            count, selection = min(int(draws[pick]), _LONGEST), self.votes.labels[pick]
            chosen = scratch.candidate(selection)
            others = selection[selection != chosen]
            others = others if len(others) else np.array([(chosen + 1) % self.classes])
            kept = rng.random(count) < self.shares[pick]
            labels = np.where(kept, chosen, rng.choice(others, count)).astype(np.int32)
            margins = rng.integers(0, 255, count if self.settings.keep_margins else 0, np.int32)
            votes = Votes(selection, labels, margins=margins)
            facts = (self.settings, self.inputs.shape, self.classes)
            name = f"{rng.integers(2**63):016x}"
            yield Record(scratch.certificate(self.inputs.indices[pick], name, votes, *facts), votes)

    def _head(self, method: Method, draws: NDArray[np.int64]) -> int:
        """What is stored once."""
        indices, rng = self.inputs.indices, np.random.default_rng(0)
        contents = [f"{one:016x}" for one in rng.integers(2**63, size=len(indices)).tolist()]
        files = [table_bytes(inputs_table(indices, contents, self.inputs.labels))]
        if method.has_plan:
            plan = [Allocation(Bound.SCRATCH, estimation=n) for n in draws.tolist()]
            files.append(plan_file.plan_bytes(plan, indices, method.plan_columns))
            files.append(pilots.pilot_bytes(pilots.StoredPilot(self.votes), indices))
        lines = len(json.dumps(indices, indent=1))
        return _RUN_JSON + lines + sum(map(len, files))
