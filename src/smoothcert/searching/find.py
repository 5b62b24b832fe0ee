"""The whole search, from a run and a model to what was found."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from smoothcert.api.given import as_inputs
from smoothcert.api.screen import Screener, asked
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.compress.compress import compress
from smoothcert.compress.layers import layers
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, require_one_of
from smoothcert.execution.runner import RunOptions, execute
from smoothcert.execution.screening_tasks import make_screener
from smoothcert.execution.start import RunRequest
from smoothcert.files import make_folder
from smoothcert.methods import Exact, method_of
from smoothcert.methods.screening import Screening
from smoothcert.methods.targets import Goal, in_numbers, read
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.sampling.engine import Progress
from smoothcert.searching.explored import Explorer, figure_of
from smoothcert.searching.found import Found, Row
from smoothcert.searching.language import Language
from smoothcert.searching.made import Workshop, proposals
from smoothcert.searching.page import write_pages
from smoothcert.searching.search import Purse, Search, Tried, by_sensitivity
from smoothcert.storage.opening import open_storage
from smoothcert.summary import correct_radii
from smoothcert.vocabulary import OBJECTIVES

_SENSITIVITY, _EXPLORING = 0.15, 0.35  # of the evaluations
_PROOFS = 4  # for how many candidates the rest should do
_FEWEST = 20  # replayed draws per input


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        objective: what to make small, one of `OBJECTIVES`.
        budget: evaluations of candidates, exploration included.
        alpha: error probability of everything that is stated.
        per_input: counted draws per input of a candidate; by default what the budget allows.
        form: of the bounds, see `Screening`; the original's if None.
        seed: of calibration and training.
        batch_size: rows per forward pass, or None to choose.
    """

    objective: str = "size"
    budget: int = 200_000
    alpha: float = 0.002
    per_input: int | None = None
    form: str | None = None
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        require_one_of("objective", self.objective, OBJECTIVES)
        if self.budget < 1:
            raise InvalidInput(f"budget must be at least 1 evaluation; got {self.budget}")


DEFAULTS = SearchOptions()


def search(
    base: Run,
    model: str,
    inputs: Inputs | str | Path,
    out: str | Path,
    *,
    accept: str | Goal | list[str | Goal],
    calibration: Inputs | str | Path,
    options: SearchOptions = DEFAULTS,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda text: None,
    load: Callable[[str], Classifier] = load_classifier,
) -> Found:
    """Find the smallest compressed model that is proven to reach its targets on a data set.

    All that is stated of all candidates, and of any other of the language, holds together with
    probability at least 1 - alpha, however the search chose what to try.

    Args:
        base: the original's run, certified from scratch.
        model: reference of the original.
        inputs: the original's inputs, with labels.
        out: folder to write; it must not exist or be empty.
        accept: targets, as of `screen`; all must be proven.
        calibration: other data of the same kind, to calibrate and train on.
        options: see `SearchOptions`.
        progress: called with evaluations.
        say: called with what is being done.
        load: loads a candidate's file.

    Returns:
        What was found; also written to `out`, with the models that were certified.

    Raises:
        InvalidInput: a setting is out of range, or the budget does not allow any proof.
        Mismatch: the inputs are not those of the run.
        ModelError: the model is not usable, or has no layers to compress.

    Source: docs/theory.md, sections 10 and 14.
    """
    out, inputs, calibration = Path(out), as_inputs(inputs), as_inputs(calibration)
    _require_empty(out)
    screener = _screener(base, inputs, accept, options)
    make_folder(out / "models")
    plain = out / "models" / "original.onnx"
    _export(model, plain, calibration)
    names = tuple(layer.node for layer in layers(onnx.load(plain)))
    sigma = base.identity.settings.sigma
    purse = Purse(options.budget, progress)
    facts = (Language(names), calibration, sigma, options.seed, load)
    begun = _Begun(base, screener, str(out))
    workshop = Workshop(model, plain, out / "models", *facts)
    one = Search(screener, Explorer.of(screener), workshop, purse, begun)
    say(f"{len(names)} layers, one by one on draws that are never counted")
    language = by_sensitivity(one, int(_SENSITIVITY * options.budget))
    one = replace(one, workshop=replace(workshop, language=language))
    tried = _tried(one, options, calibration.labels is not None, say)
    (original,) = one.workshop.price([one.workshop.original], options.objective)
    found = Found(
        model=model,
        base=str(base.storage),
        base_hash=base.identity.hash,
        objective=options.objective,
        original=(original.size, original.cost),
        screening=screener.screening,
        language=language,
        budget=options.budget,
        spent=options.budget - purse.left,
        rows=tuple(_row(one, t) for t in tried),
        refused=dict(one.workshop.refused),
    )
    for t in tried:
        if t.found is None:
            t.made.file.unlink(missing_ok=True)
    if found.best is not None:
        shutil.copy(out / found.best.file, out / "winner.onnx")
    found.write(out)
    write_pages(found, out)
    return found


def certify_winner(
    found: Found,
    base: Run,
    inputs: Inputs,
    out: Path,
    policy: str,
    progress: Progress | None = None,
    load: Callable[[str], Classifier] = load_classifier,
) -> Found:
    """Certify the winner of a search input by input, at the error of its code word.

    Args:
        found: with a winner.
        base, inputs: of the search.
        out: its folder; the run is written to `per-input` in it.
        policy: see `recertify`; chosen before the search.
        progress: called with evaluations.
        load: loads the winner's file.

    Source: docs/theory.md, section 14.
    """
    best = found.best
    if best is None:
        raise InvalidInput("Nothing was proven, so there is no winner to certify.")
    settings, made = base.identity.settings, method_of(base.identity.method)
    share = made.reuse_share * 2.0 ** -len(best.word)
    exact = Exact(policy, found.screening.alpha, settings.reused_form, share=share)
    winner = out / "winner.onnx"
    origin = {
        "model": str(winner),
        "base": str(base.storage),
        "data": base.manifest.origin.get("data"),
    }
    options = RunOptions(progress=progress, origin=origin)
    request = RunRequest(open_storage(out / "per-input"), settings, exact, base, options)
    execute(request, load(str(winner)), inputs)
    kept = replace(found, per_input="per-input")
    kept.write(out)
    write_pages(kept, out)
    return kept


def _tried(
    one: Search, options: SearchOptions, trains: bool, say: Callable[[str], None]
) -> list[Tried]:
    """Make, explore and prove candidates."""
    candidates = proposals(one.workshop.language, options.objective, trains)
    say(f"making {len(candidates)} candidates")
    made = one.workshop.price(list(one.workshop.all_of(candidates)), options.objective)
    say(f"exploring {len(made)} candidates on draws that are never counted")
    tried = one.explored(made, int(_EXPLORING * options.budget))
    say("proving the cheapest that are expected to do")
    return one.proven(tried)


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
    base: Run, inputs: Inputs, accept: str | Goal | list[str | Goal], options: SearchOptions
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
    draws = options.per_input or min(int(options.budget / each), most)
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
        shutil.copy(model, plain)
    else:
        compress(model, "onnx", plain, inputs=example)


def _row(one: Search, tried: Tried) -> Row:
    """For what is written."""
    made, seen = tried.made, tried.explored
    kept = f"models/{made.file.name}" if tried.found is not None else ""
    counts = (int(seen.flips.sum()), int(seen.draws.sum()))
    figure = figure_of(one.expected(tried), one.screener.screening.targets[0]) if counts[1] else 0.0
    return Row(made.word, made.target, made.size, made.cost, *counts, figure, tried.found, kept)


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(
            f"{out} already exists and is not an empty folder. Choose another --out."
        )
