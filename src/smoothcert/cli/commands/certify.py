"""certify: certificates of a model from scratch."""

from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from smoothcert.certificate import Settings
    from smoothcert.cli.data_source import DataSource
    from smoothcert.cli.run_request import RunArguments


def certify(
    model: options.Model,
    data: options.Data,
    sigma: options.Sigma,
    out: options.RunOut,
    n0: options.Selection = 100,
    n: options.Estimation = 100_000,
    alpha: options.Alpha = 0.001,
    form: Annotated[
        str,
        typer.Option(
            help="Bound on the other classes: binary (1 - q), runner-up, auto (the better for "
            "each input, by its selection draws), or multiclass.",
            autocompletion=options.complete(vocabulary.FORMS),
        ),
    ] = "binary",
    keep_margins: options.KeepMargins = False,
    radius: Annotated[
        float | None,
        typer.Option(help="Only decide this radius, stopping as soon as it is proven or excluded."),
    ] = None,
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
    log: options.Log = None,
    accept: options.Accept = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Certify a classifier from scratch into a run directory."""
    from functools import partial

    from smoothcert.certificate import Settings
    from smoothcert.cli import console
    from smoothcert.cli.data_source import DataSource
    from smoothcert.cli.resources import Compute, Device
    from smoothcert.cli.run_request import RunArguments

    source = DataSource(data, split, grid, limit, every, size, channels)
    compute = Compute(Device(device, threads), workers, cluster)
    after = (json, accept or (), log or ())
    arguments = RunArguments(out, resume, compute, batch_size, block_inputs, shard, *after)
    draws = partial(Settings, sigma, n0=n0, n=n, alpha=alpha, form=form, keep_margins=keep_margins)
    with console.warnings_as_lines():
        _certify(model, source, arguments, settings=draws, seed=seed, radius=radius, engine=engine)


def _certify(
    model: str,
    source: "DataSource",
    arguments: "RunArguments",
    *,
    settings: "Callable[..., Settings]",
    seed: str,
    radius: float | None,
    engine: str | None,
) -> None:
    """Certify from scratch, or decide one radius; print the summary.

    `settings` lack the levels of the data and the number of the seed.
    """
    from smoothcert.api import sanity
    from smoothcert.cli import console, onnx_engine
    from smoothcert.cli.resources import run_on_cluster
    from smoothcert.cli.run_request import show_run
    from smoothcert.execution.runner import execute
    from smoothcert.execution.start import RunRequest
    from smoothcert.methods import SCRATCH, Decision

    wanted = options.parse_seed(seed, "--seed")
    number = arguments.seed(wanted, lambda run: run.identity.settings.seed)
    assert number is not None
    arguments.require_unused()
    onnx_engine.check(engine, arguments)
    with console.waiting("Loading data"):
        inputs = source.load()
        arguments.check_targets(inputs.labels, inputs.name)
        whole = settings(levels=inputs.levels, seed=number)
    console.note(sanity.of_settings(whole))
    method = SCRATCH if radius is None else Decision(radius)
    total = arguments.remaining(len(inputs) * (whole.n0 + whole.n))
    classifier, origin, files = None, {"model": model}, {}
    if arguments.compute.cluster is None:
        with console.waiting("Loading model"):
            classifier = arguments.load(model)
    console.say(inputs.describe())
    if classifier is not None:
        chosen = onnx_engine.choose(engine, model, classifier, inputs, whole, arguments)
        classifier, origin, files = chosen.classifier, chosen.origin, chosen.files
        few = 1 if radius is None else 20  # times fewer, where most inputs are decided soon
        arguments.look(classifier, inputs, whole, total // few)
    with console.bar("Certifying", total) as tick:
        run_options = arguments.options(tick, source, origin, files)
        request = RunRequest(arguments.storage, whole, method, options=run_options)
        if classifier is None:
            run = run_on_cluster(request, model, source, arguments.compute)
        else:
            run = execute(request, classifier, inputs)
    show_run(run, arguments.json, arguments.targets)
