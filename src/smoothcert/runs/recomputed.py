"""What a recertified run must have inherited from its base run, computed again."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.inputs import Inputs
from smoothcert.errors import SmoothcertError
from smoothcert.methods import Allocation, Planned, Sized, planned
from smoothcert.planning import sized
from smoothcert.planning.planned import Cache
from smoothcert.planning.timed import counted
from smoothcert.planning.wanted import check_base
from smoothcert.runs import pilots, plan_file
from smoothcert.runs.bases import cache_of, planner, run_pilot
from smoothcert.runs.manifest import json_form
from smoothcert.runs.pilots import StoredPilot
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared

_INHERITED = ("settings", "data", "indices", "shape", "num_classes", "noise_law")


def base_mismatches(run: Run, base: Run) -> Iterator[str]:
    """Where settings, data or true classes of a run differ from its base's."""
    due = run.identity.method.of_base(run.identity.settings)
    pairs = ((run.identity, due), (base.identity, base.identity.settings))
    # Without the inputs' distance to the grid, which each run takes from its own data.
    mine, theirs = (
        json_form(replace(one, settings=replace(settings, off_grid=0.0))) for one, settings in pairs
    )
    for name in _INHERITED:
        if mine[name] != theirs[name]:
            yield f"its {name.replace('_', ' ')} are not those of the base run"
    try:
        check_base(base.identity.method, run.identity.method)
    except SmoothcertError as error:
        yield f"it cannot be made from the base run: {error}"
    try:
        pairs = zip(run.labels, base.labels, strict=False)
        wrong = sum(a != b for a, b in pairs if None not in (a, b))
    except SmoothcertError:
        return  # named where the files are read
    if wrong:
        yield f"{wrong} true classes in inputs.parquet are not those of the base run"


def plan_mismatches(run: Run, base: Run) -> Iterator[str]:
    """Where the pilot's inputs or the plan of a run do not follow from its base and settings."""
    reuse = planned(run.identity.method)
    if reuse is None or not pilots.keeps_pilot(run):
        return
    try:
        pilot = pilots.read_pilot(run)
    except SmoothcertError:
        return  # named where the files are read
    if pilot.votes.evaluations != run.pilot_evaluations:
        yield (
            f"its pilot has {pilot.votes.evaluations} labels, but run.json says "
            f"{run.pilot_evaluations} evaluations"
        )
    cache = cache_of(base, run.identity.settings)
    try:
        due = cache.pilot_positions(counted(reuse, pilot.votes.budget))
    except ValueError as error:
        yield f"its plan cannot be recomputed: {error}"
        return
    if not np.array_equal(pilot.votes.positions, due):
        yield "its pilot's inputs are not those that follow from base run and settings"
    yield from _plan_of(run, base, cache, pilot, reuse)


def _plan_of(
    run: Run, base: Run, cache: Cache, pilot: StoredPilot, reuse: Planned
) -> Iterator[str]:
    """Compare the plan with the one that follows from a pilot."""
    try:
        due = planner(cache, base, pilot, reuse).plan().allocations
        have = plan_file.read_plan(run)
    except (SmoothcertError, *UNREADABLE) as error:
        yield f"its plan cannot be recomputed: {error}"
        return
    yield from _differing(run, have, due, "base run, settings and pilot")


def size_mismatches(run: Run) -> Iterator[str]:
    """Where the numbers of draws of a run by plan do not follow from its selection draws."""
    identity = run.identity
    if not isinstance(identity.method, Sized):
        return
    try:
        votes, have = pilots.read_pilot(run).votes, plan_file.read_plan(run)
        if len(votes.labels) != len(identity.indices):
            raise ValueError("pilot.parquet does not have the selection draws of all inputs")
        facts = (identity.settings, identity.method, identity.num_classes)
        due = sized.allocations(votes, *facts)
    except (SmoothcertError, *UNREADABLE) as error:
        yield f"its plan cannot be recomputed: {error}"
        return
    yield from _differing(run, have, due, "settings and selection votes")


def _differing(
    run: Run, have: Sequence[Allocation], due: Sequence[Allocation], source: str
) -> Iterator[str]:
    """Say how a plan differs from the one that is due."""
    wrong = [i for i, a, b in zip(run.identity.indices, have, due, strict=True) if a != b]
    if wrong:
        made = {n: v for n, v in run.identity.versions.items() if n in ("numpy", "scipy")}
        yield (
            f"its plan gives {len(wrong)} inputs, the first {wrong[0]}, different draws from those "
            f"that follow from {source} (it was made with "
            f"{', '.join(f'{name} {version}' for name, version in made.items())})"
        )


def selections(run: Run) -> Sequence[NDArray[np.int32]]:
    """The selection votes that a run by plan was planned from, by position; else none."""
    if not isinstance(run.identity.method, Sized):
        return ()
    try:
        found = pilots.read_pilot(run).votes.labels
    except SmoothcertError:
        return ()  # named where the files are read
    return found if len(found) == len(run.identity.indices) else ()


def reevaluate_pilot(
    run: Run,
    base: Run,
    ready: Prepared,
    inputs: Inputs,
    reuse: Planned,
    progress: Progress | None = None,
) -> tuple[int, int, tuple[str, ...]]:
    """Evaluate the pilot again: how many draws, how many of them differ, and what is wrong.

    Without a stored pilot (format 3) the plan is computed from this one.
    """
    cache = cache_of(base, run.identity.settings)
    if not pilots.keeps_pilot(run):
        again = run_pilot(cache, ready, inputs, reuse, progress)
        return again.evaluations, 0, tuple(_plan_of(run, base, cache, StoredPilot(again), reuse))
    stored = pilots.read_pilot(run).votes
    again = run_pilot(cache, ready, inputs, counted(reuse, stored.budget), progress)
    pairs = list(zip(stored.labels, again.labels, strict=False))
    differing = sum(int((a != b).sum()) for a, b in pairs if len(a) == len(b))
    return again.evaluations, differing, ()
