"""A search from the command line: run, shown, and read again to be verified."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from smoothcert.cli import console
from smoothcert.cli.data_source import DataSource, recorded_source
from smoothcert.cli.resources import Device
from smoothcert.cli.run_request import NOT_ACCEPTED
from smoothcert.cli.verification import (
    Replayed,
    ScreeningOrigin,
    Verification,
    replayed_flips,
    screened_base,
)
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, SmoothcertError
from smoothcert.execution.screening_tasks import pool_of
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, still_unchecked
from smoothcert.runs.verify import verify as recompute
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.searching.find import SearchOptions
from smoothcert.searching.find import search as find
from smoothcert.searching.found import NAME, Found, missing_files, of_winner, problems_of
from smoothcert.searching.page import cells, heads, milliseconds, sentence
from smoothcert.searching.winner import certify_winner, winner_method
from smoothcert.text import level, many, visible

_CALIBRATION = 512  # inputs at most


@dataclass(frozen=True)
class SearchArguments:
    """What a search is given, from the options."""

    model: str
    base: str
    accept: tuple[str, ...]
    out: Path
    calibration: str | None
    data: str | None
    per_input: str | None


def search(
    arguments: SearchArguments, how: SearchOptions, threads: int | None, as_json: bool
) -> None:
    """Search, and print what was found; exits with 3 if nothing was proven to reach the targets.

    Raises:
        TimeIsUp: the time was over before the end; its text says how to go on.
    """
    device = Device("cpu", threads)
    run = Run.open(arguments.base)
    if arguments.per_input is not None:
        winner_method(run, arguments.per_input, how.alpha)  # refused now, not after the search
    source = recorded_source(run, arguments.data)
    with console.waiting("Loading data"):
        inputs = source.load_and_describe(recorded=True)
        calibration = _calibration(source, arguments.calibration, inputs)
    limit = None if how.minutes is None else TimeLimit(how.minutes)
    with console.bar("Searching", how.budget) as tick:
        found = find(
            run,
            arguments.model,
            inputs,
            arguments.out,
            accept=arguments.accept,
            calibration=calibration,
            **vars(how),
            progress=tick,
            say=console.say,
            load=device.load,
        )
    late = not found.finished
    if arguments.per_input and found.best and not late:
        late = True
        with console.bar("Certifying the winner", 0) as tick, suppress(TimeIsUp):
            rest = (arguments.out, arguments.per_input, tick, device.load, limit)
            found, late = certify_winner(found, run, inputs, *rest), False
    if as_json:
        console.show_json(found.summary())
    else:
        _show(found, arguments.out)
    if late:
        raise TimeIsUp(
            f"The {how.minutes:g} minutes are over after {found.spent:,} of {found.budget:,} "
            "evaluations. Repeat the command with --resume to go on, with more minutes if these "
            "were no more than before."
        )
    if found.best is None:
        raise typer.Exit(NOT_ACCEPTED)


def _calibration(source: DataSource, given: str | None, inputs: Inputs) -> Inputs:
    """Other data than that which is certified."""
    other = replace(source, data=given or source.data, split="train", limit=_CALIBRATION, every=1)
    try:
        found = other.load()
    except SmoothcertError as error:
        if given is not None:
            raise
        raise InvalidInput(
            f"Candidates are calibrated on other data, and {source.data} has no split train "
            f"({error}). Give some with --calibration."
        ) from error
    if shared := len(set(found.contents) & set(inputs.contents)):
        console.say(f"{shared} inputs are in the calibration data too; certificates allow that.")
    return found


def _show(found: Found, out: Path) -> None:
    """A table of the candidates, and the winner in words."""
    certified = [row for row in found.rows if row.certificate is not None]
    rows = [cells(found, row) for row in certified]
    console.show_table(heads(found), rows, "Proven for the whole data set")
    if found.seconds is not None:
        took = milliseconds(found.seconds)
        console.say(f"The original takes {took} ms a row, by ONNX Runtime on one core, like these.")
    if seen := len(found.rows) - len(certified):
        console.say(
            f"{seen} more were explored on draws that are never counted; "
            f"{out / 'pareto.csv'} has all."
        )
    console.say(
        f"All of this holds together with probability at least 1 − {level(found.screening.alpha)}, "
        "however the search chose what to try (docs/theory.md, section 14)."
    )
    console.show(visible(sentence(found)))
    console.say(f"Written to {out}: open {out / 'index.html'}")


def is_search(path: str) -> bool:
    """Whether a path is a folder that a search wrote."""
    return (Path(path) / NAME).is_file()


def verify_search(
    folder: Path,
    part: Replayed | None,
    device: Device,
    *,
    model: str | None,
    data: str | None,
    base: str | None,
) -> Verification:
    """Compute all that a search states again, and evaluate a part of its draws again."""
    if model is not None:
        raise InvalidInput("A search keeps the models that it certified: leave --model out.")
    found = Found.read(folder)
    run = screened_base(ScreeningOrigin(found.base, found.base_hash, ()), base)
    certified = [row for row in found.rows if row.certificate is not None]
    problems, replayed = list(problems_of(found, run and pool_of(run, found.screening))), 0
    problems += missing_files(found, folder)
    if found.per_input:
        alone = Run.open(folder / found.per_input)
        problems += [*of_winner(found, alone), *recompute(alone, run).problems]
    unchecked = [Unchecked.FLIPS, Unchecked.TRUE_CLASSES, Unchecked.LANGUAGE, Unchecked.CHOICE]
    unchecked.append(Unchecked.SCREENED_BASE if run is None else Unchecked.BASE_VOTES)
    if part is not None and not problems:
        if run is None:
            raise InvalidInput(f"Replaying {folder} needs the base run. Give it with --base.")
        files = [str(folder / row.file) for row in certified]
        certificates = [row.certificate for row in certified if row.certificate is not None]
        facts = (run, files, data, part, device.load)
        replayed, wrong = replayed_flips(certificates, *facts)
        problems += wrong
        unchecked = list(still_unchecked(unchecked, part.fraction))
    against = "" if run is None else f", and their inputs from {run.storage}"
    drawn = f", {many(replayed, 'draw')} replayed" if part is not None else ""
    text = f"{many(len(certified), 'candidate')} recomputed from words and counts{against}{drawn}"
    return Verification(text, len(certified), replayed, problems, unchecked)
