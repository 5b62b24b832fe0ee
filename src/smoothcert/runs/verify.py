"""Check a run: recompute every certificate from its votes, and replay some of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from smoothcert.certificate import Record
from smoothcert.classifiers.protocol import Classifier
from smoothcert.errors import Damaged, InvalidInput, Mismatch, SmoothcertError
from smoothcert.methods import Reuse, recheck, reuse
from smoothcert.runs import ledger, plans
from smoothcert.runs.opening import check_same_inputs
from smoothcert.runs.store import Run
from smoothcert.runs.untrusted import MOST_BYTES, UNREADABLE
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import Progress, sample
from smoothcert.sampling.inputs import Inputs
from smoothcert.sampling.noise import LAW, Stream
from smoothcert.sampling.tuning import in_layout


@dataclass(frozen=True)
class Verification:
    """What was checked, and what was found wrong.

    Attributes:
        certificates: certificates recomputed from their votes.
        replayed: draws evaluated again.
        differing: replayed draws whose label is not the stored one.
        problems: a sentence each; empty means that all is as stored.
    """

    certificates: int
    replayed: int
    differing: int
    problems: tuple[str, ...]


def verify(run: Run, base: Run | None = None) -> Verification:
    """Recompute every certificate of a run from the votes stored beside it.

    Args:
        run: any run; unfinished ones are checked as far as they go, which is a problem named.
        base: the base run of a recertified one, if at hand: cached counts and labels are
            compared with it too.
    """
    run = Run(run.place, run.manifest)  # what was read before may have changed since
    problems = list(_beside_blocks(run))
    contents = _contents(run)
    checked = 0
    if run.identity.noise_law != LAW:
        problems.append(f"its noise law {run.identity.noise_law!r:.60} is not {LAW!r}")
    if run.missing:
        problems.append(f"{len(run.missing)} of {len(run.blocks)} blocks are missing")
    if base is not None and base.identity.hash != run.identity.base:
        problems.append(f"{base.place} is not the run this one was made from")
        base = None
    for block in run.finished:
        try:
            positions = run.blocks[block]
            cached = base.records(positions) if base else repeat(None, len(positions))
            for position, record, old in zip(positions, run.read_block(block), cached, strict=True):
                checked += 1
                problems += _checked(run, record, old)
                if contents and record.certificate.content != contents[position]:
                    index = record.certificate.index
                    problems.append(f"input {index}: inputs.parquet names different content")
        except SmoothcertError as error:
            problems.append(str(error))
    return Verification(checked, 0, 0, tuple(problems))


def _beside_blocks(run: Run) -> Iterator[str]:
    """Problems of the files that are not part of a finished block."""
    planned = isinstance(run.identity.method, Reuse)
    reads: list[Callable[[], object]] = [
        lambda: Run.open(run.place),
        lambda: run.contents,
        lambda: check_attached(run),
        lambda: plans.read_plan(run) if planned else None,
        lambda: run.block_seconds,
        lambda: ledger.entries(run),
    ]
    for read in reads:
        try:
            read()
        except SmoothcertError as error:
            yield str(error)
    names = {"run.json", "inputs.parquet", *run.block_files, *run.attached}
    names |= {plans.NAME} if planned else set()
    for name in run.place.names():
        if name not in names and not ledger.is_entry(name):
            yield f"{run.place.at(name)} is no part of a run; it was renamed or put there"


def check_attached(run: Run) -> None:
    """Raise Damaged unless every file that was kept with the run has its recorded SHA-256."""
    for name, expected in run.attached.items():
        try:
            found = sha256(run.place.read(name, MOST_BYTES)).hexdigest()
        except FileNotFoundError:
            found = ""
        if found != expected:
            where = run.place.at(name)
            raise Damaged(f"{where} is missing or damaged. Restore it from a copy of the run.")


def _contents(run: Run) -> tuple[str, ...]:
    try:
        return run.contents
    except SmoothcertError:
        return ()  # named already


def _checked(run: Run, record: Record, cached: Record | None) -> tuple[str, ...]:
    """Problems of one input; counts that no method can have written are one."""
    try:
        return tuple(_check(run, record, cached))
    except UNREADABLE as error:
        index = record.certificate.index
        return (f"input {index}: no certificate can be computed from its votes: {error}",)


def _check(run: Run, record: Record, cached: Record | None) -> Iterator[str]:
    stored, identity = record.certificate, run.identity
    drawn = (len(record.votes.selection), len(record.votes.estimation))
    if identity.method is None and drawn != (identity.settings.n0, identity.settings.n):
        yield (
            f"input {stored.index}: {drawn[0]} selection and {drawn[1]} estimation draws are "
            f"stored, and not {identity.settings.n0} and {identity.settings.n}"
        )
    again = recheck(
        record, identity.settings, identity.shape, identity.num_classes, identity.method
    )
    if not stored.agrees(again):
        yield (
            f"input {stored.index}: stored radius {stored.radius!r} and outcome "
            f"{stored.outcome.name}, but its votes give {again.radius!r} and {again.outcome.name}"
        )
    if cached is not None:
        old, m = cached.certificate, len(record.votes.original)
        same = np.array_equal(cached.votes.estimation[:m], record.votes.original)
        counts = (stored.candidate, stored.cached_k, stored.cached_n)
        if (old.candidate, old.k, old.n) != counts or not same:
            yield f"input {stored.index}: the cached votes are not those of the base run"


def replay(
    run: Run,
    classifier: Classifier,
    inputs: Inputs,
    fraction: float,
    progress: Progress | None = None,
) -> Verification:
    """Evaluate a random part of a run's draws again and compare the labels.

    Args:
        run: a finished run.
        classifier: the model it was made with; its fingerprint is checked.
        inputs: the data it was made on; its content is checked.
        fraction: of the draws of every input, in (0, 1]; at least one each.
        progress: called with evaluations as they finish.

    Raises:
        Mismatch: another model or other data.
        InvalidInput: fraction out of range.
    """
    if not 0 < fraction <= 1:
        raise InvalidInput(f"The replayed fraction must be in (0, 1]; got {fraction}")
    run.require_complete()
    identity = run.identity
    if classifier.fingerprint != identity.model:
        raise Mismatch(
            f"{run.place} was made with a model of fingerprint {identity.model}; "
            f"{classifier.name} has {classifier.fingerprint}. Replay needs the same model file."
        )
    classifier = in_layout(classifier, identity.layout)
    check_same_inputs(run, inputs)
    rng = np.random.default_rng()  # which part is checked must not be foreseeable
    total = differing = 0
    for positions in run.blocks:
        stored = [
            (position, *evaluated)
            for position, record in zip(positions, run.records(positions), strict=True)
            for evaluated in _evaluated(record)
        ]
        picks = [_pick(rng, len(labels), fraction) for _, _, _, labels in stored]
        requests = (
            Request(inputs.item(position), stream, draws[pick])
            for (position, stream, draws, _), pick in zip(stored, picks, strict=True)
        )
        noise, method = identity.settings.noise, identity.method
        seed = identity.settings.seed
        seed = method.seed(identity.settings) if isinstance(method, Reuse) else seed
        again = sample(classifier, requests, noise, seed, identity.batch_size, progress)
        for (_, _, _, labels), pick, new in zip(stored, picks, again, strict=True):
            total += len(pick)
            differing += int((labels[pick] != new).sum())
    problems = (f"{differing} of {total} replayed draws have another label",) if differing else ()
    return Verification(0, total, differing, problems)


_Evaluated = tuple[Stream, NDArray[np.int64], NDArray[np.int32]]


def _evaluated(record: Record) -> Iterator[_Evaluated]:
    """Streams, draws and labels of a record that its own classifier evaluated."""
    votes = record.votes
    replayed = np.arange(len(votes.estimation))
    if len(votes.roles):
        replayed = reuse.evaluated(votes.roles)
    for stream, draws, labels in (
        (Stream.SELECTION, np.arange(len(votes.selection)), votes.selection),
        (Stream.ESTIMATION, replayed, votes.estimation),
        (Stream.FRESH, np.arange(len(votes.fresh)), votes.fresh),
    ):
        if len(labels):
            yield stream, draws, labels


def _pick(rng: np.random.Generator, count: int, fraction: float) -> NDArray[np.int64]:
    size = max(1, round(fraction * count))
    return np.sort(rng.choice(count, size, replace=False)).astype(np.int64)
