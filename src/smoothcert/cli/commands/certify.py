"""certify: certificates of a model from scratch."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from smoothcert.certificate import Settings
    from smoothcert.cli.data_source import DataSource
    from smoothcert.cli.run_request import RunArguments
    from smoothcert.data.inputs import Inputs
    from smoothcert.methods import Method

_DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show what the run is expected to take and to prove, by selection draws, and write "
        "nothing.",
    ),
]


def certify(
    model: options.Model,
    data: options.Data,
    sigma: options.Sigma,
    out: options.RunOut,
    n0: options.Selection = 100,
    n: options.Estimation = 100_000,
    alpha: options.Alpha = 0.001,
    form: options.Form = "binary",
    keep_margins: options.KeepMargins = False,
    radius: Annotated[
        float | None,
        typer.Option(help="Only decide this radius, stopping as soon as it is proven or excluded."),
    ] = None,
    policy: options.SizePolicy = None,
    engine: options.Engine = None,
    seed: options.NoiseSeed = "0",
    split: options.Split = "test",
    grid: options.Grid = None,
    limit: options.Limit = None,
    every: options.Every = 1,
    size: options.Size = None,
    channels: options.Channels = None,
    resume: options.Resume = False,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    cluster: options.Cluster = None,
    batch_size: options.BatchSize = None,
    block_inputs: options.BlockInputs = None,
    dry_run: _DryRun = False,
    log: options.Log = None,
    accept: options.Accept = None,
    minutes: options.Minutes = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Certify a classifier from scratch into a run directory."""
    from smoothcert.certificate import Settings
    from smoothcert.cli import console
    from smoothcert.cli.data_source import DataSource
    from smoothcert.cli.resources import Compute, Device
    from smoothcert.cli.run_request import RunArguments

    source = DataSource(data, split, grid, limit, every, size, channels)
    compute = Compute(Device(device, threads), workers, cluster)
    after = (json, accept or (), log or (), minutes)
    arguments = RunArguments(out, resume, compute, batch_size, block_inputs, shard, *after)
    draws = partial(Settings, sigma, n0=n0, n=n, alpha=alpha, form=form, keep_margins=keep_margins)
    with console.warnings_as_lines():
        method = _method(radius, policy, dry_run)
        _certify(model, source, arguments, draws, method, seed, engine, dry_run)


def _method(radius: float | None, policy: str | None, dry_run: bool) -> "Method":
    """The method that the options ask for."""
    from smoothcert.errors import InvalidInput
    from smoothcert.methods import Decision
    from smoothcert.planning.sized import by_policy

    if radius is not None and policy is not None:
        raise InvalidInput(
            "--radius stops each input when it is decided, so there is nothing to plan. Leave "
            f"--policy out; or --policy radius:{radius:g} plans for that radius and keeps votes "
            "that a recertification can reuse."
        )
    if radius is not None and dry_run:
        raise InvalidInput(
            "--dry-run cannot say what --radius takes, which stops each input when it is decided. "
            f"--policy radius:{radius:g} --dry-run shows a plan for that radius."
        )
    return by_policy(policy) if radius is None else Decision(radius)


def _certify(
    model: str,
    source: "DataSource",
    arguments: "RunArguments",
    settings: "Callable[..., Settings]",
    method: "Method",
    seed: str,
    engine: str | None,
    dry_run: bool,
) -> None:
    """Certify from scratch, or decide one radius; print the summary.

    `settings` lack the levels of the data and the number of the seed.
    """
    from smoothcert.api import sanity
    from smoothcert.cli import console, onnx_engine
    from smoothcert.cli.resources import run_on_cluster
    from smoothcert.cli.run_request import executed, show_run
    from smoothcert.execution.start import RunRequest
    from smoothcert.methods import Decision

    wanted = options.parse_seed(seed, "--seed")
    number = arguments.seed(wanted, lambda run: run.identity.settings.seed)
    assert number is not None
    arguments = arguments.allowing(method)
    arguments.require_unused()
    onnx_engine.check(engine, arguments)
    with console.waiting("Loading data"):
        inputs = source.load()
        arguments.check_targets(inputs.labels, inputs.name)
        whole = settings(levels=inputs.levels, seed=number)
    console.note(sanity.of_settings(whole))
    if dry_run:
        return _estimate(model, inputs, whole, method, engine, arguments)
    total = arguments.remaining(len(inputs) * (whole.n0 + whole.n))
    classifier, origin, files = None, {"model": model}, {}
    if arguments.compute.cluster is None:
        with console.waiting("Loading model"):
            classifier = arguments.load(model)
    console.say(inputs.describe())
    if classifier is not None:
        chosen = onnx_engine.choose(engine, model, classifier, inputs, whole, arguments)
        classifier, origin, files = chosen.classifier, chosen.origin, chosen.files
        few = 20 if isinstance(method, Decision) else 1  # times fewer: most are decided soon
        arguments.look(classifier, inputs, whole, total // few)

    def request(tick: console.Tick) -> RunRequest:
        chosen = arguments.options(tick, source, origin, files)
        return RunRequest(arguments.storage, whole, method, options=chosen)

    if classifier is not None:
        selection = len(inputs) * whole.n0 if method.has_plan else 0
        bars = ("Selecting", "Certifying")
        run = executed(request, classifier, inputs, arguments, bars, (selection, total))
    else:
        with arguments.until_time_is_up(), console.bar("Certifying", total) as tick:
            run = run_on_cluster(request(tick), model, source, arguments.compute)
    show_run(run, arguments.json, arguments.targets)


def _estimate(
    model: str,
    inputs: "Inputs",
    settings: "Settings",
    method: "Method",
    engine: str | None,
    arguments: "RunArguments",
) -> None:
    """Show what the run is expected to take and to prove, and write nothing."""
    from dataclasses import replace

    from smoothcert.cli import console, estimates, onnx_engine
    from smoothcert.execution.estimate import EstimateOptions
    from smoothcert.methods import Sized

    alone = replace(arguments, compute=arguments.compute.alone)
    with console.waiting("Loading model"):
        classifier = alone.load(model)
    console.say(inputs.describe())
    chosen = onnx_engine.choose(engine, model, classifier, inputs, settings, alone)
    if arguments.resume or arguments.shard:
        console.say("The figures are those of the whole run, not of what --resume or --shard left.")
    asked = EstimateOptions(
        policies=(method.policy,) if isinstance(method, Sized) else None,
        workers=arguments.compute.shared,
        batch_size=arguments.batch_size,
        block_inputs=arguments.block_inputs,
    )
    exact = replace(settings, off_grid=inputs.off_grid)
    estimates.show(chosen.classifier, inputs, exact, asked, arguments.json)
