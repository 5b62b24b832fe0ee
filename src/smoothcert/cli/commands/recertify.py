"""recertify: certificates of a changed model from the cached votes of the original."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from smoothcert.classifiers.protocol import Classifier
    from smoothcert.cli.data_source import DataSource
    from smoothcert.cli.run_request import RunArguments
    from smoothcert.data.inputs import Inputs
    from smoothcert.methods import Method
    from smoothcert.planning.wanted import Wanted
    from smoothcert.runs.store import Run


def recertify(
    model: options.Model,
    base: options.Base,
    out: options.RunOut,
    policy: options.Policy = None,
    method: options.Method = "auto",
    alpha: options.TotalAlpha = None,
    gamma: Annotated[
        float, typer.Option(help="irs: take fresh draws at or above this cached limit.")
    ] = 0.99,
    variant: Annotated[
        str,
        typer.Option(
            help="irs: budget-exact, or published, which is proven at up to twice alpha.",
            autocompletion=options.complete(vocabulary.VARIANTS),
        ),
    ] = "budget-exact",
    form: Annotated[
        str | None,
        typer.Option(
            help="auto, exact: bound the other classes binary (by 1 - q), by runner-up, or auto.",
            show_default="as the original",
            autocompletion=options.complete(vocabulary.EXACT_FORMS),
        ),
    ] = None,
    stages: options.Stages = None,
    fresh_seed: options.FreshSeed = None,
    data: options.MovedData = None,
    resume: options.Resume = False,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    cluster: options.Cluster = None,
    batch_size: options.BatchSize = None,
    block_inputs: options.BlockInputs = None,
    log: options.Log = None,
    accept: options.Accept = None,
    minutes: options.Minutes = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Recertify a changed model by reusing the original's run."""
    from smoothcert.cli import console
    from smoothcert.cli.resources import Compute, Device
    from smoothcert.cli.run_request import RunArguments
    from smoothcert.planning.wanted import Wanted

    compute = Compute(Device(device, threads), workers, cluster)
    after = (json, accept or (), log or (), minutes)
    arguments = RunArguments(out, resume, compute, batch_size, block_inputs, shard, *after)
    seed = None if fresh_seed is None else options.parse_seed(fresh_seed, "--fresh-seed")
    wanted = Wanted(None, policy, method, alpha, gamma, variant, form, stages, seed)
    with console.warnings_as_lines():
        _recertify(model, base, data, arguments, wanted)


def _recertify(
    model: str,
    base: str,
    data: str | None,
    arguments: "RunArguments",
    wanted: "Wanted",
) -> None:
    """Recertify against a base run; print the summary.

    Args:
        model: a reference.
        base: the original's run.
        data: where its data is now, if it moved.
        arguments: of the run.
        wanted: how to recertify.
    """
    from smoothcert.cli import console
    from smoothcert.cli.data_source import recorded_source
    from smoothcert.cli.run_request import show_run
    from smoothcert.planning.wanted import method_settings
    from smoothcert.runs.store import Run

    if wanted.fresh_seed is not None:
        wanted = replace(wanted, fresh_seed=arguments.seed(wanted.fresh_seed, _fresh_seed))
    arguments.require_unused()
    with console.waiting("Loading the base run"):
        original = Run.open(base)
        arguments.check_targets(original.labels, str(original.storage), original)
        method = method_settings(original.identity.settings, original.identity.method, wanted)
        source = recorded_source(original, data)
    run = reused(original, method, source, arguments, {"model": model, "base": base})
    show_run(run, arguments.json, arguments.targets, original)


def reused(
    original: "Run",
    method: "Method",
    source: "DataSource",
    arguments: "RunArguments",
    origin: "Mapping[str, Any]",
    loaded: "tuple[Classifier, Inputs] | None" = None,
    files: "Mapping[str, bytes] | None" = None,
) -> "Run":
    """Compute a run that reuses the votes of another.

    Args:
        original: the run whose votes are reused.
        method: how.
        source: of its data.
        arguments: of the new run.
        origin: what the new run says of its model and base.
        loaded: model and data, if they are loaded already.
        files: what the new run's directory keeps.
    """
    from smoothcert.api import sanity
    from smoothcert.cli import console
    from smoothcert.cli.resources import run_on_cluster
    from smoothcert.cli.run_request import executed
    from smoothcert.execution.start import RunRequest
    from smoothcert.methods import planned as planned_method
    from smoothcert.planning.planned import pilot_evaluations
    from smoothcert.planning.timed import minutes_of

    settings, arguments = original.identity.settings, arguments.allowing(method)
    proven = method.proven_alpha(settings)
    console.note(sanity.of_settings(settings, proven, method.form_of(settings)))
    by_time = minutes_of(method) is not None  # then nobody knows yet how many
    few = 0 if by_time else _expected_evaluations(original, method.policy_of(settings))
    total = arguments.remaining(few)

    def request(tick: console.Tick) -> RunRequest:
        run_options = arguments.options(tick, source, origin, files)
        return RunRequest(arguments.storage, settings, method, original, run_options)

    if arguments.compute.cluster is not None:
        with arguments.until_time_is_up(), console.bar("Recertifying", total) as tick:
            return run_on_cluster(request(tick), origin["model"], source, arguments.compute)
    if loaded is None:
        with console.waiting("Loading model and data"):
            model = arguments.load(origin["model"])
            loaded = model, source.load_and_describe(recorded=True)
    arguments.look(*loaded, settings, total)
    by_plan = planned_method(method)
    pilot = 0 if by_plan is None else pilot_evaluations(by_plan)
    return executed(request, *loaded, arguments, ("Pilot", "Recertifying"), (pilot, total))


def _fresh_seed(run: "Run") -> int | None:
    method = run.identity.method
    return method.seed(run.identity.settings) if method.is_fresh else None


def _expected_evaluations(original: "Run", policy: str) -> int:
    """About how many evaluations a recertification will take."""
    from smoothcert import planning
    from smoothcert.certificate import Outcome

    proven = sum(c.outcome is Outcome.CERTIFIED for c in original.certificates)
    return round(planning.Policy.parse(policy).total(proven, original.identity.settings.n))
