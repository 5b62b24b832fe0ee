"""verify FILE.json: check what `screen --out` wrote against its base run, and replay some of it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothcert.classifiers.protocol import Classifier
from smoothcert.cli import display
from smoothcert.cli.machines import Device
from smoothcert.cli.runs import show_verified
from smoothcert.cli.screening import read_screened
from smoothcert.cli.sources import loadable, parse_share, recorded_source
from smoothcert.errors import InvalidInput, Mismatch
from smoothcert.execution.scheduler import thread_safe
from smoothcert.execution.screening_tasks import make_screener, problems_of, replay_flips
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, still_unchecked
from smoothcert.storage.local import LocalFolder
from smoothcert.text import many


@dataclass(frozen=True)
class Made:
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
    def read(path: Path) -> "Made":
        """What a file of screenings says, whose certificates have been read already."""
        rows = json.loads(path.read_bytes())
        made = [row["made"] if isinstance(row.get("made"), dict) else {} for row in rows]
        models = tuple(str(one.get("model", "")) for one in made)
        return Made(str(made[0].get("base", "")), str(made[0].get("base_hash", "")), models)


def verify(
    path: Path,
    share: str | None,
    device: Device,
    as_json: bool,
    *,
    model: str | None,
    data: str | None,
    base: str | None,
) -> None:
    """Check a screening; exit with 1 if anything is not as stored."""
    found = read_screened(path)
    if not found:
        raise InvalidInput(f"{path} holds no certificate: there is nothing to verify.")
    made = Made.read(path)
    run = _base(made, base)
    problems, replayed = list(problems_of(found, run)), 0
    unchecked = [Unchecked.FLIPS, Unchecked.TRUE_CLASSES, Unchecked.CHOICE]
    unchecked.append(Unchecked.SCREENED_BASE if run is None else Unchecked.BASE_VOTES)
    if share is not None and not problems:
        if run is None:
            raise InvalidInput(f"To replay {path} takes the base run: give it with --base.")
        models = _models(path, made, model, len(found))
        fraction = parse_share(share)
        load = device.load if model else device.load_recorded
        replayed, wrong = _replayed(found, run, models, data, fraction, load)
        problems += wrong
        unchecked = list(still_unchecked(unchecked, fraction))
    against = "" if run is None else f", and their inputs from {run.storage}"
    drawn = f", {many(replayed, 'draw')} replayed" if share is not None else ""
    recomputed = many(len(found), "certificate")
    what = f"{recomputed} recomputed from the counts{against}{drawn}"
    counts = {"certificates": len(found), "replayed": replayed}
    show_verified(str(path), what, counts, problems, unchecked, as_json)


def _base(made: Made, given: str | None) -> Run | None:
    """The base run: the given one, or the recorded one if it is there."""
    here = LocalFolder(Path(made.base)) if made.base else None
    if given is None and not (here and here.exists("run.json")):
        return None
    base = Run.open(given if given is not None else here or "")
    if made.base_hash and base.identity.hash != made.base_hash:
        raise Mismatch(
            f"{base.storage} is not the run that was screened on. Give that with --base."
        )
    return base


def _models(path: Path, made: Made, given: str | None, count: int) -> tuple[str, ...]:
    """References of the candidates: the given one of a single one, or those that are recorded."""
    if given is not None and count > 1:
        raise InvalidInput(
            f"{path} has {count} candidates, and --model names one. Put the files where they were "
            "screened, and leave --model out."
        )
    return (given,) if given is not None else tuple(loadable(str(path), m) for m in made.models)


def _replayed(
    found: Sequence[DatasetCertificate],
    base: Run,
    models: Sequence[str],
    data: str | None,
    fraction: float,
    load: Callable[[str], Classifier],
) -> tuple[int, list[str]]:
    """How many draws were evaluated again, and what differs."""
    if not 0 < fraction <= 1:
        raise InvalidInput(f"The replayed fraction must be in (0, 1]; got {fraction}")
    with display.waiting("Loading models, data and base run"):
        inputs = recorded_source(base.manifest.origin, data).told(recorded=True)
        stage = make_screener(base, inputs, found[0].screening, None)
        candidates = [stage.prepared(load(model)) for model in models]
    problems, replayed = [], 0
    if inputs.off_grid > found[0].pool.off_grid:
        problems.append(f"the inputs lie farther from the grid than stated: {inputs.off_grid:g}")
    total = round(sum(c.evaluations for c in found) * fraction)
    with display.bar("Replaying", total) as tick:
        for certificate, candidate in zip(found, candidates, strict=True):
            facts = (certificate, stage, candidate, fraction, thread_safe(tick))
            draws, differing = replay_flips(*facts)
            replayed += draws
            if differing:
                problems.append(f"{certificate.name}: {differing} counts of flips are others")
    return replayed, problems
