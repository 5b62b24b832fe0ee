"""The whole search, from a run and a model to what was found."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.compress import onnx_graph
from smoothcert.compress.compress import compress
from smoothcert.compress.onnx_layers import layers
from smoothcert.data.given import as_inputs
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.execution.processes import Processes
from smoothcert.execution.scheduler import Executor, run_serially
from smoothcert.execution.screener import Screener, asked
from smoothcert.execution.screening_tasks import make_screener
from smoothcert.files import make_folder
from smoothcert.methods.screening import Screening
from smoothcert.methods.targets import Goal, in_numbers, read
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.searching.explored import Explorer, figure_of
from smoothcert.searching.found import NAME, Found, Row
from smoothcert.searching.journal import Journal
from smoothcert.searching.language import Language
from smoothcert.searching.made import Made, Workshop, neighbours, proposals
from smoothcert.searching.making import Given
from smoothcert.searching.page import write_pages
from smoothcert.searching.search import Purse, Search, Tried, by_sensitivity
from smoothcert.summary import correct_radii
from smoothcert.version import __version__
from smoothcert.vocabulary import OBJECTIVES

_SENSITIVITY, _EXPLORING = 0.15, 0.35  # of the evaluations
_PROOFS = 4  # for how many candidates the rest should do
_FEWEST = 20  # replayed draws per input
_STEPS, _PLAIN = "steps", "original.onnx"


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        objective: what to make small: `size` (bytes as stored), `latency` or `energy-proxy`.
        budget: evaluations of candidates, exploration included.
        alpha: probability that anything that is stated is wrong.
        form: of the bounds, see `Screening`; the original's if None.
        seed: of calibration and training.
        batch_size: rows per forward pass, or None to choose.
        minutes: when to stop, or None; what is found until then is written, but not `finished`.
        resume: go on with the same search in a folder, where it was stopped, to the same end.
        workers: processes that make candidates; more than one only from a script whose own work is
            under `if __name__ == "__main__"`, as always with processes. No byte depends on it.
    """

    objective: str = "size"
    budget: int = 200_000
    alpha: float = 0.002
    form: str | None = None
    seed: int = 0
    batch_size: int | None = None
    minutes: float | None = None
    resume: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if self.minutes is not None:
            TimeLimit(self.minutes)
        require_one_of("objective", self.objective, OBJECTIVES)
        if self.budget < 1:
            raise InvalidInput(f"budget must be at least 1 evaluation; got {self.budget}")
        if self.workers < 1:
            raise InvalidInput(f"--workers must be at least 1; got {self.workers}")


def search(
    base: Run | str | Path,
    model: str | Path,
    inputs: Inputs | str | Path,
    out: str | Path,
    *,
    accept: str | Goal | Sequence[str | Goal],
    calibration: Inputs | str | Path,
    objective: str = "size",
    budget: int = 200_000,
    alpha: float = 0.002,
    form: str | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda text: None,
    load: Callable[[str], Classifier] = load_classifier,
) -> Found:
    """Find the smallest compressed model that is proven to reach its targets on a data set.

    All that is stated of all candidates holds together with probability at least 1 - alpha,
    however the search chose what to try.

    Args:
        base, model: the original's run from scratch, or its folder; and the model's reference.
        inputs: the original's inputs, with labels.
        out: folder to write; it must not exist, or be empty, but to go on.
        accept, calibration: targets as of `screen`; other data, to calibrate and train on.
        objective, budget, alpha, form, seed, batch_size, minutes, resume, workers: see
            `SearchOptions`.
        progress, say, load: called with evaluations, what is being done, and a candidate's file.

    Returns:
        What was found; also written to `out`, with the models that were certified.

    Raises:
        InvalidInput: a setting is out of range, or the budget does not allow any proof.
        Mismatch, ModelError: other inputs than the run's, another search in `out`; no usable model.

    Source: docs/theory.md, sections 10 and 14.

    Examples:
        >>> facts = dict(accept="acr>=0.5*base", calibration="digits")
        >>> found = smoothcert.search("runs/base", "model.onnx", "images/", "found", **facts)
    """
    how = SearchOptions(objective, budget, alpha, form, seed, batch_size, minutes, resume, workers)
    run = base if isinstance(base, Run) else Run.open(base)
    folder, example = Path(out), as_inputs(calibration)
    screener = _screener(run, as_inputs(inputs), accept, how)
    asked_for = _asked_for(run, screener, _known(run, load(str(model)), say), example, how)
    journal = _opened(folder, asked_for, how)
    if (folder / NAME).is_file() and (found := Found.read(folder)).finished:
        return found
    one = _begun(run, screener, str(model), folder, example, how, progress, load, journal)
    found = _searched(run, one, how, example.labels is not None, say)
    _keep(found, folder, journal)
    return found


def _known(run: Run, model: Classifier, say: Callable[[str], None]) -> Classifier:
    """The model, after a word where the run is of another one."""
    twin_of = run.manifest.origin.get("twin_of", {})
    if model.fingerprint not in (run.identity.model, twin_of.get("fingerprint")):
        say(
            f"{model.name} is not the model of {run.storage} ({run.identity.model}): candidates "
            "are made from it, but targets relative to base compare them with that run's "
            "certificates"
        )
    return model


def _opened(folder: Path, asked_for: Mapping[str, Any], options: SearchOptions) -> Journal:
    """The journal in a folder that is empty, or in which a search goes on."""
    limit = None if options.minutes is None else TimeLimit(options.minutes)
    if not (options.resume and (folder / _STEPS).is_dir()):
        _require_empty(folder)
    return Journal.begun(folder / _STEPS, asked_for, limit)


def _asked_for(
    run: Run, screener: Screener, model: Classifier, calibration: Inputs, options: SearchOptions
) -> dict[str, Any]:
    """All that the course of a search depends on."""
    kept = ("objective", "budget", "alpha", "seed", "batch_size")
    return {
        "version of smoothcert": __version__,
        "base run": run.identity.hash,
        "model": model.fingerprint,
        "calibration": calibration.fingerprint,
        "accept": list(map(str, screener.screening.targets)),
        "form": screener.screening.form,
        **{name.replace("_", " "): getattr(options, name) for name in kept},
    }


def _begun(
    run: Run,
    screener: Screener,
    model: str,
    folder: Path,
    calibration: Inputs,
    options: SearchOptions,
    progress: Progress | None,
    load: Callable[[str], Classifier],
    journal: Journal,
) -> Search:
    """A search before anything is known; its language has the layers in the model's order."""
    if journal.limit is not None:
        progress = journal.limit.watched(progress or (lambda evaluations: None))
    plain = folder / "models" / _PLAIN
    make_folder(plain.parent)
    journal.step("original", lambda: _export(model, plain, calibration))
    names = tuple(one.node for one in layers(onnx.load(plain)) if not one.shared)
    facts = (Language(names), calibration, run.identity.settings.sigma, options.seed, journal)
    makers = _makers(calibration, options.workers)
    workshop = Workshop(model, plain, folder / "models", *facts, makers, load)
    begin = _Begun(run, screener, str(folder))
    purse = Purse(options.budget, progress)
    return Search(screener, Explorer.of(screener), workshop, purse, begin, journal)


def _makers(calibration: Inputs, workers: int) -> Executor:
    """Processes that make candidates; there is no telling how long one may be silent."""
    return run_serially if workers == 1 else Processes(Given.of(calibration), workers, math.inf)


def _searched(
    run: Run, one: Search, options: SearchOptions, trains: bool, say: Callable[[str], None]
) -> Found:
    """What a search finds until it ends, or its time does."""
    original, finished = one.workshop.original, False
    with suppress(TimeIsUp):
        layers_ = one.workshop.language.layers
        say(f"{len(layers_)} layers, one by one on draws that are never counted")
        language = by_sensitivity(one, int(_SENSITIVITY * options.budget))
        one = replace(one, workshop=replace(one.workshop, language=language))
        candidates = proposals(language, options.objective, trains)
        say(f"making {len(candidates)} candidates")
        files = one.workshop.all_of(candidates)
        original, *made = one.workshop.price(original, files, options.objective)
        say(f"exploring {len(made)} candidates on draws that are never counted")
        one.explore(made, int(_EXPLORING * options.budget))
        say("proving the cheapest that are expected to do")
        one.prove()
        say("trying what is next to the winner")
        one.improve(partial(_next, one.workshop, original, options.objective, trains))
        finished = True
    return Found(
        model=one.workshop.model,
        base=str(run.storage),
        base_hash=run.identity.hash,
        objective=options.objective,
        original=(original.size, original.cost),
        seconds=original.seconds,
        screening=one.screener.screening,
        language=one.workshop.language,
        budget=options.budget,
        spent=options.budget - one.purse.left,
        rows=tuple(_row(one, t) for t in one.tried),
        refused=dict(one.workshop.refused),
        finished=finished,
    )


def _next(
    workshop: Workshop, original: Made, objective: str, trains: bool, best: Made
) -> list[Made]:
    """What is next to a winner, with its costs."""
    made = workshop.all_of(list(neighbours(best.candidate, trains)))
    return workshop.price(original, made, objective)[1:] if made else []


def _keep(found: Found, folder: Path, journal: Journal) -> None:
    """Write what was found; once it is finished, with no models but those that were certified."""
    if found.best is not None:
        shutil.copy(folder / found.best.file, folder / "winner.onnx")
    found.write(folder)
    write_pages(found, folder)
    if found.finished:
        kept = {Path(row.file).name for row in found.rows if row.file} | {_PLAIN}
        for file in (folder / "models").iterdir():
            if file.name not in kept and file.is_dir():  # of a `compress` that was killed
                shutil.rmtree(file)
            elif file.name not in kept:
                file.unlink()
        journal.end()


@dataclass(frozen=True, eq=False)
class _Begun:
    """Enters a candidate in the base's ledger before its first counted evaluation."""

    base: Run
    screener: Screener
    out: str

    def __call__(self, fingerprint: str, name: str) -> None:
        new = asked(fingerprint, self.screener.screening, self.base.identity.settings.seed)
        ledger.enter(self.base, new, name, self.out)


def _screener(
    base: Run, inputs: Inputs, accept: str | Goal | Sequence[str | Goal], options: SearchOptions
) -> Screener:
    """What all candidates are proven on."""
    base.require_complete()
    goals = in_numbers(read(accept), correct_radii(base.certificates, base.labels))
    if not goals:
        raise InvalidInput("A search needs a target, such as 'ca@0.5>=0.95*base': give --accept.")
    form = options.form or base.identity.settings.reused_form
    pairs = zip(base.certificates, base.labels, strict=True)
    matching = max(1, sum(c.candidate == label for c, label in pairs))
    each = _PROOFS * matching / (1 - _SENSITIVITY - _EXPLORING)
    # In the form binary an input's winners are replayed; else nothing may depend on its votes.
    votes = (c.k for c in base.certificates if c.k > c.n / 2)
    most = min(votes, default=0) if form == "binary" else base.identity.settings.n // 2
    draws = min(int(options.budget / each), most)
    if draws < _FEWEST:
        raise InvalidInput(
            f"The budget of {options.budget:,} evaluations allows {draws} counted draws for each "
            f"of {matching} inputs and {_PROOFS} candidates. Allow at least "
            f"{int(_FEWEST * each) + 1:,}, or certify the original with a larger n."
        )
    screening = Screening(draws, options.alpha, form=form).asking(goals)
    return make_screener(base, inputs, screening, options.batch_size)


def _export(model: str, plain: Path, example: Inputs) -> None:
    """The original in float32 as an ONNX file."""
    if model.endswith(".onnx"):
        onnx_graph.save(onnx_graph.without_notes(Path(model)), plain)
    else:
        compress(model, "onnx", plain, inputs=example)


def _row(one: Search, tried: Tried) -> Row:
    """For what is written."""
    made, seen = tried.made, tried.explored
    kept = f"models/{made.file.name}" if tried.found is not None else ""
    counts = (int(seen.flips.sum()), int(seen.draws.sum()))
    figure = figure_of(one.expected(tried), one.screener.screening.targets[0]) if counts[1] else 0.0
    facts = (made.word, made.target, made.size, made.cost, *counts, figure)
    return Row(*facts, tried.found, kept, made.seconds)


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        begun = " --resume goes on with the search in it." if (out / _STEPS).is_dir() else ""
        raise InvalidInput(
            f"{out} already exists and is not an empty folder. Choose another --out.{begun}"
        )
