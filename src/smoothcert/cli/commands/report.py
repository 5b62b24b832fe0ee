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
    from smoothcert.report.curves import Published
    from smoothcert.report.screened import Cost
    from smoothcert.runs.store import Run

_FILES = (".pdf", ".html", ".htm", ".png", ".svg", ".md", ".csv", ".tsv", ".json", ".tex", ".zip")

_Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the page to write.", show_default=False)
]
_Paper = Annotated[
    Path | None,
    typer.Option(
        "--paper",
        help="Folder of figures (PDF, SVG), LaTeX tables, CSV and captions to write.",
        metavar="FOLDER",
        show_default=False,
    ),
]
_Screened = Annotated[
    list[Path] | None,
    typer.Option(
        "--screened",
        help="Also show a file written by `screen --out`; may be repeated.",
        metavar="FILE",
    ),
]
_Published = Annotated[
    list[Path] | None,
    typer.Option(
        "--published",
        help="Also draw a published log in the field's TSV; may be repeated.",
        metavar="FILE",
    ),
]

_Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="New location of the data for thumbnails, if it has moved.",
        show_default="runs'",
    ),
]


def report(
    runs: options.RunPaths,
    out: _Out = None,
    paper: _Paper = None,
    radii: Annotated[str, typer.Option(help="Radii for certified accuracy.")] = "0,0.25,0.5,0.75,1",
    screened: _Screened = None,
    published: _Published = None,
    data: _Data = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="Show pictures of the inputs.")
    ] = True,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a page, or figures and tables for a paper, of one run or several.

    The page works offline. The tables are a CSV, and a TSV with the columns of Cohen et al. (2019).
    """
    from dataclasses import asdict

    from smoothcert.cli import console
    from smoothcert.cli.figures import between_json, show_figures
    from smoothcert.report import figures
    from smoothcert.report.naming import facts
    from smoothcert.report.page import report as write_report
    from smoothcert.report.paper import paper as write_paper
    from smoothcert.report.tables import summary_table
    from smoothcert.runs.store import Run

    wanted = options.parse_radii(radii)
    _check_folders(out, paper)
    _require_no_logs(runs)
    opened = [Run.open(path) for path in runs]
    certificates = _screenings(screened or [])
    logs = _logs(published or [])
    summaries = ()
    if out is not None:
        with console.waiting("Reading the data for thumbnails"):
            pictures = _pictures(opened, data) if thumbnails else []
        with console.waiting("Writing the report"):
            summaries = write_report(
                opened, out, wanted, certificates, pictures, certificates, logs
            )
    if paper is not None:
        with console.waiting("Writing figures and tables"):
            summaries = write_paper(opened, paper, wanted, certificates, logs)
    if json:
        shown = [
            facts(run) | asdict(s) | _cache(run) | figures.to_json(run, wanted)
            for s, run in zip(summaries, opened, strict=True)
        ]
        between = between_json(opened, summaries, wanted)
        folders = {"report": out and str(out)} | ({"paper": str(paper)} if paper else {})
        console.show_json(folders | {"runs": shown, **between})
        return
    console.show_table(*summary_table(summaries))
    show_figures(opened, summaries, wanted)
    _say_where(out, paper)


def _screenings(paths: list[Path]) -> "dict[DatasetCertificate, Cost]":
    """Dataset certificates, with size and speed of their models."""
    from smoothcert.cli.screening_costs import read_costs
    from smoothcert.cli.screenings import read_screenings

    return {
        one: cost for path in paths for one, cost in read_costs(path, read_screenings(path)).items()
    }


def _say_where(out: Path | None, paper: Path | None) -> None:
    from smoothcert.cli import console
    from smoothcert.report.page import PAGE

    if out is not None:
        console.say(f"Written to {out}: open {out / PAGE}")
    if paper is not None:
        console.say(f"Written to {paper}: captions.txt says what is there, example.tex shows it")


def _logs(paths: list[Path]) -> "list[Published]":
    """Published logs, with what is to be known of them."""
    from smoothcert.cli import console
    from smoothcert.simulation.logs import read_logs

    logs = read_logs(paths)
    for log in logs:
        console.note(f"{log.name}: {word}." for word in log.notes)
    return [log.published for log in logs]


def _require_no_logs(runs: "Sequence[str | Path]") -> None:
    """A log among the runs belongs behind an option: nothing of it is proven here."""
    from smoothcert.errors import InvalidInput

    for run in runs:
        if Path(run).is_file() and Path(run).suffix.lower() in (".tsv", ".csv", ".txt"):
            raise InvalidInput(f"{run} is no run directory. If it is a log: --published {run}")


def _check_folders(out: Path | None, paper: Path | None) -> None:
    from smoothcert.errors import InvalidInput
    from smoothcert.report.paper import require_paper_folder

    if out is None and paper is None:
        raise InvalidInput(
            "Say what to write: --out FOLDER for the page, --paper FOLDER for figures and tables, "
            "or both."
        )
    if out is not None and paper is not None and out.absolute() == paper.absolute():
        raise InvalidInput(f"--out and --paper are both {out}. Give two folders.")
    if out is not None:
        _check_folder(out)
    if paper is not None:
        _require_folder(paper, "--paper")
        require_paper_folder(paper)


def _require_folder(path: Path, option: str) -> None:
    """Refuse the name of a file."""
    from smoothcert.errors import InvalidInput

    if path.suffix.lower() in _FILES or (os.path.lexists(path) and not path.is_dir()):
        raise InvalidInput(
            f"{option} writes a folder of several files, and {path} names a file. Give a folder; "
            "for figures as PDF and tables as LaTeX use --paper FOLDER."
        )


def _check_folder(out: Path) -> None:
    """Refuse the name of a file, and a folder whose files would be replaced."""
    from smoothcert.errors import InvalidInput
    from smoothcert.files import require_outside_runs
    from smoothcert.report.page import PAGE

    _require_folder(out, "--out")
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
            source = recorded_source(run, moved)
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
