"""Incremental randomized smoothing (Ugare et al., ICLR 2024, arXiv 2305.19521).

Replay the first draws of the original's cache through the new classifier. If the labels differ
with probability at most zeta, the class's probability fell by at most zeta. Where the original is
almost certain, fresh draws of the new classifier prove more. What is proven for the method as a
whole: docs/theory.md, section 3, and `Irs.error`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from smoothcert.bounds import binomial
from smoothcert.bounds.rounding import difference_below, sum_above
from smoothcert.certificate import (
    Certificate,
    Outcome,
    Record,
    Settings,
    Votes,
    check_alpha,
    check_count,
)
from smoothcert.data.inputs import Item
from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.methods.base import (
    NOT_OF_THE_BASE,
    Cached,
    Case,
    Method,
    RecertifyOptions,
    Stored,
    blank,
    differences,
)
from smoothcert.methods.scratch import drawn
from smoothcert.noise.law import Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler
from smoothcert.scalars import settle
from smoothcert.vocabulary import VARIANTS


@dataclass(frozen=True)
class Irs(Method):
    """Settings of the method.

    Args:
        per_input: evaluations of the new classifier per input (the paper's n_p).
        alpha: error probability per input; half is for the cached limit and half for the
            disparity (the paper: 0.001 each).
        gamma: at or above this cached limit, fresh draws are taken instead (the paper: 0.99 on
            CIFAR-10, 0.995 on ImageNet).
        variant: `published` decides between replay and fresh draws on the whole cache and tests
            fresh draws at the whole alpha, so that it is only proven at twice alpha, which must
            be below 1. `budget-exact` decides on the cached draws that are not replayed and tests
            fresh draws at the disparity's share, and is proven at alpha (docs/theory.md,
            section 3). See `error`.
    """

    kind: ClassVar[str] = "irs"
    verb: ClassVar[str] = "recertify"
    results: ClassVar[tuple[str, ...]] = ("irs", "irs-fresh")
    vote_kinds: ClassVar[tuple[str, ...]] = ("estimation", "original", "fresh", "roles")
    needs_base: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ("irs",)

    per_input: int
    alpha: float = 0.002
    gamma: float = 0.99
    variant: str = "budget-exact"

    @classmethod
    def of(cls, options: RecertifyOptions) -> Self:
        """See `Method`: every input gets the same number of evaluations."""
        if options.per_input is None:
            raise InvalidInput(f"irs takes only the policy uniform:M; got {options.policy!r}")
        return cls(options.per_input, options.alpha, options.gamma, options.variant)

    def __post_init__(self) -> None:
        """Check every field."""
        settle(self, ("per_input",), ("alpha", "gamma"))
        check_count(self.per_input, "per_input")
        check_alpha(self.alpha)
        if not 0.5 < self.gamma <= 1:
            raise InvalidInput(f"gamma must be a probability in (0.5, 1]; got {self.gamma}")
        require_one_of("variant", self.variant, VARIANTS)
        if self.variant == "published" and self.alpha >= 0.5:
            raise InvalidInput(
                "IRS as published is proven at up to twice alpha, so alpha must be "
                f"below 0.5; got {self.alpha}. Give a smaller alpha, or leave the variant out."
            )

    @property
    def alpha_cache(self) -> float:
        """The cached limit's share of alpha."""
        return self.alpha / 2

    @property
    def alpha_flips(self) -> float:
        """The disparity's share of alpha."""
        return self.alpha - self.alpha_cache

    @property
    def alpha_fresh(self) -> float:
        """The level at which fresh draws are tested."""
        return self.alpha if self.variant == "published" else self.alpha_flips

    def budget(self, cached: int, fresh: bool) -> tuple[tuple[str, float], ...]:
        """Each event that could make a certificate wrong, with its probability.

        As published, a cache decides between replay and fresh draws by its own votes, so the errors
        of both branches add up wherever a unanimous cache would take fresh draws.

        Args:
            cached: number of the original's draws.
            fresh: whether fresh draws were taken.
        """
        cache, flips = ("cache", self.alpha_cache), ("disparity", self.alpha_flips)
        if self.variant == "budget-exact":
            return (cache, ("fresh", self.alpha_fresh) if fresh else flips)
        possible = float(binomial.lower(cached, cached, self.alpha_cache)) >= self.gamma
        return (cache, flips, ("fresh", self.alpha_fresh)) if possible else (cache, flips)

    def error(self, cached: int) -> float:
        """The proven upper bound on a certificate's error, from this number of cached draws.

        It is alpha, or twice that where a certificate as published could have taken fresh draws.

        Source: docs/theory.md, section 3.
        """
        return sum(share for _, share in self.budget(cached, fresh=False))

    def proven_alpha(self, settings: Settings) -> float:
        """See `error`."""
        return self.error(settings.n)

    @property
    def policy(self) -> str:
        """The evaluations it spends, as a `planning.Policy`."""
        return f"uniform:{self.per_input}"

    def describe(self, settings: Settings) -> str:
        """See `Method`."""
        return f"irs {self.variant}, {self.policy}, alpha {self.alpha:g}"

    def made(self, settings: Settings) -> str:
        """See `Method`."""
        how = f"IRS, {self.variant}, {self.per_input} evaluations per input"
        return f"recertified ({how}) from an original with {drawn(settings)}"

    def draws(self, settings: Settings) -> int:
        """See `Method`."""
        return self.per_input

    @property
    def prefix(self) -> int:
        """See `Method`."""
        return self.per_input

    def replayed(self, votes: Votes) -> int:
        """See `Method`: with fresh draws it also keeps the labels that it would have replayed."""
        return super().replayed(votes) - len(votes.fresh)

    def restated(self, certificate: Certificate) -> Certificate:
        """See `Method`: as published it was once stored at alpha alone."""
        cached, fresh = certificate.cached_n, certificate.method == "irs-fresh"
        if not certificate.alpha == self.alpha < self.error(cached):
            return certificate
        return replace(certificate, budget=self.budget(cached, fresh))

    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """See `Method`."""
        for asked, labels in sampler.labels(self._requests(cases)):
            found = _votes(asked.stream, asked.original[: len(labels)], labels)
            facts = (self, sampler.settings, asked.item.pixels.shape)
            yield Record(certificate(asked.cached, found, *facts), found)

    def _requests(self, cases: Iterable[Case]) -> "Iterator[_Replay]":
        for case in cases:
            assert case.cached is not None
            cached = Cached.of(case.item, case.cached)
            yield request(case.item, cached, case.cached.votes.estimation, self)

    def recheck(self, stored: Stored) -> Certificate:
        """See `Method`."""
        facts = (self, stored.settings, stored.shape)
        return certificate(stored.cached, stored.record.votes, *facts)

    def wrongly_counted(self, stored: Stored) -> Iterator[str]:
        """See `Method`: the choice between replay and fresh draws, and the prefix."""
        if stored.base is None:
            return
        known, original = Cached.counted(stored.base.certificate), stored.base.votes.estimation
        if stored.cached != known:
            yield NOT_OF_THE_BASE
            return
        try:
            stream, wanted = draws(known, original, self)
        except InvalidInput as error:
            yield f"its draws cannot be those of its rule: {error}"
            return
        due = _votes(stream, original[: len(wanted)], blank(len(wanted)))
        yield from differences(stored.record.votes, due)


def _votes(stream: Stream, original: NDArray[np.int32], labels: NDArray[np.int32]) -> Votes:
    """The record of draws of a stream; `original` has the labels of as many cached draws."""
    if stream is Stream.FRESH:
        return Votes(original=original, fresh=labels)
    return Votes(original=original, estimation=labels)


@dataclass(frozen=True)
class _Replay(Request):
    """The draws of one input, with what its certificate needs from the cache."""

    cached: Cached
    original: NDArray[np.int32]


def request(item: Item, cached: Cached, original: NDArray[np.int32], irs: Irs) -> _Replay:
    """The request for `draws` of an item."""
    stream, wanted = draws(cached, original, irs)
    return _Replay(item, stream, wanted, cached, original)


def draws(cached: Cached, original: NDArray[np.int32], irs: Irs) -> tuple[Stream, range]:
    """The draws to evaluate: none, the first cached ones, or fresh ones.

    Args:
        cached: the original's counts.
        original: the original's labels of the first `per_input` estimation draws.
        irs: the method's settings.

    Raises:
        InvalidInput: the cache has fewer than `per_input` draws.
    """
    if irs.per_input > cached.n:
        raise InvalidInput(
            f"The original was certified with n = {cached.n} draws, of which {irs.per_input} "
            "cannot be replayed. Ask for at most the original's n per input, or certify the "
            "original with a larger n."
        )
    if _original_abstains(cached, irs):
        return Stream.ESTIMATION, range(0)
    stream = Stream.FRESH if _takes_fresh(cached, original, irs) else Stream.ESTIMATION
    return stream, range(irs.per_input)


def certificate(
    cached: Cached, votes: Votes, irs: Irs, settings: Settings, shape: tuple[int, ...]
) -> Certificate:
    """The certificate that cache and votes prove (docs/theory.md, section 3)."""
    slack = settings.noise.slack(shape)
    fresh, labels, flips, zeta = len(votes.fresh) > 0, votes.estimation, 0, 0.0
    limit = float(binomial.lower(cached.k, cached.n, irs.alpha_cache))
    if fresh:
        labels = votes.fresh
        k = int((labels == cached.candidate).sum())
        limit = float(binomial.lower(k, len(labels), irs.alpha_fresh))
    elif len(labels):
        flips = int((labels != votes.original).sum())
        zeta = float(binomial.upper(flips, len(labels), irs.alpha_flips))
    q = difference_below(limit, zeta, slack)
    abstained = _original_abstains(cached, irs)
    radius = 0.0 if abstained else float(settings.radius(q))
    return cached.certificate(
        *(labels, radius, Outcome.ORIGINAL_ABSTAINED if abstained else Outcome.UNDECIDED),
        method="irs-fresh" if fresh else "irs",
        q=q,
        runner_up=sum_above(1.0, -q),
        flips=flips,
        zeta=zeta,
        budget=irs.budget(cached.n, fresh),
    )


def _original_abstains(cached: Cached, irs: Irs) -> bool:
    """Nothing can be carried over: even without any flip the limit is at most 1/2."""
    return float(binomial.lower(cached.k, cached.n, irs.alpha_cache)) <= 0.5


def _takes_fresh(cached: Cached, original: NDArray[np.int32], irs: Irs) -> bool:
    k, n = cached.k, cached.n
    if irs.variant == "budget-exact":
        # The choice must not look at the draws whose flips will be counted.
        replayed = original[: irs.per_input]
        k, n = k - int((replayed == cached.candidate).sum()), n - len(replayed)
    return float(binomial.lower(k, n, irs.alpha_cache)) >= irs.gamma
