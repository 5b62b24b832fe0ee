"""Check a run: recompute all that follows from its votes and its base run, and replay draws.

Everything deterministic is recomputed and must be equal: certificates, and which draws were
counted. The rest is listed in `Verification.unchecked`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from itertools import repeat

import numpy as np

from smoothcert.certificate import Record
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs, fingerprint_of
from smoothcert.errors import Damaged, InvalidInput, Mismatch, SmoothcertError
from smoothcert.methods import Allocation, Stored, planned
from smoothcert.runs import ledger, pilots, plan_file, recomputed
from smoothcert.runs.bases import check_same_inputs
from smoothcert.runs.replaying import again, elsewhere, fitting, of_data, of_model
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import prepare
from smoothcert.sampling.tuning import in_layout
from smoothcert.storage.base import MOST_BYTES


@dataclass(frozen=True)
class Verification:
    """What was checked, and what was found wrong.

    Attributes:
        certificates: certificates recomputed from their votes.
        replayed: draws evaluated again.
        differing: replayed draws whose label differs from the stored one.
        problems: one sentence each; empty means that all that was checked matches.
        unchecked: what was not checked.
        share: of a replay: of every input's draws, those that it was to evaluate again.
        inputs: of a replay: how many inputs it came to.
        pilot: of a replay: whether the pilot was among it, if there is one.
        answers: of a replay: those of the problems that are the classifier's answers.
        elsewhere: where there are any: what was not as here when the run was begun.
    """

    certificates: int
    replayed: int
    differing: int
    problems: tuple[str, ...]
    unchecked: tuple["Unchecked", ...] = ()
    share: float = 0.0
    inputs: int = 0
    pilot: bool = True
    answers: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


class Unchecked(Enum):
    """What a verification left out, as a sentence."""

    LABELS = (
        "That the model gives the stored labels on the draws that were not evaluated again: "
        "--replay evaluates part of them."
    )
    PILOT = "That the model gives the labels of the pilot, from which the plan was made: --replay."
    PLAN = (
        "The plan. A run of format 3 does not store the pilot it was made from; --replay evaluates "
        "the pilot again."
    )
    BASE = (
        "Everything from the base run: the cached votes, which of them were replayed, how many of "
        "each kind, and the plan. Somebody who saw the labels first could have chosen them. Give "
        "the base run with --base."
    )
    BASE_VOTES = "The base run's own votes: verify that run too, with --replay."
    MARGINS = "The margins, which only determine what later recertifications replay."
    CHOICE = (
        "That seed, model, method and budget were not chosen for their result on these draws, "
        "which no file can show (docs/theory.md, section 12)."
    )
    TRUE_CLASSES = "The true classes: --replay compares them with the data."
    FLIPS = (
        "Which draws flip: a screening stores counts, not labels. --replay evaluates all draws of "
        "part of the inputs again."
    )
    SCREENED_BASE = (
        "Everything from the base run: the eligible inputs and their cached votes. Give the base "
        "run with --base."
    )
    LANGUAGE = (
        "That the order of the layers in the search's language was fixed before a counted draw "
        "was evaluated."
    )
    SHOWN = (
        "Whether the pilots in the base run whose draws are not set aside here were shown before "
        "this run was planned."
    )


def verify(run: Run, base: Run | None = None) -> Verification:
    """Recompute every certificate of a run from the votes stored with it.

    Args:
        run: any run; an unfinished one is checked as far as it goes, and reported as a problem.
        base: the base run of a recertified run, if available: then the cached votes, which of them
            were counted, and the plan are also recomputed.
    """
    run = Run(run.storage, run.manifest)  # what was read before may have changed since
    problems = list(_beside_blocks(run))
    law = run.identity.settings.noise.name
    if run.identity.noise_law != law:
        problems.append(f"its noise law {run.identity.noise_law!r:.60} is not {law!r}")
    if run.missing:
        problems.append(f"{len(run.missing)} of {len(run.blocks)} blocks are missing")
    if base is not None and base.identity.hash != run.identity.base:
        problems.append(f"{base.storage} is not the run that this one was made from")
        base = None
    if base is not None:
        problems += recomputed.base_mismatches(run, base)
        problems += recomputed.plan_mismatches(run, base)
    problems += recomputed.size_mismatches(run)
    checked, found = _blocks(run, base)
    return Verification(checked, 0, 0, (*problems, *found), tuple(_unchecked(run, base)))


def _unchecked(run: Run, base: Run | None) -> Iterator[Unchecked]:
    """What `verify` leaves out."""
    yield Unchecked.LABELS
    if run.identity.settings.keep_margins and not run.identity.base:
        yield Unchecked.MARGINS
    if any(label is not None for label in _labels(run)):
        yield Unchecked.TRUE_CLASSES
    yield Unchecked.CHOICE
    if not run.identity.base:
        return
    if base is None:
        yield Unchecked.BASE
        return
    yield Unchecked.BASE_VOTES
    apart: set[str] = set()
    if planned(run.identity.method):
        if not pilots.keeps_pilot(run):
            yield Unchecked.PLAN
            return
        yield Unchecked.PILOT
        with suppress(SmoothcertError):  # named already
            apart = set(pilots.read_pilot(run).shown)
    if set(pilots.shown(base)) - apart:
        yield Unchecked.SHOWN


def still_unchecked(
    before: Sequence[Unchecked], fraction: float, pilot: bool = True
) -> tuple[Unchecked, ...]:
    """What remains of `verify`'s list after a replay of this fraction of the draws."""
    covered = {Unchecked.TRUE_CLASSES}
    covered |= {Unchecked.PILOT, Unchecked.PLAN} if pilot else set()
    covered |= {Unchecked.LABELS} if fraction == 1 else set()
    return tuple(left for left in before if left not in covered)


def _labels(run: Run) -> tuple[int | None, ...]:
    try:
        return run.labels
    except SmoothcertError:
        return ()  # named already


def _blocks(run: Run, base: Run | None) -> tuple[int, list[str]]:
    """How many certificates there are, and what is wrong with them."""
    checked, problems, contents = 0, [], _contents(run)
    if (
        contents
        and fingerprint_of(
            run.identity.shape, run.identity.settings.levels, run.identity.indices, contents
        )
        != run.identity.data
    ):
        problems.append("inputs.parquet names different content than run.json")
    allocations, selections = _allocations(run), recomputed.selections(run)
    for block in run.finished:
        try:
            positions = run.blocks[block]
            cached = base.records(positions) if base else repeat(None, len(positions))
            for position, record, old in zip(positions, run.read_block(block), cached, strict=True):
                checked += 1
                allocation = allocations[position] if allocations else None
                problems += _checked(run, record, old, allocation)
                index = record.certificate.index
                if contents and record.certificate.content != contents[position]:
                    problems.append(f"input {index}: inputs.parquet names different content")
                if selections and not np.array_equal(record.votes.selection, selections[position]):
                    problems.append(f"input {index}: the selection votes of its plan are others")
        except SmoothcertError as error:
            problems.append(str(error))
    return checked, problems


def _allocations(run: Run) -> tuple[Allocation, ...]:
    try:
        return plan_file.read_plan(run) if run.identity.method.has_plan else ()
    except SmoothcertError:
        return ()  # named already


def _beside_blocks(run: Run) -> Iterator[str]:
    """Problems of the files that are not part of a finished block."""
    has_plan = run.identity.method.has_plan
    reads: list[Callable[[], object]] = [
        lambda: Run.open(run.storage),
        lambda: run.contents,
        lambda: check_attached(run),
        lambda: plan_file.read_plan(run) if has_plan else None,
        lambda: pilots.read_pilot(run) if pilots.keeps_pilot(run) else None,
        lambda: [pilots.read_pilot(run, name) for name in pilots.shown(run)],
        lambda: run.block_seconds,
        lambda: ledger.entries(run),
    ]
    for read in reads:
        try:
            read()
        except SmoothcertError as error:
            yield str(error)
    names = {"run.json", "inputs.parquet", *run.block_files, *run.attached}
    names |= {plan_file.NAME, pilots.NAME} if has_plan else set()
    for name in run.storage.files():
        if name not in names and not ledger.is_entry(name) and not pilots.is_shown(name):
            yield f"{run.storage.uri_of(name)} is not part of a run; it was renamed or added"


def check_attached(run: Run) -> None:
    """Raise Damaged unless every file stored with the run has its recorded SHA-256."""
    for name, expected in run.attached.items():
        try:
            found = sha256(run.storage.read(name, MOST_BYTES)).hexdigest()
        except FileNotFoundError:
            found = ""
        if found != expected:
            where = run.storage.uri_of(name)
            raise Damaged(f"{where} is missing or damaged. Restore it from a copy of the run.")


def _contents(run: Run) -> tuple[str, ...]:
    try:
        return run.contents
    except SmoothcertError:
        return ()  # named already


def _checked(
    run: Run, record: Record, cached: Record | None, allocation: Allocation | None
) -> tuple[str, ...]:
    """Problems of one input, including counts that no method can have written."""
    index = record.certificate.index
    try:
        return tuple(f"input {index}: {text}" for text in _check(run, record, cached, allocation))
    except UNREADABLE as error:
        return (f"input {index}: its votes do not allow a certificate: {error}",)


def _check(
    run: Run, record: Record, cached: Record | None, allocation: Allocation | None
) -> Iterator[str]:
    old, of = record.certificate, run.identity
    stored = Stored(record, of.settings, of.shape, of.num_classes, cached, allocation)
    new = of.method.recheck(stored)
    if not old.agrees(new):
        yield (
            f"stored radius {old.radius!r} and outcome {old.outcome.name}, but its votes give "
            f"{new.radius!r} and {new.outcome.name}"
        )
    yield from of.method.wrongly_counted(stored)


def evaluate_again(
    run: Run,
    classifier: Classifier,
    inputs: Inputs,
    fraction: float,
    progress: Progress | None = None,
    base: Run | None = None,
    left: Callable[[], float] | None = None,
) -> Verification:
    """Evaluate a random part of a run's draws again and compare the labels.

    With a planned run's base run, its whole pilot is evaluated again too.

    Args:
        run: a finished run.
        classifier: the model it was made with; its fingerprint is checked.
        inputs: the data it was made on; its content is checked.
        fraction: fraction of the draws of every input, in (0, 1]; at least one draw each.
        progress: called with evaluations as they finish.
        base: the base run of a recertified run, if available.
        left: the seconds that are left, if time is limited: then the fraction is at most what fits,
            and the inputs that it does not come to are left out by chance.

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
            f"{run.storage} was made with a model with fingerprint {identity.model}; "
            f"{classifier.name} has {classifier.fingerprint}. Replay needs the same model file."
        )
    check_same_inputs(run, inputs)
    classifier = in_layout(classifier, identity.layout)
    ready = prepare(classifier, inputs.item(0), identity.settings, 0, identity.batch_size)
    problems, answers = list(of_data(run, inputs)), list(of_model(run, ready))
    reuse = planned(identity.method) if base is not None else None
    pilot, more, other = True, 0, 0
    if left is not None:
        fraction, pilot = fitting(run, ready, inputs, fraction, left)
    sampler = ready.sampler(identity.settings, progress)
    if base is not None and reuse is not None and pilot:
        args = (run, base, ready, inputs, reuse, progress)
        more, other, wrong = recomputed.reevaluate_pilot(*args)
        problems += wrong
    total, differing, seen = again(run, sampler, inputs, fraction, left or (lambda: 1.0))
    total, differing = total + more, differing + other
    if differing:
        answers.insert(0, f"{differing} of {total} replayed draws have a different label")
    there = tuple(elsewhere(run, classifier)) if answers else ()
    facts = (fraction, seen, pilot, tuple(answers), there)
    return Verification(0, total, differing, (*answers, *problems), (), *facts)
