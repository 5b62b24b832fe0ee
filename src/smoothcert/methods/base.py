"""The base class of methods: settings, the draws they need, and from votes to certificates.

A method is a frozen dataclass in its own file, registered in `methods`. Every function from votes
to a certificate is pure, so anyone who has the votes can recompute it: `recheck`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Certificate, Outcome, Record, Settings, Votes
from smoothcert.data.inputs import Item
from smoothcert.errors import Mismatch
from smoothcert.sampling.sampler import Sampler
from smoothcert.tries import Try

NOT_OF_THE_BASE = "the class and the cached counts are not those of the base run"
"""A fault of a record; its draws cannot be judged then."""


class Bound(StrEnum):
    """What the draws of one input go into; a value of `Certificate.method`."""

    NOTHING = "nothing"
    JOINT = "joint"
    STRATIFIED = "stratified"
    FRESH = "fresh"
    EXACT = "exact"
    EXACT_FRESH = "exact-fresh"
    SCRATCH = "rs"


@dataclass(frozen=True)
class Allocation:
    """The draws of one input, by a plan.

    Attributes:
        bound: the bound that uses them.
        winners: size of a sample of the cached draws that the original gave the class.
        losers: size of a sample of those that it did not.
        fresh: draws of the fresh stream.
        near_winners: winners by smallest margin, replayed whole.
        near_losers: losers by smallest distance to the class, replayed whole.
        seen_winners: the last winners, which a pilot has seen; replayed whole.
        seen_losers: the last losers, likewise.
        others: for each other class, draws that the original did not give it (`exact`).
        estimation: draws of the estimation stream, from scratch.
        steps: what `exact` would have given the input at other numbers of cached votes, as
            `exact.Steps.flat`.
    """

    bound: Bound
    winners: int = 0
    losers: int = 0
    fresh: int = 0
    near_winners: int = 0
    near_losers: int = 0
    seen_winners: int = 0
    seen_losers: int = 0
    others: int = 0
    estimation: int = 0
    steps: tuple[int, ...] = ()

    @property
    def evaluations(self) -> int:
        """Forward passes of the new classifier; of `exact` with `others`, about as many."""
        near, seen = self.near_winners + self.near_losers, self.seen_winners + self.seen_losers
        drawn = self.losers + self.fresh + self.estimation
        return max(self.winners, self.others) + drawn + near + seen


@dataclass(frozen=True)
class Case:
    """One input, and what the original and the plan know about it.

    Attributes:
        item: the input.
        cached: the original's record, for a method that needs a base.
        allocation: the plan's, for a planned method.
        selection: labels of the selection draws, if the plan was made from them.
    """

    item: Item
    cached: Record | None = None
    allocation: Allocation | None = None
    selection: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Cached:
    """What the original's certification stored for one input: its class and votes."""

    index: int
    content: str
    candidate: int
    k: int
    n: int

    @staticmethod
    def of(item: Item, record: Record) -> "Cached":
        """The cached counts of a record, after checking that it belongs to this item.

        Raises:
            Mismatch: the record is of another input or content.
        """
        old = record.certificate
        if (item.index, item.content) != (old.index, old.content):
            raise Mismatch(
                f"Input {item.index} has content {item.content}, but the original was certified "
                f"on input {old.index} with content {old.content}. Recertify on the same data, "
                "in the same order."
            )
        return Cached.counted(old)

    @staticmethod
    def counted(old: Certificate) -> "Cached":
        """The counts of the original's own certificate."""
        return Cached(old.index, old.content, old.candidate, old.k, old.n)

    @staticmethod
    def stated(new: Certificate) -> "Cached":
        """The cached counts that a recertified certificate records."""
        return Cached(new.index, new.content, new.candidate, new.cached_k, new.cached_n)

    def certificate(
        self, labels: NDArray[np.int32], radius: float, otherwise: Outcome, **limits: Any
    ) -> Certificate:
        """The new certificate of the input.

        Args:
            labels: of the draws that were evaluated.
            radius: what is proven.
            otherwise: the outcome if that is 0.
            limits: the other fields of `Certificate`.
        """
        return Certificate(
            index=self.index,
            content=self.content,
            candidate=self.candidate,
            outcome=Outcome.CERTIFIED if radius > 0 else otherwise,
            radius=radius,
            k=int((labels == self.candidate).sum()),
            n=len(labels),
            cached_k=self.k,
            cached_n=self.n,
            evaluations=len(labels),
            **limits,
        )


@dataclass(frozen=True)
class Stored:
    """A record to be checked, with all that its method's rule may depend on.

    Attributes:
        record: the classifier's record.
        settings: of the certification from scratch.
        shape: shape of the input.
        num_classes: number of the classifier's classes.
        base: the original's record of the same input, if available.
        allocation: the plan's allocation for the input, if available.
    """

    record: Record
    settings: Settings
    shape: tuple[int, ...]
    num_classes: int
    base: Record | None = None
    allocation: Allocation | None = None

    @property
    def cached(self) -> Cached:
        """The counts of the original that the record states."""
        return Cached.stated(self.record.certificate)


@dataclass(frozen=True)
class RecertifyOptions:
    """What `recertify` is asked for.

    Attributes:
        method: the name, one of `vocabulary.METHODS`.
        policy: how much to spend where, see `planning.Policy`.
        per_input: the policy's evaluations per input, if it is `uniform`.
        alpha: total error probability per input.
        gamma, variant: see `Irs`.
        form: how the other classes are bounded, see `Exact`.
        stages: see `Exact`; by default 2 where the policy has a radius to reach.
    """

    method: str
    policy: str
    per_input: int | None
    alpha: float
    gamma: float
    variant: str
    form: str = "binary"
    stages: int | None = None


@dataclass(frozen=True)
class Method(ABC):
    """Settings of a method, and the rules that follow from them; subclasses are frozen dataclasses.

    Attributes:
        kind: the method's name in run.json; empty where its settings are null.
        verb: what it does, for `Try.kind`.
        results: the values of `Certificate.method` that it can give.
        vote_kinds: the parts of `Votes` that its records may have.
        needs_base: whether it reuses the votes of an original.
        reusable: whether its votes can be reused by a recertification.
        names: what `recertify` calls it; see `vocabulary.METHODS`.
        plan_columns: the fields of `Allocation` that its plans have, in plan.parquet.
        added: settings that older runs lack, with the value that theirs had; run.json leaves them
            out at that value.
        continues: whether it goes on with the draws of its base, which must be of the same model.
    """

    kind: ClassVar[str]
    verb: ClassVar[str]
    results: ClassVar[tuple[str, ...]]
    vote_kinds: ClassVar[tuple[str, ...]]
    needs_base: ClassVar[bool] = False
    reusable: ClassVar[bool] = False
    names: ClassVar[tuple[str, ...]] = ()
    plan_columns: ClassVar[tuple[str, ...]] = ()
    added: ClassVar[Mapping[str, object]] = {}
    continues: ClassVar[bool] = False

    @classmethod
    def of(cls, options: RecertifyOptions) -> Self:
        """The method as `recertify` is asked for it, where it has a name there."""
        raise NotImplementedError

    @abstractmethod
    def describe(self, settings: Settings) -> str:
        """The settings in a few words."""

    @abstractmethod
    def made(self, settings: Settings) -> str:
        """How certificates were made, for reports."""

    @abstractmethod
    def draws(self, settings: Settings) -> int:
        """About how many evaluations each input takes."""

    def policy_of(self, settings: Settings) -> str:
        """What it spends where, as a `planning.Policy`."""
        return f"uniform:{self.draws(settings)}"

    @abstractmethod
    def records(self, sampler: Sampler, cases: Iterable[Case]) -> Iterator[Record]:
        """Certify the inputs, all their draws in common batches.

        Yields:
            A record for each case, in order.
        """

    @abstractmethod
    def recheck(self, stored: Stored) -> Certificate:
        """The certificate that the votes of a record prove, with the cached counts it states."""

    @abstractmethod
    def wrongly_counted(self, stored: Stored) -> Iterator[str]:
        """What is wrong with the draws that a record counts, by the method's own rule.

        Which draws count is a rule, not a choice: whoever replays everything and then keeps the
        prefix, the sample or the length that looks best has true labels and a false certificate.
        So everything that the rule decides is recomputed and must match the record.
        """

    @property
    def reuse_share(self) -> float:
        """The part of alpha that is left for what reuses its votes."""
        return 1.0

    def reusing(self, base: "Method") -> Self:
        """The method with what follows from its base."""
        return self

    def of_base(self, settings: Settings) -> Settings:
        """The settings of the base of a run with these settings."""
        return settings

    def check(self, settings: Settings, shape: tuple[int, ...]) -> None:
        """Refuse, before any evaluation, settings that cannot prove anything on such inputs.

        Raises:
            InvalidInput: see the method.
        """
        return

    def proven_alpha(self, settings: Settings) -> float:
        """The proven upper bound on the probability that a certificate is wrong.

        Source: docs/theory.md: section 2 from scratch, 3 IRS, 7, 8 and 13 beyond it, 9 a decision.
        """
        return settings.alpha

    def question(self, model: str, settings: Settings) -> Try:
        """What certifying the model with this fingerprint asks of the draws of its seed."""
        asked = self if self.needs_base else (settings, self if self.kind else None)
        what = self.describe(settings)
        return Try.of(self.verb, model, what, self.seed(settings), asked)

    def seed(self, settings: Settings) -> int:
        """The noise seed of all counted draws of the classifier."""
        return settings.seed

    def form_of(self, settings: Settings) -> str:
        """How it bounds the other classes, as `Settings.form`."""
        return "binary"

    @property
    def has_plan(self) -> bool:
        """Whether it follows a plan, which a run keeps with the pilot that it was made from."""
        return bool(self.plan_columns)

    @property
    def is_fresh(self) -> bool:
        """Whether it counts draws of a seed of its own, and no cached ones."""
        return False

    @property
    def prefix(self) -> int:
        """How many of the first cached draws it counts in any case; 0 if it picks others."""
        return 0

    def replayed(self, votes: Votes) -> int:
        """How many of the original's labels in a record belong to replayed draws."""
        return int(np.count_nonzero(votes.roles)) if len(votes.roles) else len(votes.original)

    def restated(self, certificate: Certificate) -> Certificate:
        """A stored certificate with the proven budget, where an earlier version was wrong."""
        return certificate


class PlannedMethod(Method):
    """A method that follows a plan made from a pilot.

    Attributes:
        policy: how much to spend where, see `planning.Policy`.
        alpha: total error probability per input.
        pilot: the most inputs on which the pilot is run.
    """

    policy: str
    alpha: float
    pilot: int

    def proven_alpha(self, settings: Settings) -> float:
        """See `Method`."""
        return self.alpha

    def draws(self, settings: Settings) -> int:
        """See `Method`."""
        return settings.n // 10 + 1

    def policy_of(self, settings: Settings) -> str:
        """See `Method`."""
        return self.policy


def blank(size: int) -> NDArray[np.int32]:
    """Labels whose values do not matter."""
    return np.zeros(size, dtype=np.int32)


def differences(votes: Votes, due: Votes) -> Iterator[str]:
    """Where the stored draws of a record that reuses a cache are not those its rule requires."""
    for name in ("estimation", "fresh"):
        have, want = len(getattr(votes, name)), len(getattr(due, name))
        if have != want:
            stream = "replayed" if name == "estimation" else "fresh"
            yield f"{have} {stream} draws are stored where its rule requires {want}"
    if not np.array_equal(votes.roles, due.roles):
        yield "the cached draws that were replayed are not those that its rule requires"
    if not np.array_equal(votes.original, due.original):
        yield "the original's labels are not those of the base run"
