"""What a cache proves of models on a whole data set: computed, shown, and read from a file."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import typer

from smoothcert.api import sanity
from smoothcert.cli import console
from smoothcert.cli.data_source import DataSource, recorded_model, recorded_source
from smoothcert.cli.options import parse_radii
from smoothcert.cli.resources import (
    CandidateInputs,
    Compute,
    ModelLoader,
    cluster_for_screening,
)
from smoothcert.cli.run_request import NOT_ACCEPTED
from smoothcert.cli.screening_costs import Costs, read_costs
from smoothcert.cli.screening_table import original_row, screen_table
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.scheduler import Executor, Work, thread_safe
from smoothcert.execution.screener import asked as question
from smoothcert.execution.screening_tasks import (
    ScreeningTask,
    ScreeningTaskSpec,
    make_screener,
    pool_of,
)
from smoothcert.files import make_folder, read_regular, require_new_file, similar, write_whole
from smoothcert.methods.dataset import DatasetCertificate, recheck, verdicts
from smoothcert.methods.screening import Screening, Verdict
from smoothcert.methods.standings import Evaluated, Model, Standings, unfinished
from smoothcert.methods.targets import MeanRadius, Relative, Target, in_numbers, read
from smoothcert.report.acceptance import check_labels
from smoothcert.report.claims import tried
from smoothcert.report.screened import Cost
from smoothcert.report.tables import filled
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE
from smoothcert.sampling.engine import Progress
from smoothcert.sampling.prepare import Prepared
from smoothcert.sampling.time_limit import TimeIsUp, TimeLimit
from smoothcert.summary import correct_radii
from smoothcert.text import level, visible

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
    minutes: float | None = None
    resume: bool = False
    targets: tuple[Target | MeanRadius, ...] = ()
    before: tuple[DatasetCertificate, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be judged or gone on with before anything is loaded."""
        if self.minutes is not None:
            TimeLimit(self.minutes)
        if self.resume and (self.out is None or self.overwrite):
            raise InvalidInput(
                "--resume goes on from the file that --out has written. Give that --out, and not "
                "--overwrite, which begins anew."
            )
        if self.accept_any and not self.accept:
            raise InvalidInput("--accept-any judges by --accept, which is missing. Give both.")
        read(self.accept)

    def of(self, run: Run) -> Self:
        """With what follows from the original's run."""
        goals = read(self.accept)
        form = self.form or run.identity.settings.reused_form
        if self.resume and not self.before and (before := self._written(run)):
            return replace(self, before=before).of(run)
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

    def _written(self, run: Run) -> tuple[DatasetCertificate, ...]:
        """The certificates to go on from; none if there is no file yet.

        Raises:
            Mismatch: they are of another base run or of other models.
        """
        if self.out is None or not self.out.exists():
            return ()
        found, origin = read_screenings(self.out), ScreeningOrigin.read(self.out)
        if (origin.base_hash, origin.models) != (run.identity.hash, self.models):
            raise Mismatch(
                f"{self.out} is of the base run {origin.base} and the models "
                f"{', '.join(origin.models)}, in this order. A screening goes on with the same; "
                "begin another in a new file."
            )
        return found

    @property
    def costs_before(self) -> list[Cost]:
        """Size and speed as the file to go on from has them; empty if there is none."""
        if not self.before or self.out is None:
            return []
        found = read_costs(self.out, self.before)
        return [found[c] for c in self.before]

    @property
    def screening(self) -> Screening:
        """The options, checked."""
        timed = self.before[0].screening.timed if self.before else self.minutes is not None
        radii = parse_radii(self.radii) if self.radii else ()
        settings, form = (self.per_input, self.alpha, radii), self.form or "binary"
        screening = Screening(*settings, candidates=len(self.models), form=form, timed=timed)
        return screening.asking(self.targets)

    def task_spec(self, run: Run) -> ScreeningTaskSpec:
        """For other processes."""
        result = str(self.out or "screen")
        return ScreeningTaskSpec(str(run.storage), self.screening, self.batch_size, result)


def screen(arguments: ScreeningArguments, compute: Compute, as_json: bool) -> None:
    """Screen models and print their dataset certificates, best first.

    Exits with 3 unless all targets, if there are any, are proven for every model, or with
    `accept_any` for one of them.

    Raises:
        TimeIsUp: candidates are left unfinished; its text says which, and how to go on.
    """
    if arguments.out is not None:
        require_new_file(arguments.out, arguments.overwrite or arguments.resume)
    console.note(sanity.of_alpha(arguments.alpha))
    run = Run.open(arguments.base)
    arguments = arguments.of(run)
    before = (
        read_costs(arguments.out, arguments.before) if arguments.out and arguments.before else {}
    )
    costs = Costs(arguments.models, run, [before[c] for c in arguments.before])
    source = recorded_source(run, arguments.data)
    if compute.cluster is None:
        found = _screen_here(arguments, run, source, compute, costs)
    else:
        executor = cluster_for_screening(arguments.models, source, compute)
        # Whoever loads the models says what they are, and how far the inputs are from the grid.
        models = tuple(Model(name, "") for name in arguments.models)
        pool = pool_of(run, arguments.screening)
        standings = Standings.of(arguments.screening, pool, models, arguments.before)
        with _bar(arguments, run) as tick:
            found = _execute(arguments, run, standings, tick, executor, costs)
    for c in found:  # again, so that its warning is seen here
        if c.begun:
            arguments.task_spec(run).begin(run, c.fingerprint, c.name)
    if as_json:
        console.show_json(_rows(arguments, run, found, costs))
    elif any(c.begun for c in found):
        _show(arguments, run, found, costs)
    if left := unfinished(found):
        raise TimeIsUp(_left_out(arguments, found, left))
    accepted = [c.verdict in (None, Verdict.ACCEPTED) for c in found]
    if not (any(accepted) if arguments.accept_any else all(accepted)):
        raise typer.Exit(NOT_ACCEPTED)


def _left_out(arguments: ScreeningArguments, found: Sequence[DatasetCertificate], left: str) -> str:
    """What is said when the time is over."""
    said = f"The {arguments.minutes:g} minutes are over: {left}."
    if arguments.out is None:
        return f"{said} Repeat the command with --out FILE, from which --resume can go on."
    if not any(c.begun for c in found):
        return f"{said} Nothing is kept. Repeat the command with more minutes."
    if tuple(found) == arguments.before:
        return (
            f"{said} No round was finished in this time. Repeat the command with --resume and "
            "more minutes."
        )
    return f"{said} Repeat the command with --resume --minutes {arguments.minutes:g} to go on."


def _rows(
    arguments: ScreeningArguments, run: Run, found: Sequence[DatasetCertificate], costs: Costs
) -> list[dict[str, Any]]:
    """As they are written."""
    radii = arguments.screening.radii or _curve(run)
    beside = {"original": costs.original.to_json(radii) | costs.of_original.to_json()}
    return [
        c.to_json() | {"made": _origin(run, model) | cost.to_json() | beside}
        for c, model, cost in zip(found, arguments.models, costs.candidates, strict=True)
    ]


def _curve(run: Run) -> tuple[float, ...]:
    """Radii at which a screening is shown if it names none."""
    return tuple(r * run.identity.settings.sigma for r in _CURVE)


def _write(
    arguments: ScreeningArguments, run: Run, found: Sequence[DatasetCertificate], costs: Costs
) -> None:
    """Write what is known to the file of --out, if there is one."""
    if arguments.out is not None:
        make_folder(arguments.out.parent)
        rows = _rows(arguments, run, found, costs)
        write_whole(arguments.out, (json.dumps(rows, indent=1) + "\n").encode())


def _origin(run: Run, model: str) -> dict[str, str]:
    """What a certificate was made from, for `verify`."""
    return {"base": str(run.storage), "base_hash": run.identity.hash, "model": model}


def _show(
    arguments: ScreeningArguments, run: Run, found: Sequence[DatasetCertificate], costs: Costs
) -> None:
    radii, sigma = arguments.screening.radii or _curve(run), run.identity.settings.sigma
    table = screen_table(found, radii, dict(zip(found, costs.candidates, strict=True)))
    first = original_row(costs, radii, len(table[0]))
    console.show_table(
        *filled(table[0], [first, *table[1]]), f"Proven for the whole data set, σ = {sigma:g}"
    )
    seed = run.identity.settings.seed
    mine = [question(c.fingerprint, arguments.screening, seed) for c in found if c.begun]
    before = tried(ledger.tries(run).beside(mine), beside="this screening")
    if found[0].pool.form != "binary":
        console.say("Every other class is bounded by the runner-up, not by 1 minus the class.")
    console.say(
        f"All of this holds together with probability at least 1 − {level(arguments.alpha)} "
        f"(docs/theory.md, section 10).\n{costs.original.says}"
    )
    if before:
        console.say(before)
    for c in (c for c in found if c.begun):
        for target, verdict in verdicts(c):
            accepted = "accepted" if verdict else "not accepted"
            console.show(visible(f"{accepted}: {c.name}, {target}: {verdict.value}"))


def _screen_here(
    arguments: ScreeningArguments, run: Run, source: DataSource, compute: Compute, costs: Costs
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
    names = [Model(c.classifier.name, c.classifier.fingerprint) for c in candidates]
    facts = (arguments.screening, screener.pool, names, arguments.before)
    standings = Standings.of(*facts)

    def here(progress: Progress) -> ScreeningTask:
        begin = partial(arguments.task_spec(run).begin, run)
        return ScreeningTask(screener, candidates.__getitem__, progress, begin)

    with _bar(arguments, run) as tick:
        found = _execute(arguments, run, standings, tick, executor, costs, here)
    if not unfinished(found):
        evaluations = arguments.per_input * screener.pool.eligible

        def original() -> Prepared:
            return screener.prepared(compute.process_device.load(recorded_model(run)))

        with console.waiting("Measuring speed"):
            settings = run.identity.settings
            costs.measure(candidates, original, screener.inputs, settings, evaluations)
        _write(arguments, run, found, costs)
    return found


def _bar(arguments: ScreeningArguments, run: Run) -> AbstractContextManager[console.Tick]:
    total = len(arguments.models) * len(run.identity.indices) * arguments.per_input
    return console.bar("Screening", total - sum(c.evaluations for c in arguments.before))


def _execute(
    arguments: ScreeningArguments,
    run: Run,
    standings: Standings,
    tick: console.Tick,
    executor: Executor,
    costs: Costs,
    here: Callable[[Progress], ScreeningTask] | None = None,
) -> tuple[DatasetCertificate, ...]:
    """What the candidates prove when all are finished, or the time is over.

    What is known is written whenever more is.
    """
    limit = None if arguments.minutes is None else TimeLimit(arguments.minutes)
    progress = thread_safe(limit.watched(tick) if limit else tick)

    def then(block: int, found: Evaluated) -> Sequence[int]:
        more = standings.add(block, found)
        _write(arguments, run, standings.certificates, costs)
        return more

    spec, task = arguments.task_spec(run), here(progress) if here else None
    work = Work(spec, standings.blocks, progress, task, then=then)
    with suppress(TimeIsUp):
        executor(work, lambda: limit is not None and limit.over)
    return standings.certificates


@dataclass(frozen=True)
class ScreeningOrigin:
    """From what a screening says it was made; files of earlier versions say nothing.

    Attributes:
        base: where the base run is, or empty.
        base_hash: its identity, or empty.
        models: reference of each candidate, or empty.
    """

    base: str
    base_hash: str
    models: tuple[str, ...]

    @staticmethod
    def read(path: Path) -> "ScreeningOrigin":
        """What a file of screenings says, whose certificates have been read already."""
        rows = json.loads(path.read_bytes())
        made = [row["made"] if isinstance(row.get("made"), dict) else {} for row in rows]
        models = tuple(str(one.get("model", "")) for one in made)
        base, base_hash = (str(made[0].get(name, "")) for name in ("base", "base_hash"))
        return ScreeningOrigin(base, base_hash, models)


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
