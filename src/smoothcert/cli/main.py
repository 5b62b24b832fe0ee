"""The commands and their options. Nothing heavy is imported before a command runs."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from smoothcert.cli.options import (
    Base,
    Batch,
    BlockInputs,
    ClusterAt,
    Data,
    Device,
    Engine,
    Every,
    FreshSeed,
    Grid,
    Json,
    KeepMargins,
    Limit,
    Method,
    Model,
    Moved,
    Out,
    Policy,
    Resume,
    RunOut,
    Runs,
    Seed,
    Shard,
    Sigma,
    Size,
    Split,
    Target,
    Threads,
    TotalAlpha,
    Workers,
)
from smoothcert.references import DATA_FORMS, MODEL_FORMS

app = typer.Typer(
    name="smoothcert",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Certify classifiers by randomized smoothing, and re-certify compressed versions of them "
    f"for a fraction of the cost. MODEL is {MODEL_FORMS}. DATA is {DATA_FORMS}. "
    "Exit code 0: done; 1: checked and found wrong; 2: misuse or bad input; 130: interrupted; "
    "143: terminated.",
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors are one line and an exit code, never a traceback."""

    @functools.wraps(function)
    def run(**options: Any) -> None:
        from smoothcert.errors import SmoothcertError
        from smoothcert.names import visible
        from smoothcert.runs.signals import as_interrupt

        # torch's threads otherwise spin while they wait for each other: with one other process
        # on a two-core machine that was 2,000 evaluations/s instead of 48,000.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            with as_interrupt():
                function(**options)
        except SmoothcertError as error:
            print(visible(f"Error: {error}", keep="\n"), file=sys.stderr)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as stop:
            kept = "Finished blocks are kept; repeat the command with --resume to go on."
            print(f"\nInterrupted. {kept}", file=sys.stderr)
            raise typer.Exit(128 + (stop.args[0] if stop.args else 2)) from None

    return app.command()(run)


@command
def demo(
    data: Annotated[
        str, typer.Option(help="digits, or CIFAR-10: a Parquet folder or a Hugging Face id.")
    ] = "digits",
    out: Annotated[Path, typer.Option(help="New folder for models, runs and report.")] = Path(
        "smoothcert-demo"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="A smaller run, under a minute.")] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train, certify, compress, recertify and report on real images, in about three minutes."""
    from smoothcert.cli.demo import run_demo
    from smoothcert.cli.where import Processor

    run_demo(data, out, quick, Processor("cpu", threads), json)


@command
def train(
    data: Data,
    sigma: Sigma,
    out: Out,
    recipe: Annotated[
        str, typer.Option(help="quick (digits), short (CIFAR-10 on a CPU) or cohen2019.")
    ] = "quick",
    arch: Annotated[
        str | None,
        typer.Option(help="small_cnn or cifar_resnet20 (also 8, 14, 32, 44, 56, 110)."),
    ] = None,
    split: Split = "train",
    grid: Grid = None,
    limit: Limit = None,
    every: Every = 1,
    size: Size = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    consistency: Annotated[
        float | None, typer.Option(help="Weight of the noise-consistency term.")
    ] = None,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint beside --out.")
    ] = False,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Train a network of the zoo with Gaussian augmentation and write its weights."""
    from smoothcert.cli import models
    from smoothcert.cli.sources import DataSource

    source = DataSource(data, split, grid, limit, every, size)
    chosen = models.recipe(recipe, sigma, (arch, epochs, batch, rate, consistency), seed)
    models.train(source, chosen, out, resume, device, json)


@command
def certify(
    model: Model,
    data: Data,
    sigma: Sigma,
    out: RunOut,
    n0: Annotated[int, typer.Option("--n0", help="Selection draws.")] = 100,
    n: Annotated[int, typer.Option("--n", help="Estimation draws.")] = 100_000,
    alpha: Annotated[float, typer.Option(help="Error probability per input.")] = 0.001,
    form: Annotated[str, typer.Option(help="binary or multiclass runner-up bound.")] = "binary",
    keep_margins: KeepMargins = False,
    radius: Annotated[
        float | None,
        typer.Option(help="Only decide this radius, stopping as soon as it is proven or excluded."),
    ] = None,
    engine: Engine = None,
    seed: Seed = 0,
    split: Split = "test",
    grid: Grid = None,
    limit: Limit = None,
    every: Every = 1,
    size: Size = None,
    resume: Resume = False,
    device: Device = "cpu",
    threads: Threads = None,
    workers: Workers = None,
    shard: Shard = None,
    cluster: ClusterAt = None,
    batch_size: Batch = None,
    block_inputs: BlockInputs = None,
    json: Json = False,
) -> None:
    """Certify a classifier from scratch into a run directory."""
    from smoothcert.cli import runs
    from smoothcert.cli.sources import DataSource
    from smoothcert.cli.where import Processor, Where

    source = DataSource(data, split, grid, limit, every, size)
    sizes = (batch_size, block_inputs, workers)
    where = Where(out, resume, Processor(device, threads), *sizes, shard, cluster, json)
    options = (sigma, n0, n, alpha, seed, form, keep_margins)
    runs.certify(model, source, options, radius, engine, where)


@command
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
    variant: Annotated[str, typer.Option(help="irs: budget-exact or published.")] = "budget-exact",
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
    json: Json = False,
) -> None:
    """Recertify a changed model by reusing the original's run."""
    from smoothcert.cli import runs
    from smoothcert.cli.where import Processor, Where

    sizes = (batch_size, block_inputs, workers)
    where = Where(out, resume, Processor(device, threads), *sizes, shard, cluster, json)
    runs.recertify(model, base, data, (policy, method, alpha, gamma, variant, fresh_seed), where)


@command
def plan(
    model: Model,
    base: Base,
    policies: Annotated[
        list[str] | None,
        typer.Option("--policy", help="A policy to show; may be repeated.", show_default="several"),
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
    from smoothcert.cli import plans
    from smoothcert.cli.where import Processor

    processor = Processor(device, threads)
    plans.plan(model, base, data, (policies or [], method, alpha), processor, batch_size, json)


@command
def screen(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", show_default=False)],
    base: Base,
    per_input: Annotated[int, typer.Option(help="Evaluations per input that counts.")] = 100,
    alpha: Annotated[float, typer.Option(help="Error probability of everything stated.")] = 0.002,
    radii: Annotated[str, typer.Option(help="Radii to bound more tightly.")] = "",
    accept: Annotated[
        str | None, typer.Option(help="Stop when decided: a target as 'ca@0.5>=0.40'.")
    ] = None,
    data: Moved = None,
    out: Annotated[Path | None, typer.Option(help="Also write the certificates as JSON.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    batch_size: Batch = None,
    json: Json = False,
) -> None:
    """Bound certified accuracy and mean radius of models on the whole data set, cheaply."""
    from smoothcert.cli import plans
    from smoothcert.cli.where import Processor

    options, processor = (per_input, alpha, radii, accept), Processor(device, threads)
    plans.screen(models, base, data, options, out, processor, batch_size, json)


@command
def compress(
    model: Model,
    to: Target,
    out: Out,
    data: Annotated[str | None, typer.Option(help="Calibration, training or example data.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Noise to calibrate, train and measure accuracy under.")
    ] = None,
    split: Split = "train",
    test_split: Annotated[
        str, typer.Option(help="Split to measure accuracy on, if the data has it and labels.")
    ] = "test",
    grid: Grid = None,
    size: Size = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write an approximation of a model as a file the other commands read."""
    from smoothcert.cli import models
    from smoothcert.cli.sources import DataSource

    source = DataSource(data, split, grid, None, 1, size) if data else None
    models.compress(model, to, out, source, test_split, sigma, seed, json)


@command
def report(
    runs: Runs,
    out: Out,
    radii: Annotated[str, typer.Option(help="Radii for certified accuracy.")] = "0,0.25,0.5,0.75,1",
    json: Json = False,
) -> None:
    """Write an HTML page, a PNG, a CSV and the field's TSV for one run or several."""
    from smoothcert.cli import runs as actions

    actions.report(runs, out, radii, json)


@command
def merge(
    runs: Runs,
    out: RunOut,
    json: Json = False,
) -> None:
    """Put the parts of one run together that shards wrote into different directories."""
    from smoothcert.cli import runs as actions

    actions.merge(runs, out, json)


@command
def verify(
    run: Annotated[str, typer.Argument(metavar="RUN", show_default=False)],
    replay: Annotated[
        str | None, typer.Option(help="Also re-evaluate such a part of the draws, as 1%.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="If it moved, or is package.module:factory: code that only the run names is not "
            "imported.",
            show_default="run's",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="If it moved.", show_default="run's")] = None,
    base: Annotated[str | None, typer.Option(help="If it moved.", show_default="run's")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Recompute every certificate of a run from its stored votes."""
    from smoothcert.cli import runs
    from smoothcert.cli.where import Processor

    runs.verify(run, replay, (model, data, base), Processor(device, threads), json)


@command
def predict(
    model: Model,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", show_default=False)],
    sigma: Sigma,
    n: Annotated[int, typer.Option("--n", help="Draws.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Error probability.")] = 0.001,
    size: Size = None,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = None,
    batch_size: Batch = None,
    json: Json = False,
) -> None:
    """Predict the smoothed classifier's class of one image, or abstain."""
    from smoothcert.cli import models
    from smoothcert.cli.where import Processor

    processor = Processor(device, threads)
    models.predict(model, image, size, sigma, n, alpha, seed, processor, batch_size, json)


@command
def replay(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", show_default=False)],
    disparity: Annotated[float, typer.Option(help="Mean probability of a changed label.")] = 0.01,
    away: Annotated[float, typer.Option(help="Share of the changes that leave the class.")] = 0.5,
    sigma: Annotated[
        float | None, typer.Option(help="Noise of the logs.", show_default="from the file's name")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Cached draws per image.")] = 10_000,
    accounting: Annotated[
        str, typer.Option(help="all: every evaluation; published: as in the 2024 tables.")
    ] = "all",
    repetitions: Annotated[int, typer.Option(help="Simulations to average.")] = 3,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """SIMULATE recertification on published per-image logs, without any model."""
    from smoothcert.cli import simulations

    options = (n, accounting, repetitions, seed)
    simulations.replay(logs, sigma, (disparity, away), options, json)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from smoothcert import __version__

        print(f"smoothcert {__version__}")
        raise typer.Exit
