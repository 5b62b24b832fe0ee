"""Collected votes, and the methods run on them: a label that a method asks for is looked up.

The methods run unchanged, with a sampler that looks up the collected labels of a classifier instead
of evaluating it. So a certificate from here is the one `recertify` gives
(tests/experiments/test_collected_votes.py), and costs no evaluation.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from smoothcert import Certification, Run, Votes
from smoothcert.api import pilot, planned
from smoothcert.certificate import Record
from smoothcert.methods import Case, scratch
from smoothcert.methods.irs import Irs
from smoothcert.methods.replay import Reuse
from smoothcert.noise.law import Stream
from smoothcert.planning import candidate_splits
from smoothcert.sampling.answers import NO_CLASS
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler

_Asked = TypeVar("_Asked", bound=Request)

@dataclass(frozen=True, eq=False)
class Labels:
    """What a network answered to every draw of the collected images.

    Attributes:
        rows: shape (images, n0 + n + fresh): selection, estimation, then fresh draws.
        indices, classes: of the images, and their true classes.
        n0, n: selection and estimation draws.
        speed: evaluations per second while they were collected, noise included.
        device: on which.
    """

    rows: NDArray[np.int32]
    indices: NDArray[np.int64]
    classes: NDArray[np.int64]
    n0: int
    n: int
    speed: float
    device: str

    @staticmethod
    def read(file: Path, original: Path | None) -> "Labels":
        """Add what was stored as a difference from the original's."""
        with np.load(file) as stored:
            facts = {key: stored[key].item() for key in ("n0", "n", "speed", "device")}
            rows = stored["rows"].astype(np.int32)
            arrays = {key: stored[key] for key in ("indices", "classes")}
        if original is not None:
            rows = rows + Labels.read(original, None).rows
        return Labels(rows, **arrays, **facts)

    def write(self, file: Path, original: Path | None) -> None:
        """Store them, all or nothing; as a difference, which is mostly zero, if that helps."""
        rows = self.rows if original is None else self.rows - Labels.read(original, None).rows
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(".new.npz")
        facts = {"n0": self.n0, "n": self.n, "speed": self.speed, "device": self.device}
        arrays = {"rows": rows.astype(np.int16), "indices": self.indices, "classes": self.classes}
        np.savez_compressed(aside, **arrays, **facts)  # type: ignore[arg-type]
        aside.replace(file)


Fresh = dict[int, NDArray[np.int32]]
"""Labels of the first draws of the fresh stream, by index of the image."""


@dataclass(frozen=True)
class Named:
    """What a method needs of an input besides its noise: everything but the pixels."""

    index: int
    content: str
    pixels: NDArray[np.int32]


@dataclass(frozen=True)
class Shown:
    """The collected images, in the place of `Inputs`."""

    items: tuple[Named, ...]

    @staticmethod
    def of(base: Certification) -> "Shown":
        """Those that were certified."""
        blank = np.broadcast_to(np.int32(0), base.shape)
        return Shown(tuple(Named(c.index, c.content, blank) for c in base.certificates))

    def __len__(self) -> int:
        """Count the images."""
        return len(self.items)

    def __iter__(self) -> Iterator[Named]:
        """In order."""
        return iter(self.items)

    def item(self, position: int) -> Named:
        """As of `Inputs`."""
        return self.items[position]


@dataclass(frozen=True, eq=False)
class LookUp:
    """What a classifier answered, in the place of itself.

    Attributes:
        votes: what the classifier answered, by index of the image.
        fresh: its labels of fresh draws.
        asked: fresh draws that were asked for and are not there, by index; they count as votes
            for no class. None: asking for such is an error.
    """

    votes: dict[int, Votes]
    fresh: Fresh
    asked: dict[int, int] | None = None

    def labels(self, request: Request) -> NDArray[np.int32]:
        """What the classifier said to these draws."""
        index, draws = request.item.index, np.asarray(request.draws, dtype=np.int64)
        if request.stream is Stream.ESTIMATION:
            return self.votes[index].estimation[draws]
        assert request.stream is Stream.FRESH
        known, needed = self.fresh.get(index, np.empty(0, np.int32)), int(draws.max()) + 1
        if len(known) < needed:
            if self.asked is None:
                raise LookupError(
                    f"Image {index} needs {needed} fresh draws: run collect_fresh.py first"
                )
            self.asked[index] = max(needed, self.asked.get(index, 0))
            known = np.append(known, np.full(needed - len(known), NO_CLASS, np.int32))
        return known[draws]


@dataclass(frozen=True, eq=False)
class LookUpSampler(Sampler):
    """A sampler that looks labels up; it has no classifier."""

    lookup: LookUp | None = None

    @staticmethod
    def of(lookup: LookUp, base: Certification) -> "LookUpSampler":
        """For the inputs of a certification."""
        facts = (base.settings, base.num_classes, 0)
        return LookUpSampler(None, *facts, lookup=lookup)  # type: ignore[arg-type]

    def labels(self, requests: Iterable[_Asked], *rest: object) -> Iterator[tuple[_Asked, NDArray]]:
        """Answer the requests in order."""
        assert self.lookup is not None
        return ((request, self.lookup.labels(request)) for request in requests)


def cut(whole: Certification, n: int) -> Certification:
    """What a certification with n estimation draws would have been: the first of them."""
    if n == whole.settings.n:
        return whole
    settings = replace(whole.settings, n=n, keep_margins=False)  # margins rank all the draws
    facts = (settings, whole.shape, whole.num_classes)
    records = []
    for old in whole.records:
        votes = Votes(selection=old.votes.selection, estimation=old.votes.estimation[:n])
        c = old.certificate
        records.append(Record(scratch.certificate(c.index, c.content, votes, *facts), votes))
    return replace(whole, settings=settings, records=tuple(records))


def incremental(base: Certification, lookup: LookUp, irs: Irs) -> tuple[Record, ...]:
    """`recertify` with IRS."""
    sampler = LookUpSampler.of(lookup, base)
    return tuple(irs.records(sampler, map(Case, Shown.of(base), base.records)))


@dataclass(eq=False)
class Planner:
    """`recertify` with policies; a pilot that several policies would run alike is run once."""

    base: Certification
    lookup: LookUp
    alpha: float
    known: dict[tuple[int, str], planned.Planner] = field(default_factory=dict)

    def recertify(self, policy: str, method: str) -> tuple[tuple[Record, ...], int]:
        """Records, and the evaluations of the pilot."""
        base, shown, reuse = self.base, Shown.of(self.base), Reuse(policy, method, self.alpha)
        certificates, settings = base.certificates, base.settings
        pilot_inputs = len(pilot.pilot_positions(certificates, reuse))
        key = pilot_inputs, candidate_splits(reuse, len(shown), settings.n)
        sampler = LookUpSampler.of(self.lookup, base)
        if key not in self.known:
            cache = planned.Cache(certificates, base.records, settings)
            votes = planned.pilot(sampler, shown, cache, reuse)  # type: ignore[arg-type]
            self.known[key] = cache.planner(votes, reuse)
        planner = replace(self.known[key], reuse=reuse)
        cases = map(Case, shown, base.records, planner.plan().allocations)
        return tuple(reuse.records(sampler, cases)), planner.pilot_evaluations


@dataclass(frozen=True, eq=False)
class Recorded:
    """A network's collected votes in memory.

    Attributes:
        certification: from scratch, on all its draws.
        classes: true class of every image.
        fresh: labels of fresh draws, as far as they were collected.
        speed: evaluations per second of the fastest block while it was collected, noise included:
            other work on the machine only ever slows one down.
        identity: hash of what was collected.
    """

    certification: Certification
    classes: NDArray[np.int64]
    fresh: Fresh
    speed: float
    identity: str

    @staticmethod
    def read(folder: Path) -> "Recorded":
        """Read a place's run directory, and its fresh draws if there are any."""
        run = Run.open(folder / "run")
        whole = run.certification()
        whole = replace(whole, records=tuple(whole.records))
        each = run.identity.settings.n0 + run.identity.settings.n
        speeds = (each * len(run.blocks[b]) / max(s, 1e-9) for b, s in run.block_seconds.items())
        speed, fresh = max(speeds), read_fresh(folder)
        drawn = sum(len(labels) for labels in fresh.values())
        identity = f"{run.identity.hash} and {drawn} fresh draws"
        return Recorded(whole, np.array(run.labels), fresh, speed, identity)

    def lookup(self, asked: dict[int, int] | None = None) -> LookUp:
        """What this network answers."""
        votes = {r.certificate.index: r.votes for r in self.certification.records}
        return LookUp(votes, self.fresh, asked)


def read_fresh(folder: Path) -> Fresh:
    """The fresh draws collected in a place's folder."""
    file = folder / "fresh.npz"
    if not file.exists():
        return {}
    with np.load(file) as stored:
        return {int(index): stored[index].astype(np.int32) for index in stored.files}


def write_fresh(folder: Path, fresh: Fresh) -> None:
    """Replace the stored fresh draws, all or nothing."""
    aside = folder / "fresh.new.npz"
    labels = {str(index): some.astype(np.int16) for index, some in fresh.items()}
    np.savez_compressed(aside, **labels)  # type: ignore[arg-type]
    aside.replace(folder / "fresh.npz")


def first_classes(records: Sequence[Record], draws: int) -> NDArray[np.int64]:
    """The class that the first so many selection draws choose, per image."""
    return np.array([scratch.candidate(r.votes.selection[:draws]) for r in records])
