"""Collected votes, and the methods run on them: a label that a method asks for is looked up.

The methods run unchanged, with a sampler that looks up the collected labels of a classifier instead
of evaluating it. So a certificate from here is the one `recertify` gives
(tests/experiments/test_collected_votes.py), and costs no evaluation.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from smoothcert import Certification, Settings, Votes
from smoothcert.certificate import Record
from smoothcert.methods import Case, Exact, Reuse, scratch
from smoothcert.methods.irs import Irs
from smoothcert.noise.law import Stream
from smoothcert.planning import candidate_splits, planned
from smoothcert.sampling.batches import Request
from smoothcert.sampling.sampler import Sampler

_Asked = TypeVar("_Asked", bound=Request)

ORIGINAL = "original"
LEVELS, CLASSES, SHAPE = 255, 10, (3, 32, 32)  # of CIFAR-10
SEED = 0


@dataclass(frozen=True)
class Place:
    """One network of one architecture at one sigma, and where its labels are."""

    architecture: str
    sigma: float
    network: str
    votes: Path

    @staticmethod
    def found(votes: Path) -> "list[Place]":
        """Those whose labels are in a folder."""
        places = []
        for file in sorted(votes.glob("*-*/*.npz")):
            architecture, _, sigma = file.parent.name.rpartition("-")
            places.append(Place(architecture, float(sigma), file.stem, votes))
        return [place for place in places if place.original in places]

    @property
    def original(self) -> "Place":
        """The network that this one was made from."""
        return replace(self, network=ORIGINAL)

    @property
    def folder(self) -> Path:
        """Of all networks on the same images and noise."""
        return self.votes / f"{self.architecture}-{self.sigma:.2f}"

    @property
    def file(self) -> Path:
        """Its labels."""
        return self.folder / f"{self.network}.npz"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.architecture} sigma {self.sigma:g} {self.network}"


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
    def read(place: Place) -> "Labels":
        """Add what was stored as a difference from the original's."""
        with np.load(place.file) as stored:
            facts = {key: stored[key].item() for key in ("n0", "n", "speed", "device")}
            rows = stored["rows"].astype(np.int32)
            arrays = {key: stored[key] for key in ("indices", "classes")}
        if place.network != ORIGINAL:
            rows = rows + Labels.read(place.original).rows
        return Labels(rows, **arrays, **facts)

    def write(self, place: Place) -> None:
        """Store them, all or nothing; a changed network's as a difference, which is mostly zero."""
        rows = self.rows
        if place.network != ORIGINAL:
            rows = rows - Labels.read(place.original).rows
        place.folder.mkdir(parents=True, exist_ok=True)
        aside = place.folder / "new.npz.part"
        facts = {"n0": self.n0, "n": self.n, "speed": self.speed, "device": self.device}
        arrays = {"rows": rows.astype(np.int16), "indices": self.indices, "classes": self.classes}
        with aside.open("wb") as file:
            np.savez_compressed(file, **arrays, **facts)  # type: ignore[arg-type]
        aside.replace(place.file)


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
    """

    votes: dict[int, Votes]
    fresh: Fresh

    def labels(self, request: Request) -> NDArray[np.int32]:
        """What the classifier said to these draws."""
        index, draws = request.item.index, np.asarray(request.draws, dtype=np.int64)
        if request.stream is Stream.ESTIMATION:
            return self.votes[index].estimation[draws]
        if request.stream is Stream.SELECTION:
            return self.votes[index].selection[draws]
        assert request.stream is Stream.FRESH
        known, needed = self.fresh.get(index, ()), int(draws.max()) + 1
        if len(known) < needed:
            raise LookupError(
                f"image {index} needs {needed} fresh draws, and {len(known)} were collected"
            )
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
    form: str = "binary"
    known: dict[tuple[int, str], planned.Planner] = field(default_factory=dict)

    def recertify(
        self, policy: str, name: str, stages: int | None = None
    ) -> tuple[tuple[Record, ...], int]:
        """Records, and the evaluations of the pilot; in so many looks, by default the usual."""
        base, shown, cache = self.base, Shown.of(self.base), self._cache
        looks, splits = stages or Exact.usual_stages(policy), name
        method = Exact(policy, self.alpha, self.form, stages=looks)
        if name != "exact":
            method = Reuse(policy, name, self.alpha)
            splits = candidate_splits(method, len(shown), base.settings.n)
        key = len(cache.pilot_positions(method)), splits
        sampler = LookUpSampler.of(self.lookup, base)
        if key not in self.known:
            votes = planned.pilot(sampler, shown, cache, method)  # type: ignore[arg-type]
            self.known[key] = cache.planner(votes, method)
        planner = replace(self.known[key], method=method)  # type: ignore[type-var]
        cases = map(Case, shown, base.records, planner.plan().allocations)
        return tuple(method.records(sampler, cases)), planner.pilot_evaluations

    @cached_property
    def _cache(self) -> planned.Cache:
        base = self.base
        return planned.Cache(base.certificates, base.records, base.settings)


@dataclass(frozen=True, eq=False)
class Recorded:
    """A network's collected votes in memory.

    Attributes:
        certification: from scratch, on all its draws.
        classes: true class of every image.
        fresh: labels of fresh draws, as far as they were collected.
        identity: hash of the labels.
    """

    certification: Certification
    classes: NDArray[np.int64]
    fresh: Fresh
    identity: str

    @staticmethod
    def read(place: Place) -> "Recorded":
        """Certify from the collected labels."""
        labels = Labels.read(place)
        settings = Settings(place.sigma, LEVELS, labels.n0, labels.n, 0.001, SEED)
        parts = np.split(labels.rows, [labels.n0, labels.n0 + labels.n], axis=1)
        records, fresh = [], {}
        for index, selection, estimation, more in zip(labels.indices.tolist(), *parts, strict=True):
            votes = Votes(selection=selection, estimation=estimation)
            certificate = scratch.certificate(index, "", votes, settings, SHAPE, CLASSES)
            records.append(Record(certificate, votes))
            fresh[index] = more
        name = place.network
        whole = Certification(settings, None, name, name, CLASSES, SHAPE, tuple(records))
        identity = sha256(labels.rows.tobytes()).hexdigest()
        return Recorded(whole, labels.classes, fresh, identity)

    def with_stand_ins(self) -> "Recorded":
        """After its fresh draws, its own estimation draws in their place, the last first.

        A plan may ask for more fresh draws than were collected. These have the same law, and an
        image that gets so many has none of them replayed. But the original's votes on the same
        draws had a part in the plan (docs/results-savings.md says what that changes).
        """
        records = self.certification.records
        stand_ins = {r.certificate.index: r.votes.estimation[::-1] for r in records}
        fresh = {i: np.concatenate([self.fresh[i], more]) for i, more in stand_ins.items()}
        return replace(self, fresh=fresh)

    def lookup(self) -> LookUp:
        """What this network answers."""
        votes = {r.certificate.index: r.votes for r in self.certification.records}
        return LookUp(votes, self.fresh)


def first_classes(records: Sequence[Record], draws: int) -> NDArray[np.int64]:
    """The class that the first so many selection draws choose, per image."""
    return np.array([scratch.candidate(r.votes.selection[:draws]) for r in records])
