"""More draws for a finished certification from scratch, stated beside what it stated before.

An input's limit after every total that an extension may reach has an error of its own, and these
errors add up to alpha. So whoever looks at certificates and then decides whether and how far to
extend states a limit that is covered (docs/theory.md, section 2, "Extensions").
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from smoothcert.certificate import Certificate, Record, Settings, Votes, check_count
from smoothcert.errors import InvalidInput
from smoothcert.methods import scratch
from smoothcert.methods.base import Case, Method, Stored
from smoothcert.noise.law import Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler

_MOST = 10**9  # draws, see `check_count`


@dataclass(frozen=True)
class Extended(scratch.FromScratch):
    """Settings of the method; n and alpha in `Settings` are the new total and the run's own.

    Args:
        times: how many times the draws of the first run each input has in all.
        before: how many times these it had in the run that is extended, 1 in the first.
    """

    kind: ClassVar[str] = "extended"
    continues: ClassVar[bool] = True

    times: int
    before: int = 1

    def __post_init__(self) -> None:
        """Refuse totals that no error is set aside for."""
        if not 1 <= self.before < self.times or self.times not in steps():
            raise InvalidInput(
                f"An extension has 2, 5, 10, 20, 50, ... times the draws of the first run, and "
                f"more than it had; got {self.times}, with {self.before} before."
            )

    @staticmethod
    def to(n: int, settings: Settings, base: Method) -> "Extended":
        """The extension of a base to n draws (by plan, the most of an input).

        Raises:
            InvalidInput: no error is set aside for this total.
        """
        check_count(n, "n")
        before = base.times if isinstance(base, Extended) else 1
        first = settings.n // before
        larger = [first * step for step in steps() if step > before and first * step <= _MOST]
        if n not in larger:
            near = [*[m for m in larger if m < n][-1:], *[m for m in larger if m > n][:1]]
            raise InvalidInput(
                f"The first run has n = {first:,}, and the error is divided among extensions to 2, "
                f"5, 10, 20, 50, ... times as many; got n = {n:,}. Extend to "
                f"{' or '.join(f'{m:,}' for m in near) or 'no more: it is as large as can be'}."
            )
        return Extended(n // first, before)

    @property
    def share(self) -> float:
        """The part of alpha that this total has: 1/2 for the first step, 1/4 for the next."""
        return 2.0 ** -(steps().index(self.times) + 1)

    @property
    def reuse_share(self) -> float:
        """See `Method`: the same, since the total was chosen as the certificates' was."""
        return self.share

    def of_base(self, settings: Settings) -> Settings:
        """See `Method`."""
        return replace(settings, n=settings.n // self.times * self.before)

    def extended(self, settings: Settings) -> Settings:
        """The settings of the extension of a run with these settings."""
        return replace(settings, n=settings.n // self.before * self.times)

    def describe(self, settings: Settings) -> str:
        """See `Method`."""
        return f"extended to n {settings.n}, alpha {settings.alpha:g} for all extensions"

    def made(self, settings: Settings) -> str:
        """See `Method`."""
        return (
            f"extended from n = {self.of_base(settings).n} to {settings.n} estimation draws, at "
            f"{self.share:g} of alpha, which covers all extensions of the first run"
        )

    def draws(self, settings: Settings) -> int:
        """See `Method`."""
        return settings.n - self.of_base(settings).n

    def check(self, settings: Settings, shape: tuple[int, ...]) -> None:
        """Refuse margins, which rank an input's draws for methods that take n for all."""
        if settings.keep_margins:
            raise InvalidInput(
                "A run that keeps margins cannot be extended. Certify anew with the larger n and "
                "another seed."
            )

    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """See `Method`; the cases have the records of the run that is extended."""
        facts = (sampler.settings, sampler.num_classes)
        for asked, labels in sampler.labels(map(self._request, cases)):
            estimation = np.concatenate([asked.known.estimation, labels])
            votes = Votes(selection=asked.known.selection, estimation=estimation)
            item = asked.item
            found = self._certificate(item.index, item.content, votes, item.pixels.shape, *facts)
            yield Record(found, votes)

    def _request(self, case: Case) -> "_Request":
        assert case.cached is not None
        known = case.cached.votes
        had = len(known.estimation)
        draws = range(had, self.total(had))
        return _Request(case.item, Stream.ESTIMATION, draws, known)

    def total(self, had: int) -> int:
        """The draws of an input that had these before."""
        return had // self.before * self.times

    def _certificate(
        self,
        index: int,
        content: str,
        votes: Votes,
        shape: tuple[int, ...],
        settings: Settings,
        num_classes: int,
    ) -> Certificate:
        """The certificate of all draws, at the share of alpha that this total has."""
        mine = replace(settings, alpha=settings.alpha * self.share)
        found = scratch.certificate(index, content, votes, mine, shape, num_classes)
        rest = ("other extensions", settings.alpha - mine.alpha)
        new = found.n - found.n // self.times * self.before  # without those that it had
        return replace(found, budget=(*found.budget, rest), evaluations=new)

    def recheck(self, stored: Stored) -> Certificate:
        """See `Method`."""
        old, votes = stored.record.certificate, stored.record.votes
        facts = (stored.shape, stored.settings, stored.num_classes)
        return self._certificate(old.index, old.content, votes, *facts)

    def wrongly_counted(self, stored: Stored) -> Iterator[str]:
        """See `Method`: numbers of draws, and those that the run had before."""
        votes, settings = stored.record.votes, stored.settings
        drawn = len(votes.estimation)
        yield from scratch.wrong_selection(votes, settings)
        if drawn % self.times or drawn > settings.n:
            yield f"{drawn} estimation draws are not {self.times} times those of a first run"
        if stored.base is None:
            return
        old = stored.base.votes
        if drawn != self.total(len(old.estimation)):
            yield f"{drawn} estimation draws are stored where {len(old.estimation)} were extended"
        elif not (
            np.array_equal(votes.selection, old.selection)
            and np.array_equal(votes.estimation[: len(old.estimation)], old.estimation)
        ):
            yield "its first draws are not those of the run that it extends"


def steps() -> tuple[int, ...]:
    """How many times the first run's draws an extension may have."""
    return tuple(m * 10**e for e in range(10) for m in (1, 2, 5))[1:]


@dataclass(frozen=True)
class _Request(Request):
    """The new draws of one input, with the votes that it has."""

    known: Votes
