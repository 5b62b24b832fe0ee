"""certify, recertify, report and verify: from options to run directories and tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import typer

from smoothcert.api.recertify import method_settings
from smoothcert.certificate import Outcome, Settings
from smoothcert.cli import clusters, display, engines, hints
from smoothcert.cli.machines import Device
from smoothcert.cli.sources import (
    DataSource,
    parse_seed,
    parse_share,
    recorded_model,
    recorded_source,
)
from smoothcert.cli.where import RunArguments
from smoothcert.errors import Mismatch, StoreError
from smoothcert.execution.runner import execute
from smoothcert.execution.start import RunRequest
from smoothcert.methods import SCRATCH, Decision, Irs, Reuse, planned
from smoothcert.methods.screening import Target
from smoothcert.planning import Policy
from smoothcert.report.acceptance import MeanRadius, judge
from smoothcert.report.claims import tried
from smoothcert.report.tables import summarize_run, summary_table
from smoothcert.runs import seed_use
from smoothcert.runs.merging import merge as merge_runs
from smoothcert.runs.store import Run
from smoothcert.runs.verify import Unchecked, evaluate_again, still_unchecked
from smoothcert.runs.verify import verify as verify_run
from smoothcert.text import many, visible
from smoothcert.tries import Tries

NOT_ACCEPTED = 3
"""The exit code of a model that does not reach --accept."""

DEFAULT_RADII = (0.0, 0.25, 0.5)


def certify(
    model: str,
    source: DataSource,
    where: RunArguments,
    *,
    settings: Callable[..., Settings],
    seed: str,
    radius: float | None,
    engine: str | None,
) -> None:
    """Certify from scratch, or decide one radius; print the summary.

    Args:
        model: a reference.
        source: the data.
        where: the run is written, and how it is computed.
        settings: the settings, but for the levels of the data and the number of the seed.
        seed: a number, or `random`.
        radius: the radius to decide, if only that is asked for.
        engine: what runs the model.
    """
    number = where.seed(parse_seed(seed, "--seed"), lambda run: run.identity.settings.seed)
    assert number is not None
    where.require_unused()
    engines.check(engine, where)
    clusters.check(engine, where)
    with display.waiting("Loading data"):
        inputs = source.load()
        where.check_labels(inputs.labels, inputs.name)
        of_data = settings(levels=inputs.levels, seed=number)
    hints.of_settings(of_data)
    method = SCRATCH if radius is None else Decision(radius)
    total = where.remaining(len(inputs) * (of_data.n0 + of_data.n))
    if where.machines.cluster is not None:
        display.say(inputs.describe())
        with display.bar("Certifying", total) as tick:
            options = where.options(tick, source, {"model": model})
            request = RunRequest(where.storage, of_data, method, options=options)
            run = clusters.run(request, model, source, where)
        show_run(run, where.json, where.targets)
        return
    with display.waiting("Loading model"):
        classifier = where.load(model)
    display.say(inputs.describe())
    chosen = engines.choose(engine, model, classifier, inputs, of_data, where)
    classifier = chosen.classifier
    few = 1 if radius is None else 20  # times fewer, where most inputs are decided soon
    hints.look(classifier, inputs, of_data, total // few, where)
    with display.bar("Certifying", total) as tick:
        options = where.options(tick, source, chosen.origin, chosen.files)
        request = RunRequest(where.storage, of_data, method, options=options)
        run = execute(request, classifier, inputs)
    show_run(run, where.json, where.targets)


def recertify(
    model: str,
    base: str,
    data: str | None,
    where: RunArguments,
    *,
    policy: str | None,
    method: str,
    alpha: float | None,
    gamma: float,
    variant: str,
    fresh_seed: str | None,
) -> None:
    """Recertify against a base run; print the summary."""
    seed = None
    if fresh_seed is not None:
        seed = where.seed(parse_seed(fresh_seed, "--fresh-seed"), _fresh_seed)
    origin = {"model": model, "base": base}
    where.require_unused()
    with display.waiting("Loading the base run"):
        original = Run.open(base)
        where.check_labels(original.labels, str(original.storage))
        settings = original.identity.settings
        chosen = method_settings(settings, None, policy, method, alpha, gamma, variant, seed)
        source = recorded_source(original.manifest.origin, data)
    hints.of_settings(settings, chosen.alpha)
    total = where.remaining(_most(original, chosen))
    classifier = inputs = None
    if where.machines.cluster is None:
        with display.waiting("Loading model and data"):
            classifier, inputs = where.load(model), source.told(recorded=True)
        hints.look(classifier, inputs, settings, total, where)
    with display.bar("Recertifying", total) as tick:
        options = where.options(tick, source, origin)
        request = RunRequest(where.storage, settings, chosen, original, options)
        if classifier is None or inputs is None:
            run = clusters.run(request, model, source, where)
        else:
            run = execute(request, classifier, inputs)
    show_run(run, where.json, where.targets, original)


def _fresh_seed(run: Run) -> int | None:
    reuse = planned(run.identity.method)
    return reuse and reuse.fresh_seed


def _most(original: Run, chosen: Irs | Reuse) -> int:
    """About how many evaluations a recertification will take."""
    proven = sum(c.outcome is Outcome.CERTIFIED for c in original.certificates)
    return round(Policy.parse(chosen.policy).total(proven, original.identity.settings.n))


def show_run(
    run: Run,
    as_json: bool,
    targets: Sequence[Target | MeanRadius] = (),
    base: Run | None = None,
) -> None:
    """The summary of a run, or how far it is if other shards are still to be computed.

    Of a recertified one also how often the cache of its base was asked, if that is at hand.
    Exits with 3 if it does not reach all targets.
    """
    if run.missing:
        done, blocks = len(run.finished), len(run.blocks)
        if as_json:
            display.show_json({"run": str(run.storage), "blocks": blocks, "finished": done})
            return
        display.say(f"Written to {run.storage}: it has {done} of {many(blocks, 'block')} now.")
        return
    summary = summarize_run(run, DEFAULT_RADII)
    judged = [judge(run, target) for target in targets]
    accepted = all(one.accepted for one in judged)
    model, tries = run.identity.model, _asked(run, base)
    if as_json:
        why = "\n".join(one.text for one in judged)
        verdict = {"accepted": accepted, "why": why} if judged else {}
        cache = {"cache": tries.to_json(model)} if tries else {}
        display.show_json({"run": str(run.storage), **asdict(summary), **cache, **verdict})
    else:
        display.show_table(*summary_table([summary]))
        display.say(f"Written to {run.storage}")
        hints.of_result(run, base)
        if said := tried(tries, model, run.identity.method):
            display.say(said)
        for one in judged:
            display.show(visible(one.text))
    if not accepted:
        raise typer.Exit(NOT_ACCEPTED)


def _asked(run: Run, base: Run | None) -> Tries | None:
    """What the cache of a recertified run was asked; the run stands if that cannot be read."""
    try:
        return seed_use.tries_of_run(run, base) if run.identity.base else None
    except StoreError as error:
        display.say(f"How often the cache was asked is not known: {error}")
        return None


def merge(paths: list[str], out: str, as_json: bool) -> None:
    """Merge parts of one run; print its summary, or what is still missing."""
    with display.waiting("Checking and copying"):
        run = merge_runs([Run.open(path) for path in paths], out)
    show_run(run, as_json)


def verify(
    path: str,
    share: str | None,
    device: Device,
    as_json: bool,
    *,
    model: str | None,
    data: str | None,
    base: str | None,
) -> None:
    """Check a run; exit with 1 if anything is not as stored."""
    run = Run.open(path)
    with display.waiting("Recomputing certificates from votes"):
        original = _base_run(run, base)
        result = verify_run(run, original)
    problems, replayed, unchecked = list(result.problems), 0, result.unchecked
    if share is not None and not run.missing:
        fraction = parse_share(share)
        origin = run.manifest.origin
        with display.waiting("Loading model and data"):
            reference, source = model or recorded_model(run), recorded_source(origin, data)
            display.say(f"Replaying with the model {reference} and the data {source.data}")
            load = device.load if model else device.load_recorded
            classifier, inputs = load(reference), source.told(recorded=True)
        total = round(sum(c.evaluations for c in run.certificates) * fraction)
        with display.bar("Replaying", total) as tick:
            again = evaluate_again(run, classifier, inputs, fraction, tick, original)
        problems += again.problems
        replayed, unchecked = again.replayed, still_unchecked(unchecked, fraction)
    against = "" if original is None else f", and their draws from {original.storage}"
    drawn = f", {many(replayed, 'draw')} replayed" if share is not None else ""
    counts = {"certificates": result.certificates, "replayed": replayed}
    recomputed = many(result.certificates, "certificate")
    what = f"{recomputed} recomputed from the votes{against}{drawn}"
    show_verified(path, what, counts, problems, unchecked, as_json)


def show_verified(
    path: str,
    what: str,
    counts: Mapping[str, int],
    problems: Sequence[str],
    unchecked: Sequence[Unchecked],
    as_json: bool,
) -> None:
    """What was checked, found wrong, and left out; exits with 1 if anything is wrong."""
    if as_json:
        left = [one.value for one in unchecked]
        found = {**counts, "problems": list(problems), "not_checked": left}
        display.show_json({"run": path, "ok": not problems, **found})
    else:
        verdict = "all as stored." if not problems else f"{many(len(problems), 'problem')}."
        display.show(visible(f"{path}: {what}: {verdict}"))
        for problem in problems:
            display.show(visible(f"  - {problem}"))
        display.show("Not checked:")
        for one in unchecked:
            display.show(f"  - {one.value}")
    if problems:
        raise typer.Exit(1)


def _base_run(run: Run, given: str | None) -> Run | None:
    """The base run of a recertified one: the given one, or the recorded one if it is there."""
    if not run.identity.base:
        if given is not None:
            raise Mismatch(f"{run.storage} was certified from scratch and has no base run.")
        return None
    if given is not None:
        return Run.open(given)
    return seed_use.recorded_base(run)
