"""What a run, or a file of `screen --out`, proves: computed again, and some draws replayed."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothcert.classifiers.hardware import description, machine_of, products_of
from smoothcert.classifiers.protocol import Classifier
from smoothcert.cli import console
from smoothcert.cli.data_source import recorded_model, recorded_source, require_no_code
from smoothcert.cli.options import parse_share
from smoothcert.cli.resources import Device
from smoothcert.cli.screenings import ScreeningOrigin, read_screenings
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.scheduler import thread_safe
from smoothcert.execution.screening_tasks import make_screener, problems_of, replay_flips
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.methods.standings import unfinished
from smoothcert.runs import seed_use
from smoothcert.runs.replaying import Moved, machine
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, evaluate_again, still_unchecked
from smoothcert.runs.verify import Verification as Replay
from smoothcert.runs.verify import verify as recompute
from smoothcert.sampling.time_limit import TimeLimit
from smoothcert.storage.local import LocalFolder
from smoothcert.text import many


@dataclass(frozen=True)
class Verification:
    """What was recomputed.

    Attributes:
        text: what was recomputed and replayed, in words.
        certificates: how many were recomputed.
        replayed: draws that were evaluated again.
        problems: what is not as stored.
        unchecked: what was not checked.
        moved: how votes differ from those of another machine, and what to do; or empty.
    """

    text: str
    certificates: int
    replayed: int
    problems: Sequence[str]
    unchecked: Sequence[Unchecked]
    moved: str = ""


@dataclass(frozen=True)
class Replayed:
    """What is to be evaluated again.

    Attributes:
        fraction: of the draws, or of a screening's inputs.
        minutes: how long it may take from the start of sampling, or None.
    """

    fraction: float
    minutes: float | None = None

    @staticmethod
    def parse(share: str | None, minutes: float | None) -> "Replayed | None":
        """From the options; None where nothing is."""
        if minutes is not None:
            TimeLimit(minutes)
        if share is None and minutes is not None:
            raise InvalidInput(
                "--minutes limits a replay, and none is asked for. Add --replay 100%, of which "
                "as much is evaluated as fits."
            )
        return None if share is None else Replayed(parse_share(share), minutes)

    def limit(self) -> TimeLimit | None:
        """The time, which begins now."""
        return None if self.minutes is None else TimeLimit(self.minutes)


def verify_run_directory(
    path: str,
    part: Replayed | None,
    device: Device,
    *,
    model: str | None,
    data: str | None,
    base: str | None,
) -> Verification:
    """Check a run."""
    run = Run.open(path)
    with console.waiting("Recomputing certificates from votes"):
        original = _base_run(run, base)
        result = recompute(run, original)
    problems, replayed, unchecked, votes = list(result.problems), 0, result.unchecked, ""
    drawn = f", {many(0, 'draw')} replayed" if part is not None else ""
    if part is not None and not run.missing:
        with console.waiting("Loading model and data"):
            reference = model or recorded_model(run)
            source = recorded_source(run, data)
            console.say(f"Replaying with the model {reference} and the data {source.data}")
            load = device.load if model else device.load_recorded
            classifier, inputs = load(reference), source.load_and_describe(recorded=True)
        drawn_once = sum(c.evaluations for c in run.certificates)
        limit = part.limit()
        left = None if limit is None else lambda: limit.left
        with console.bar("Replaying", round(drawn_once * part.fraction)) as tick:
            fraction = part.fraction
            again = evaluate_again(run, classifier, inputs, fraction, tick, original, left)
        found, votes = _judged(run, again, classifier)
        problems += found
        replayed = again.replayed
        whole = again.inputs == len(run.identity.indices)
        unchecked = still_unchecked(unchecked, again.share if whole else 0.0, again.pilot)
        drawn = f", {many(replayed, 'draw')} replayed"
        if limit is not None:
            drawn += (
                f" in {part.minutes:g} minutes (about {100 * again.share:.3g} % of the draws of "
                f"{again.inputs:,} of {many(len(run.identity.indices), 'input')})"
            )
    against = "" if original is None else f", and their draws from {original.storage}"
    text = f"{many(result.certificates, 'certificate')} recomputed from the votes{against}{drawn}"
    return Verification(text, result.certificates, replayed, problems, unchecked, votes)


def _judged(run: Run, again: Replay, classifier: Classifier) -> tuple[list[str], str]:
    """What a replay found wrong; and what is said instead where another machine explains it.

    Nobody can tell here whether the votes are those of that machine, so this is no pass either.
    """
    if not again.answers:
        return list(again.problems), ""
    way = f"smoothcert transfer {shlex.quote(str(run.storage))} --out NEW"
    where, differs = machine(run), ", ".join(again.elsewhere)
    rest = [problem for problem in again.problems if problem not in again.answers]
    if not where:
        known = f"of what it does record, other here: {differs}" if differs else ""
        said = f"it does not record on which machine it was made ({known or 'an older version'})"
        return [*again.answers, f"{said}; if on another one, {way} gives certificates of this"], ""
    if not differs:
        return list(again.problems), ""
    here = description(machine_of(classifier), products_of(classifier))
    return rest, (
        f"{Moved(again.replayed, again.differing)}, and not as here were: {differs}. These are "
        f"certificates of the machine {where}, and whether they are can be checked there alone. "
        f"On this one, {here}: {way}"
    )


def _base_run(run: Run, given: str | None) -> Run | None:
    """The base run of a recertified one: the given one, or the recorded one if it exists."""
    if not run.identity.base:
        if given is not None:
            raise Mismatch(f"{run.storage} was certified from scratch and has no base run.")
        return None
    if given is not None:
        return Run.open(given)
    return seed_use.recorded_base(run)


def verify_screenings(
    path: Path,
    part: Replayed | None,
    device: Device,
    *,
    model: str | None,
    data: str | None,
    base: str | None,
) -> Verification:
    """Check a file of screenings."""
    found = read_screenings(path)
    if not found:
        raise InvalidInput(f"{path} has no certificates, so there is nothing to verify.")
    origin = ScreeningOrigin.read(path)
    run = screened_base(origin, base)
    problems, replayed = list(problems_of(found, run)), 0
    unchecked = [Unchecked.FLIPS, Unchecked.TRUE_CLASSES, Unchecked.CHOICE]
    unchecked.append(Unchecked.SCREENED_BASE if run is None else Unchecked.BASE_VOTES)
    if part is not None and not problems:
        if run is None:
            raise InvalidInput(f"Replaying {path} needs the base run. Give it with --base.")
        models = _models(path, origin, model, len(found))
        load = device.load if model else device.load_recorded
        replayed, wrong = replayed_flips(found, run, models, data, part, load)
        problems += wrong
        unchecked = list(still_unchecked(unchecked, part.fraction))
    against = "" if run is None else f", and their inputs from {run.storage}"
    drawn = f", {many(replayed, 'draw')} replayed" if part is not None else ""
    text = f"{many(len(found), 'certificate')} recomputed from the counts{against}{drawn}"
    if left := unfinished(found):
        text += f" ({left})"
    return Verification(text, len(found), replayed, problems, unchecked)


def screened_base(origin: ScreeningOrigin, given: str | None) -> Run | None:
    """The base run: the given one, or the recorded one if it exists."""
    here = LocalFolder(Path(origin.base)) if origin.base else None
    if given is None and not (here and here.exists("run.json")):
        return None
    base = Run.open(given if given is not None else here or "")
    if origin.base_hash and base.identity.hash != origin.base_hash:
        raise Mismatch(
            f"{base.storage} is not the base run of this screening. Give that one with --base."
        )
    return base


def _models(path: Path, origin: ScreeningOrigin, given: str | None, count: int) -> tuple[str, ...]:
    """References of the candidates: the given one of a single one, or those that are recorded."""
    if given is not None and count > 1:
        raise InvalidInput(
            f"{path} has {count} candidates, but --model names one. Put the files where they were "
            "screened, and leave out --model."
        )
    return (
        (given,)
        if given is not None
        else tuple(require_no_code(str(path), m) for m in origin.models)
    )


def replayed_flips(
    found: Sequence[DatasetCertificate],
    base: Run,
    models: Sequence[str],
    data: str | None,
    part: Replayed,
    load: Callable[[str], Classifier],
) -> tuple[int, list[str]]:
    """How many draws were evaluated again, and what differs.

    Args:
        found: certificates on the same inputs.
        base: the run whose draws were replayed.
        models: references of their models.
        data: where the base's data is now, if it moved.
        part: what is evaluated again.
        load: loads a model.
    """
    fraction = part.fraction
    if part.minutes is not None:
        raise InvalidInput(
            "--minutes limits the replay of a run. Of a file of screenings, or of a search, give "
            "--replay a smaller part of the inputs."
        )
    if not 0 < fraction <= 1:
        raise InvalidInput(f"The replayed fraction must be in (0, 1]; got {fraction}")
    with console.waiting("Loading models, data and base run"):
        inputs = recorded_source(base, data).load_and_describe(recorded=True)
        screener = make_screener(base, inputs, found[0].screening, None)
        candidates = [screener.prepared(load(model)) for model in models]
    problems, replayed = [], 0
    if inputs.off_grid > found[0].pool.off_grid:
        problems.append(f"the inputs lie farther from the grid than stated: {inputs.off_grid:g}")
    total = round(sum(c.evaluations for c in found) * fraction)
    with console.bar("Replaying", total) as tick:
        for certificate, candidate in zip(found, candidates, strict=True):
            if not certificate.begun:
                continue
            progress = thread_safe(tick)
            draws, differing = replay_flips(certificate, screener, candidate, fraction, progress)
            replayed += draws
            if differing:
                problems.append(f"{certificate.name}: {differing} counts of flips differ")
    return replayed, problems
