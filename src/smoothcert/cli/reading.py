"""The commands that read runs and logs, and their options."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli.completion import among
from smoothcert.cli.options import (
    Device,
    Json,
    Out,
    Overwrite,
    RunOut,
    Runs,
    Seed,
    Threads,
)


def report(
    runs: Runs,
    out: Out,
    radii: Annotated[str, typer.Option(help="Radii for certified accuracy.")] = "0,0.25,0.5,0.75,1",
    screened: Annotated[
        list[Path] | None,
        typer.Option(help="Also show what `screen --out` wrote; may be repeated.", metavar="FILE"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data for thumbnails, if it moved.", show_default="runs'")
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="Show pictures of the inputs.")
    ] = True,
    json: Json = False,
) -> None:
    """Write one self-contained page, figures, a CSV and the field's TSV for one run or several."""
    from smoothcert.cli import reports

    reports.report(runs, out, radii, screened or (), json, data=data, thumbnails=thumbnails)


def model_card(
    runs: Runs,
    radii: Annotated[str, typer.Option(help="Radii for certified accuracy.")] = "0,0.25,0.5",
    model_index: Annotated[
        bool,
        typer.Option("--model-index", help="Begin with Hugging Face's metadata for model cards."),
    ] = False,
    json: Json = False,
) -> None:
    """Print a section for a model card: figures, what they say, and how to check them."""
    from smoothcert.cli import reports

    reports.card(runs, radii, model_index, json)


def export(
    runs: Runs,
    out: Annotated[
        Path,
        typer.Option(
            help="File to write, by its suffix: .parquet, .csv, .tsv.", show_default=False
        ),
    ],
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write all certificates of one run or several as one table."""
    from smoothcert.cli import reports

    reports.export(runs, out, overwrite, json)


def merge(
    runs: Runs,
    out: RunOut,
    json: Json = False,
) -> None:
    """Put the parts of one run together that shards wrote into different directories."""
    from smoothcert.cli import runs as actions

    actions.merge(runs, out, json)


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
    """Recompute what a run, or a file by `screen --out`, proves, and say what is not checked."""
    from smoothcert.cli import runs, screened
    from smoothcert.cli.machines import Device

    on = Device(device, threads)
    if run.endswith(".json") and Path(run).name != "run.json":
        screened.verify(Path(run), replay, on, json, model=model, data=data, base=base)
    else:
        runs.verify(run, replay, on, json, model=model, data=data, base=base)


def doctor(json: Json = False) -> None:
    """Say what is installed, what computes here, what is missing and the command that fixes it."""
    from smoothcert.cli.doctor import doctor as look

    look(json)


def simulate(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", show_default=False)],
    disparity: Annotated[float, typer.Option(help="Mean probability of a changed label.")] = 0.01,
    away: Annotated[float, typer.Option(help="Share of the changes that leave the class.")] = 0.5,
    sigma: Annotated[
        float | None, typer.Option(help="Noise of the logs.", show_default="from the file's name")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Cached draws per image.")] = 10_000,
    accounting: Annotated[
        str,
        typer.Option(
            help="all: every evaluation; published: as in the 2024 tables.",
            autocompletion=among(vocabulary.ACCOUNTINGS),
        ),
    ] = "all",
    repetitions: Annotated[int, typer.Option(help="Simulations to average.")] = 3,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """SIMULATE recertification on published per-image logs, without any model."""
    from smoothcert.cli import simulations
    from smoothcert.simulation.world import FlipModel

    simulations.simulate(
        logs,
        sigma,
        FlipModel(disparity, away),
        json,
        n=n,
        accounting=accounting,
        repetitions=repetitions,
        seed=seed,
    )
