"""The commands that make models, and the demo: their options."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli.completion import among
from smoothcert.cli.options import (
    Channels,
    Data,
    Device,
    Every,
    Grid,
    Json,
    Limit,
    Model,
    Out,
    Overwrite,
    Seed,
    Sigma,
    Size,
    Split,
    Target,
    Threads,
)


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
    from smoothcert.cli.machines import Device

    run_demo(data, out, quick, Device("cpu", threads), json)


def train(
    data: Data,
    sigma: Sigma,
    out: Out,
    overwrite: Overwrite = False,
    recipe: Annotated[
        str,
        typer.Option(
            help="quick (digits), short (CIFAR-10 on a CPU) or cohen2019.",
            autocompletion=among(vocabulary.RECIPES),
        ),
    ] = "quick",
    arch: Annotated[
        str | None,
        typer.Option(
            help="small_cnn or cifar_resnet20 (also 8, 14, 32, 44, 56, 110).",
            autocompletion=among(vocabulary.ARCHITECTURES),
        ),
    ] = None,
    split: Split = "train",
    grid: Grid = None,
    limit: Limit = None,
    every: Every = 1,
    size: Size = None,
    channels: Channels = None,
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

    source = DataSource(data, split, grid, limit, every, size, channels)
    chosen = models.recipe(
        recipe,
        sigma,
        seed,
        architecture=arch,
        epochs=epochs,
        batch=batch,
        rate=rate,
        consistency=consistency,
    )
    models.train(source, chosen, out, device, json, resume=resume, overwrite=overwrite)


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
    channels: Channels = None,
    seed: Seed = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file at --out, if there is one.")
    ] = False,
    json: Json = False,
) -> None:
    """Write an approximation of a model as a file the other commands read."""
    from smoothcert.cli import models
    from smoothcert.cli.sources import DataSource

    source = DataSource(data, split, grid, None, 1, size, channels) if data else None
    models.compress(model, to, out, source, test_split, sigma, seed, overwrite, json)
