"""Randomized smoothing from scratch with a number of estimation draws by input.

The selection draws of all inputs decide the numbers, and estimation draws are independent of them,
so given the numbers the limits are those of `scratch` (docs/theory.md, section 2).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Record, Settings, Votes
from smoothcert.errors import InvalidInput
from smoothcert.methods import scratch
from smoothcert.methods.base import Case, Stored
from smoothcert.noise.law import Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler


@dataclass(frozen=True)
class Sized(scratch.FromScratch):
    """Settings of the method, in addition to `Settings`, whose n no input exceeds.

    Args:
        policy: how many draws to spend where, see `planning.sizes`.
    """

    kind: ClassVar[str] = "sized"
    plan_columns: ClassVar[tuple[str, ...]] = ("estimation",)

    policy: str

    def describe(self, settings: Settings) -> str:
        """See `Method`."""
        return f"{self.policy}, n at most {settings.n}, alpha {settings.alpha:g}"

    def made(self, settings: Settings) -> str:
        """See `Method`."""
        return (
            f"certified from scratch by plan ({self.policy}) with {settings.n0} selection and at "
            f"most {settings.n} estimation draws"
        )

    def check(self, settings: Settings, shape: tuple[int, ...]) -> None:
        """Refuse margins, which rank an input's draws for methods that take n for all."""
        if settings.keep_margins:
            raise InvalidInput(
                "A certification by plan keeps no margins. Leave out the policy or the margins."
            )

    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """See `Method`; the cases have the labels of the selection draws."""
        for asked, estimation in sampler.labels(map(_request, cases)):
            item, votes = asked.item, Votes(selection=asked.selection, estimation=estimation)
            facts = (sampler.settings, item.pixels.shape, sampler.num_classes)
            yield Record(scratch.certificate(item.index, item.content, votes, *facts), votes)

    def wrongly_counted(self, stored: Stored) -> Iterator[str]:
        """See `Method`: numbers of draws."""
        votes, allocation = stored.record.votes, stored.allocation
        yield from scratch.wrong_selection(votes, stored.settings)
        drawn = len(votes.estimation)
        if allocation is not None and drawn != allocation.estimation:
            yield f"{drawn} estimation draws are stored where its plan has {allocation.estimation}"


@dataclass(frozen=True)
class _Request(Request):
    """The estimation draws of one input, with its selection labels."""

    selection: NDArray[np.int32]


def _request(case: Case) -> _Request:
    assert case.selection is not None and case.allocation is not None
    draws = range(case.allocation.estimation)
    return _Request(case.item, Stream.ESTIMATION, draws, case.selection)
