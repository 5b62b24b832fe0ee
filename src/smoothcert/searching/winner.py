"""The winner of a search, certified input by input."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import RunOptions, execute
from smoothcert.execution.start import RunRequest
from smoothcert.methods import Exact
from smoothcert.planning.wanted import Wanted, method_settings
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.time_limit import TimeLimit
from smoothcert.searching.found import Found
from smoothcert.searching.page import write_pages
from smoothcert.storage.opening import open_storage

_PER_INPUT = "per-input"


def certify_winner(
    found: Found,
    base: Run,
    inputs: Inputs,
    out: Path,
    policy: str,
    progress: Progress | None = None,
    load: Callable[[str], Classifier] = load_classifier,
    limit: TimeLimit | None = None,
) -> Found:
    """Certify the winner of a search input by input, at the error of its code word.

    A run of this that was stopped is continued.

    Args:
        found: with a winner.
        base, inputs: of the search.
        out: its folder; the run is written to `per-input` in it.
        policy: see `recertify`; chosen before the search.
        progress: called with evaluations.
        load: loads the winner's file.
        limit: when to stop, or None.

    Raises:
        TimeIsUp: the time is over, and inputs are left.

    Source: docs/theory.md, section 14.
    """
    best = found.best
    if best is None:
        raise InvalidInput("Nothing was proven, so there is no winner to certify.")
    settings = base.identity.settings
    exact = winner_method(base, policy, found.screening.alpha)
    exact = replace(exact, share=2.0 ** -len(best.word))
    winner = out / "winner.onnx"
    origin = {"model": str(winner), "base": str(base.storage)}
    origin |= {k: v for k, v in base.manifest.origin.items() if k == "data"}
    resume = (out / _PER_INPUT).is_dir()
    options = RunOptions(progress=progress, origin=origin, limit=limit, resume=resume)
    request = RunRequest(open_storage(out / _PER_INPUT), settings, exact, base, options)
    execute(request, load(str(winner)), inputs)
    kept = replace(found, per_input=_PER_INPUT)
    kept.write(out)
    write_pages(kept, out)
    return kept


def winner_method(base: Run, policy: str, alpha: float) -> Exact:
    """How the winner is certified input by input, but for the share of its word.

    Raises:
        InvalidInput: no such policy, or one that the exact test or this base does not take.
        Mismatch: the base is no run that certificates by input can reuse.
    """
    wanted = Wanted(policy=policy, alpha=alpha, stages=1)
    exact = method_settings(base.identity.settings, base.identity.method, wanted)
    assert isinstance(exact, Exact)
    return exact
