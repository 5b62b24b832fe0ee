"""The commands that evaluate models to prove something, and their options."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import numbers
from smoothcert.cli.completion import among
from smoothcert.cli.options import (
    Accept,
    Alpha,
    Base,
    Batch,
    BlockInputs,
    Channels,
    ClusterAt,
    Data,
    Device,
    Engine,
    Estimation,
    Every,
    FreshSeed,
    Grid,
    Json,
    KeepMargins,
    Limit,
    Log,
    Method,
    Model,
    Moved,
    NoiseSeed,
    Overwrite,
    Policy,
    Resume,
    RunOut,
    Seed,
    Selection,
    Shard,
    Sigma,
    Size,
    Split,
    Threads,
    TotalAlpha,
    Workers,
)


def certify(
    model: Model,
    data: Data,
    sigma: Sigma,
    out: RunOut,
    n0: Selection = 100,
    n: Estimation = 100_000,
    alpha: Alpha = 0.001,
    form: Annotated[
        str,
        typer.Option(
            help="binary or multiclass runner-up bound.", autocompletion=among(vocabulary.FORMS)
        ),
    ] = "binary",
    keep_margins: KeepMargins = False,
    radius: Annotated[
        float | None,
        typer.Option(help="Only decide this radius, stopping as soon as it is proven or excluded."),
    ] = None,
    engine: Engine = None,
    seed: NoiseSeed = "0",
    split: Split = "test",
    grid: Grid = None,
    limit: Limit = None,
    every: Every = 1,
    size: Size = None,
    channels: Channels = None,
    resume: Resume = False,
    device: Device = "cpu",
    threads: Threads = None,
    workers: Workers = None,
    shard: Shard = None,
    cluster: ClusterAt = None,
    batch_size: Batch = None,
    block_inputs: BlockInputs = None,
    log: Log = None,
    accept: Accept = None,
    json: Json = False,
) -> None:
    """Certify a classifier from scratch into a run directory."""
    from smoothcert.certificate import Settings
    from smoothcert.cli import display, runs
    from smoothcert.cli.machines import Compute, Device
    from smoothcert.cli.sources import DataSource
    from smoothcert.cli.where import RunArguments

    source = DataSource(data, split, grid, limit, every, size, channels)
    machines = Compute(Device(device, threads), workers, cluster)
    told = (json, accept or (), log or ())
    where = RunArguments(out, resume, machines, batch_size, block_inputs, shard, *told)
    wanted = partial(Settings, sigma, n0=n0, n=n, alpha=alpha, form=form, keep_margins=keep_margins)
    with display.saying_warnings():
        runs.certify(model, source, where, settings=wanted, seed=seed, radius=radius, engine=engine)


def recertify(
    model: Model,
    base: Base,
    out: RunOut,
    policy: Policy = None,
    method: Method = "auto",
    alpha: TotalAlpha = None,
    gamma: Annotated[
        float, typer.Option(help="irs: cached limit from which draws are fresh.")
    ] = 0.99,
    variant: Annotated[
        str,
        typer.Option(
            help="irs: budget-exact, or published, which is proven at up to twice alpha.",
            autocompletion=among(vocabulary.VARIANTS),
        ),
    ] = "budget-exact",
    fresh_seed: FreshSeed = None,
    data: Moved = None,
    resume: Resume = False,
    device: Device = "cpu",
    threads: Threads = None,
    workers: Workers = None,
    shard: Shard = None,
    cluster: ClusterAt = None,
    batch_size: Batch = None,
    block_inputs: BlockInputs = None,
    log: Log = None,
    accept: Accept = None,
    json: Json = False,
) -> None:
    """Recertify a changed model by reusing the original's run."""
    from smoothcert.cli import display, runs
    from smoothcert.cli.machines import Compute, Device
    from smoothcert.cli.where import RunArguments

    machines = Compute(Device(device, threads), workers, cluster)
    told = (json, accept or (), log or ())
    where = RunArguments(out, resume, machines, batch_size, block_inputs, shard, *told)
    with display.saying_warnings():
        runs.recertify(
            model,
            base,
            data,
            where,
            policy=policy,
            method=method,
            alpha=alpha,
            gamma=gamma,
            variant=variant,
            fresh_seed=fresh_seed,
        )


def plan(
    model: Model,
    base: Base,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            help="A policy to show; may be repeated.",
            show_default="several",
            autocompletion=among(vocabulary.POLICIES),
        ),
    ] = None,
    method: Method = "auto",
    alpha: TotalAlpha = None,
    data: Moved = None,
    device: Device = "cpu",
    threads: Threads = None,
    batch_size: Batch = None,
    json: Json = False,
) -> None:
    """Show what policies would cost and buy, after a small pilot."""
    from smoothcert.cli import display, plans
    from smoothcert.cli.machines import Device

    on = Device(device, threads)
    with display.saying_warnings():
        plans.plan(
            model,
            base,
            data,
            on,
            batch_size,
            json,
            policies=policies or [],
            method=method,
            alpha=alpha,
        )


def screen(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", show_default=False)],
    base: Base,
    per_input: Annotated[
        int,
        typer.Option(
            help="Evaluations per input that counts.", parser=numbers.count, metavar="INTEGER"
        ),
    ] = 100,
    alpha: Annotated[
        float,
        typer.Option(
            help="Error probability of everything stated.", parser=numbers.real, metavar="FLOAT"
        ),
    ] = 0.002,
    radii: Annotated[str, typer.Option(help="Radii to bound more tightly.")] = "",
    accept: Annotated[
        str | None,
        typer.Option(
            help="Stop when decided, and exit with 3 unless it is proven of every model: a target "
            "as 'ca@0.5>=0.40'.",
            show_default=False,
        ),
    ] = None,
    data: Moved = None,
    out: Annotated[Path | None, typer.Option(help="Also write the certificates as JSON.")] = None,
    overwrite: Overwrite = False,
    device: Device = "cpu",
    threads: Threads = None,
    workers: Workers = None,
    cluster: ClusterAt = None,
    batch_size: Batch = None,
    json: Json = False,
) -> None:
    """Bound certified accuracy and mean radius of models on the whole data set, cheaply."""
    from smoothcert.cli import display, screening
    from smoothcert.cli.machines import Compute, Device

    machines = Compute(Device(device, threads), workers, cluster)
    options = (per_input, alpha, radii, accept, batch_size, out, overwrite)
    asked = screening.Asked(tuple(models), base, data, *options)
    with display.saying_warnings():
        screening.screen(asked, machines, json)


def predict(
    model: Model,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", show_default=False)],
    sigma: Sigma,
    n: Annotated[
        int, typer.Option("--n", help="Draws.", parser=numbers.count, metavar="INTEGER")
    ] = 1000,
    alpha: Annotated[
        float, typer.Option(help="Error probability.", parser=numbers.real, metavar="FLOAT")
    ] = 0.001,
    size: Size = None,
    channels: Channels = None,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = None,
    batch_size: Batch = None,
    json: Json = False,
) -> None:
    """Predict the smoothed classifier's class of one image, or abstain."""
    from smoothcert.cli import models
    from smoothcert.cli.machines import Device

    models.predict(
        model,
        image,
        Device(device, threads),
        json,
        size=size,
        channels=channels,
        sigma=sigma,
        n=n,
        alpha=alpha,
        seed=seed,
        batch_size=batch_size,
    )
