"""screen: what a cache proves of models on a whole data set."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from smoothcert.api.screen import asked as question
from smoothcert.cli import clusters, display, hints
from smoothcert.cli.machines import CandidateInputs, Compute, ModelLoader
from smoothcert.cli.runs import NOT_ACCEPTED
from smoothcert.cli.sources import DataSource, parse_radii, recorded_source
from smoothcert.errors import InvalidInput
from smoothcert.execution.scheduler import Executor, Work, thread_safe
from smoothcert.execution.screening_tasks import ScreeningTask, ScreeningTaskSpec, make_screener
from smoothcert.files import make_folder, read_regular, require_new_file, similar, write_whole
from smoothcert.methods.dataset import DatasetCertificate, ranked, recheck
from smoothcert.methods.screening import Screening, Target, Verdict
from smoothcert.report.claims import tried
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.runs.validation import UNREADABLE
from smoothcert.text import floor_to, level, percent, visible

_CURVE = (0.0, 0.5, 1.0, 1.5)  # in sigmas
_MOST_BYTES = 2**28  # of a file of screenings: 50,000 inputs take about a megabyte


@dataclass(frozen=True)
class Asked:
    """What is to be screened, as the options say it."""

    models: tuple[str, ...]
    base: str
    data: str | None
    per_input: int
    alpha: float
    radii: str
    accept: str | None
    batch_size: int | None
    out: Path | None = None
    overwrite: bool = False

    @property
    def screening(self) -> Screening:
        """The options, checked."""
        target = Target.parse(self.accept) if self.accept else None
        radii = parse_radii(self.radii) if self.radii else ()
        settings = (self.per_input, self.alpha, radii)
        return Screening(*settings, target=target, candidates=len(self.models))

    def spec(self, run: Run) -> ScreeningTaskSpec:
        """For other processes."""
        result = str(self.out or "screen")
        return ScreeningTaskSpec(str(run.storage), self.screening, self.batch_size, result)


def screen(asked: Asked, machines: Compute, as_json: bool) -> None:
    """Screen models and print their dataset certificates, best first.

    Exits with 3 unless a target, if there is one, is proven of every model.
    """
    if asked.out is not None:
        require_new_file(asked.out, asked.overwrite)
    hints.of_alpha(asked.alpha)
    run = Run.open(asked.base)
    source = recorded_source(run.manifest.origin, asked.data)
    if machines.cluster is None:
        found = _here(asked, run, source, machines)
    else:
        executor = clusters.of_candidates(asked.models, source, machines)
        with _bar(asked, run) as tick:
            found = _found(asked, run, None, tick, executor)
    for c in found:  # done where they were screened: a warning is to be seen here
        asked.spec(run).begin(run, c.fingerprint, c.name)
    rows = [c.to_json() | {"made": _made(run, m)} for c, m in zip(found, asked.models, strict=True)]
    if asked.out is not None:
        make_folder(asked.out.parent)
        write_whole(asked.out, (json.dumps(rows, indent=1) + "\n").encode())
    if as_json:
        display.show_json(rows)
    else:
        _show(asked, run, found)
    if any(c.verdict not in (None, Verdict.ACCEPTED) for c in found):
        raise typer.Exit(NOT_ACCEPTED)


def _made(run: Run, model: str) -> dict[str, str]:
    """From what a certificate was made, so that `verify` finds it."""
    return {"base": str(run.storage), "base_hash": run.identity.hash, "model": model}


def _show(asked: Asked, run: Run, found: Sequence[DatasetCertificate]) -> None:
    sigma, named = run.identity.settings.sigma, asked.screening.radii
    display.show_table(
        *screen_table(found, named or [r * sigma for r in _CURVE]), "Proven of the whole data set"
    )
    seed = run.identity.settings.seed
    mine = [question(c.fingerprint, asked.screening, seed) for c in found]
    before = tried(ledger.tries(run).beside(mine), beside="this screening")
    display.say(
        f"All of it holds together with probability 1 − {level(asked.alpha)} at least "
        f"(docs/theory.md, section 10). {before}".strip()
    )
    for c in found:
        if c.verdict:
            accepted = "accepted" if c.verdict is Verdict.ACCEPTED else "not accepted"
            display.show(visible(f"{accepted}: {c.name}: {c.verdict.value}"))


def _here(
    asked: Asked, run: Run, source: DataSource, machines: Compute
) -> tuple[DatasetCertificate, ...]:
    """By processes of this machine: whatever is wrong with a candidate is said before any works."""
    with display.waiting("Loading models, data and base run"):
        stage = make_screener(run, source.told(recorded=True), asked.screening, asked.batch_size)
        candidates = [stage.prepared(machines.shared.load(model)) for model in asked.models]
    models = tuple(ModelLoader(model, machines.shared) for model in asked.models)
    executor = machines.executor(CandidateInputs(models, source))
    with _bar(asked, run) as tick:
        begin = partial(asked.spec(run).begin, run)
        here = ScreeningTask(stage, candidates.__getitem__, thread_safe(tick), begin)
        return _found(asked, run, here, tick, executor)


def _bar(asked: Asked, run: Run) -> AbstractContextManager[display.Tick]:
    total = len(asked.models) * len(run.identity.indices) * asked.per_input
    return display.bar("Screening", total)


def _found(
    asked: Asked, run: Run, here: ScreeningTask | None, tick: display.Tick, executor: Executor
) -> tuple[DatasetCertificate, ...]:
    """In the order of the candidates."""
    progress = here.progress if here else thread_safe(tick)
    numbers = tuple(range(len(asked.models)))
    found = executor(Work(asked.spec(run), numbers, progress, here), lambda: 0)
    return tuple(found[number] for number in numbers)


def read_screened(path: Path) -> tuple[DatasetCertificate, ...]:
    """The certificates that `screen --out` wrote, each computed again from its counts.

    Raises:
        InvalidInput: it is no such file, or a certificate is not what its counts prove.
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
            f"{path} states of {visible(wrong[0])} what its counts do not prove: it was changed, "
            "or written by another version. Screen again."
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
