"""What a cache proves of models on a whole data set: computed, shown, and read from a file."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import typer

from smoothcert.api import sanity
from smoothcert.api.screen import asked as question
from smoothcert.cli import console
from smoothcert.cli.data_source import DataSource, recorded_source
from smoothcert.cli.options import parse_radii
from smoothcert.cli.resources import (
    CandidateInputs,
    Compute,
    ModelLoader,
    cluster_for_screening,
)
from smoothcert.cli.run_request import NOT_ACCEPTED
from smoothcert.errors import InvalidInput
from smoothcert.execution.scheduler import Executor, Work, thread_safe
from smoothcert.execution.screening_tasks import ScreeningTask, ScreeningTaskSpec, make_screener
from smoothcert.files import make_folder, read_regular, require_new_file, similar, write_whole
from smoothcert.methods.dataset import DatasetCertificate, ranked, recheck, verdicts
from smoothcert.methods.screening import Screening, Verdict
from smoothcert.methods.targets import MeanRadius, Relative, Target, in_numbers, read
from smoothcert.report.acceptance import check_labels
from smoothcert.report.claims import tried
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE
from smoothcert.summary import correct_radii
from smoothcert.text import floor_to, level, percent, visible

_CURVE = (0.0, 0.5, 1.0, 1.5)  # in sigmas
_MOST_BYTES = 2**28  # of a file of screenings: 50,000 inputs take about a megabyte


@dataclass(frozen=True)
class ScreeningArguments:
    """What is to be screened, from the options."""

    models: tuple[str, ...]
    base: str
    data: str | None
    per_input: int
    alpha: float
    radii: str
    accept: Sequence[str]
    batch_size: int | None
    form: str | None = None
    out: Path | None = None
    overwrite: bool = False
    accept_any: bool = False
    targets: tuple[Target | MeanRadius, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be judged before anything is loaded."""
        if self.accept_any and not self.accept:
            raise InvalidInput("--accept-any judges by --accept, which is missing. Give both.")
        read(self.accept)

    def of(self, run: Run) -> Self:
        """With what follows from the original's run."""
        goals = read(self.accept)
        form = self.form or run.identity.settings.reused_form
        if not any(isinstance(goal, Relative) for goal in goals):
            return replace(self, form=form, targets=in_numbers(goals, ()))
        run.require_complete()
        check_labels(run.labels, str(run.storage))
        radii = correct_radii(run.certificates, run.labels)
        for goal in goals:
            if isinstance(goal, Relative):
                (target,) = in_numbers([goal], radii)
                console.say(f"{goal.text!r} asks for {target}: {goal.found(radii)}.")
        return replace(self, form=form, targets=in_numbers(goals, radii))

    @property
    def screening(self) -> Screening:
        """The options, checked."""
        radii = parse_radii(self.radii) if self.radii else ()
        settings, form = (self.per_input, self.alpha, radii), self.form or "binary"
        screening = Screening(*settings, candidates=len(self.models), form=form)
        return screening.asking(self.targets)

    def task_spec(self, run: Run) -> ScreeningTaskSpec:
        """For other processes."""
        result = str(self.out or "screen")
        return ScreeningTaskSpec(str(run.storage), self.screening, self.batch_size, result)


def screen(arguments: ScreeningArguments, compute: Compute, as_json: bool) -> None:
    """Screen models and print their dataset certificates, best first.

    Exits with 3 unless all targets, if there are any, are proven for every model, or with
    `accept_any` for one of them.
    """
    if arguments.out is not None:
        require_new_file(arguments.out, arguments.overwrite)
    console.note(sanity.of_alpha(arguments.alpha))
    run = Run.open(arguments.base)
    arguments = arguments.of(run)
    source = recorded_source(run.manifest.origin, arguments.data)
    if compute.cluster is None:
        found = _screen_here(arguments, run, source, compute)
    else:
        executor = cluster_for_screening(arguments.models, source, compute)
        with _bar(arguments, run) as tick:
            found = _execute(arguments, run, None, tick, executor)
    for c in found:  # again, so that its warning is seen here
        arguments.task_spec(run).begin(run, c.fingerprint, c.name)
    rows = [
        c.to_json() | {"made": _origin(run, m)}
        for c, m in zip(found, arguments.models, strict=True)
    ]
    if arguments.out is not None:
        make_folder(arguments.out.parent)
        write_whole(arguments.out, (json.dumps(rows, indent=1) + "\n").encode())
    if as_json:
        console.show_json(rows)
    else:
        _show(arguments, run, found)
    accepted = [c.verdict in (None, Verdict.ACCEPTED) for c in found]
    if not (any(accepted) if arguments.accept_any else all(accepted)):
        raise typer.Exit(NOT_ACCEPTED)


def _origin(run: Run, model: str) -> dict[str, str]:
    """What a certificate was made from, for `verify`."""
    return {"base": str(run.storage), "base_hash": run.identity.hash, "model": model}


def _show(arguments: ScreeningArguments, run: Run, found: Sequence[DatasetCertificate]) -> None:
    sigma, named = run.identity.settings.sigma, arguments.screening.radii
    console.show_table(
        *screen_table(found, named or [r * sigma for r in _CURVE]), "Proven for the whole data set"
    )
    seed = run.identity.settings.seed
    mine = [question(c.fingerprint, arguments.screening, seed) for c in found]
    before = tried(ledger.tries(run).beside(mine), beside="this screening")
    if found[0].pool.form != "binary":
        console.say("Every other class is bounded by the runner-up, not by 1 minus the class.")
    console.say(
        f"All of this holds together with probability at least 1 − {level(arguments.alpha)} "
        f"(docs/theory.md, section 10). {before}".strip()
    )
    for c in found:
        for target, verdict in verdicts(c):
            accepted = "accepted" if verdict is Verdict.ACCEPTED else "not accepted"
            console.show(visible(f"{accepted}: {c.name}, {target}: {verdict.value}"))


def _screen_here(
    arguments: ScreeningArguments, run: Run, source: DataSource, compute: Compute
) -> tuple[DatasetCertificate, ...]:
    """By processes of this machine; a bad candidate is refused before any of them works."""
    with console.waiting("Loading models, data and base run"):
        screener = make_screener(
            run, source.load_and_describe(recorded=True), arguments.screening, arguments.batch_size
        )
        candidates = [
            screener.prepared(compute.process_device.load(model)) for model in arguments.models
        ]
    models = tuple(ModelLoader(model, compute.process_device) for model in arguments.models)
    executor = compute.executor(CandidateInputs(models, source))
    with _bar(arguments, run) as tick:
        begin = partial(arguments.task_spec(run).begin, run)
        here = ScreeningTask(screener, candidates.__getitem__, thread_safe(tick), begin)
        return _execute(arguments, run, here, tick, executor)


def _bar(arguments: ScreeningArguments, run: Run) -> AbstractContextManager[console.Tick]:
    total = len(arguments.models) * len(run.identity.indices) * arguments.per_input
    return console.bar("Screening", total)


def _execute(
    arguments: ScreeningArguments,
    run: Run,
    here: ScreeningTask | None,
    tick: console.Tick,
    executor: Executor,
) -> tuple[DatasetCertificate, ...]:
    """In the order of the candidates."""
    progress = here.progress if here else thread_safe(tick)
    numbers = tuple(range(len(arguments.models)))
    found = executor(Work(arguments.task_spec(run), numbers, progress, here), lambda: 0)
    return tuple(found[number] for number in numbers)


def read_screenings(path: Path) -> tuple[DatasetCertificate, ...]:
    """The certificates that `screen --out` wrote, each computed again from its counts.

    Raises:
        InvalidInput: it is not such a file, or a certificate is not what its counts prove.
    """
    try:
        rows = json.loads(read_regular(path, _MOST_BYTES, InvalidInput))
        found = tuple(map(DatasetCertificate.from_json, rows))
        wrong = [c.name for c in found if recheck(c) != c]
    except FileNotFoundError:
        raise InvalidInput(f"There is no file {path}{similar(path)}") from None
    except UNREADABLE as error:
        raise InvalidInput(
            f"{path} is not what `smoothcert screen --out` writes: {error}. Give such a file."
        ) from error
    if wrong:
        raise InvalidInput(
            f"{path} states what the counts of {visible(wrong[0])} do not prove: it was "
            "changed, or written by another version. Screen again."
        )
    return found


def screen_table(
    found: Sequence[DatasetCertificate], radii: Sequence[float]
) -> tuple[list[str], list[list[str]]]:
    """Heads and rows, best first."""
    heads = ["model", "ACR ≥", *(f"CA@{r:g} ≥" for r in radii), "evaluations"]
    judged = any(c.verdict for c in found)
    rows = []
    for c in ranked(found):
        curve = [percent(float(share), c.pool.inputs) for share in c.certified_accuracy(radii)]
        row = [c.name, floor_to(c.acr, 4), *curve, f"{c.evaluations:,}"]
        rows.append([*row, c.verdict.name.lower() if c.verdict else ""] if judged else row)
    return ([*heads, "verdict"] if judged else heads), rows
