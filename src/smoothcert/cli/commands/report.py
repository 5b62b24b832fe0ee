"""report: a page, figures and tables of one run or several."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoothcert.data.inputs import Inputs
    from smoothcert.methods.dataset import DatasetCertificate
    from smoothcert.report.screened import Cost
    from smoothcert.runs.store import Run

_FILES = (".pdf", ".html", ".htm", ".png", ".svg", ".md", ".csv", ".tsv", ".json", ".tex", ".zip")


def report(
    runs: options.RunPaths,
    out: options.Out,
    radii: Annotated[str, typer.Option(help="Radii for certified accuracy.")] = "0,0.25,0.5,0.75,1",
    screened: Annotated[
        list[Path] | None,
        typer.Option(
            "--screened",
            help="Also show a file written by `screen --out`; may be repeated.",
            metavar="FILE",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="New location of the data for thumbnails, if it has moved.", show_default="runs'"
        ),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="Show pictures of the inputs.")
    ] = True,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write one self-contained page, figures, a CSV and the field's TSV for one run or several."""
    from dataclasses import asdict

    from smoothcert.cli import console
    from smoothcert.cli.figures import between_json, show_figures
    from smoothcert.report import figures
    from smoothcert.report.page import PAGE
    from smoothcert.report.page import report as write_report
    from smoothcert.report.tables import summary_table
    from smoothcert.runs.store import Run

    wanted = options.parse_radii(radii)
    _check_folder(out)
    certificates = _screened(screened or ())
    opened = [Run.open(path) for path in runs]
    with console.waiting("Reading the data for thumbnails"):
        pictures = _pictures(opened, data) if thumbnails else []
    with console.waiting("Writing the report"):
        summaries = write_report(opened, out, wanted, certificates, pictures, certificates)
    if json:
        shown = [
            asdict(s) | _cache(run) | figures.to_json(run, wanted)
            for s, run in zip(summaries, opened, strict=True)
        ]
        between = between_json(opened, summaries, wanted)
        console.show_json({"report": str(out), "runs": shown, **between})
        return
    console.show_table(*summary_table(summaries))
    show_figures(opened, summaries, wanted)
    console.say(f"Written to {out}: open {out / PAGE}")


def _screened(paths: "Sequence[Path]") -> "dict[DatasetCertificate, Cost]":
    """Dataset certificates from files, with size and speed of their models."""
    from smoothcert.cli.screening_costs import read_costs
    from smoothcert.cli.screenings import read_screenings

    found: dict[DatasetCertificate, Cost] = {}
    for path in paths:
        found |= read_costs(path, read_screenings(path))
    return found


def _check_folder(out: Path) -> None:
    """Refuse the name of a file, and a folder whose files would be replaced."""
    from smoothcert.errors import InvalidInput
    from smoothcert.files import require_outside_runs
    from smoothcert.report.page import PAGE

    if out.suffix.lower() in _FILES or (os.path.lexists(out) and not out.is_dir()):
        raise InvalidInput(
            f"A report is a folder of several files, and {out} names a file. Give a folder with "
            "--out; the page in it can be printed to PDF."
        )
    if (out / "run.json").exists():
        raise InvalidInput(f"{out} is a run directory. Give a folder of its own with --out.")
    require_outside_runs(out)
    there = [name for name in (PAGE, "certificates.csv") if (out / name).exists()]
    if there == ["certificates.csv"] or (there and not _is_report(out / PAGE)):
        raise InvalidInput(
            f"{out / there[0]} does not belong to a report and would be replaced. Give "
            "another --out."
        )


def _is_report(page: Path) -> bool:
    return b"smoothcert" in page.read_bytes()


def _cache(run: "Run") -> dict[str, dict[str, int]]:
    """How often the cache of a run was asked, where that is known."""
    from smoothcert.runs import seed_use

    tries = seed_use.tries_of_run(run)
    return {"cache": tries.to_json(run.identity.model)} if tries else {}


def _pictures(runs: "Sequence[Run]", moved: str | None) -> "list[Inputs]":
    """The data sets of the runs, as far as they are on this machine or named here."""
    from smoothcert.cli import console
    from smoothcert.cli.data_source import DataSource, recorded_source
    from smoothcert.data.inputs import Inputs
    from smoothcert.errors import SmoothcertError

    found: dict[DataSource, Inputs] = {}
    for run in runs:
        try:
            source = recorded_source(run.manifest.origin, moved)
            if not (moved or _is_here(source.data)):
                reason = f"its data is not at {source.data}; say where with --data"
                console.say(f"{run.name} is shown without thumbnails: {reason}")
            elif source not in found:
                found[source] = source.load()
        except SmoothcertError as error:
            if moved:
                raise
            console.say(f"{run.name} is shown without thumbnails: {error}")
    return list(found.values())


def _is_here(data: str) -> bool:
    """Whether to read it costs no download: a run does not decide which addresses are asked."""
    return data == "digits" or ("://" not in data and Path(data).exists())
