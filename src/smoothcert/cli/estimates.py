"""What a certification is expected to take and to prove, as `certify --dry-run` and `plan` show."""

from dataclasses import replace

from smoothcert.certificate import Settings
from smoothcert.classifiers.protocol import Classifier
from smoothcert.cli import console
from smoothcert.cli.eta import duration
from smoothcert.data.inputs import Inputs
from smoothcert.execution.estimate import (
    Estimate,
    EstimateOptions,
    PolicyEstimate,
    Workers,
    estimated,
)
from smoothcert.report.claims import of_sample, sample_json
from smoothcert.report.tables import NAMELESS, filled
from smoothcert.text import floor_to, many

_SHORT = 10.0  # seconds, below which tenths are shown
_UNITS = ("B", "kB", "MB", "GB", "TB")


def show(
    classifier: Classifier,
    inputs: Inputs,
    settings: Settings,
    options: EstimateOptions,
    as_json: bool,
) -> None:
    """Evaluate selection draws, and show what follows from them; nothing is written."""
    done = 0
    with console.waiting("Evaluating selection draws") as state:

        def progress(count: int) -> None:
            nonlocal done
            done += count
            state(f"{done:,}")

        found = estimated(classifier, inputs, settings, replace(options, progress=progress))
    workers = options.workers
    if as_json:
        shared = {"workers": workers.count, "worker_speed": workers.speed}
        data = {"data": inputs.name}
        console.show_json(found.to_json() | data | shared | sample_json(found.inputs))
        return
    radii = [radius for radius, _ in found.policies[0].accuracy]
    mean, share = ("ACR", "CA") if found.labelled else NAMELESS
    on = f"on {many(workers.count, 'worker')}" if workers.count > 1 else ""
    heads = ["policy", "evaluations", "time", on, "disk", mean]
    heads += [f"{share}@{radius:g}" for radius in radii]
    rows = [_row(one, bool(on)) for one in found.policies]
    console.show_table(*filled(heads, rows), f"Expected of {found.model}, not proven")
    console.say(_explained(found, workers))


def _row(one: PolicyEstimate, shared: bool) -> list[str]:
    time, on = _time(one.seconds), _time(one.seconds_shared) if shared else ""
    cells = [one.policy or "n for all", f"{one.evaluations:,}", time, on, _size(one.stored)]
    return [*cells, f"{one.acr:.4f}", *(f"{share:.1%}" for _, share in one.accuracy)]


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _SHORT else duration(seconds)


def _explained(found: Estimate, workers: Workers) -> str:
    """What the figures rest on, and what may be chosen by them."""
    settings = found.settings
    some = f"{found.selected:,} of {many(found.inputs, 'input')}, evenly spread"
    which = some if found.selected < found.inputs else f"all {many(found.inputs, 'input')}"
    said = (
        f"n = {settings.n:,} and alpha = {settings.alpha:g} prove a radius of "
        f"{floor_to(found.largest_radius, 4)} at most, where all draws agree.\n"
        f"Time is the classifier's, at {found.speed:,.0f} evaluations/s; a run also starts, proves "
        "and writes.\n"
    )
    if workers.count > 1:
        said += (
            f"Time on {workers.count} workers is an estimate by simulation: blocks of "
            f"{many(found.block_inputs, 'input')}, each worker {workers.speed:.0%} as fast as this "
            "process.\n"
        )
    said += f"Expected figures rest on the {settings.n0} selection draws of {which}. "
    said += (
        "An input counts if the class of these draws is its label.\n"
        if found.labelled
        else "Without labels, any class counts.\n"
    )
    return said + (
        "These draws are never counted as estimation draws. So you may choose n, a policy, sigma "
        "or a model by this table and certify with the same seed.\n"
        f"{of_sample(found.inputs)}\nNothing was written."
    )


def _size(count: float) -> str:
    """Bytes with two digits or more, in powers of 1000."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if count < 10 and unit else f"{count:.0f} {_UNITS[unit]}"
