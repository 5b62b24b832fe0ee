"""report, card and export: from run directories to what people open, paste or load."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from smoothcert.cli import display
from smoothcert.cli.screening import read_screened
from smoothcert.cli.sources import DataSource, parse_radii, recorded_source
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, SmoothcertError
from smoothcert.files import require_new_file, require_outside_runs
from smoothcert.report.card import model_card
from smoothcert.report.export import export as write_table
from smoothcert.report.page import PAGE
from smoothcert.report.page import report as write_report
from smoothcert.report.tables import summary_table
from smoothcert.runs import seed_use
from smoothcert.runs.store import Run
from smoothcert.text import many

_FILES = (".pdf", ".html", ".htm", ".png", ".svg", ".md", ".csv", ".tsv", ".json", ".tex", ".zip")


def report(
    paths: Sequence[str],
    out: Path,
    radii: str,
    screenings: Sequence[Path],
    as_json: bool,
    *,
    data: str | None,
    thumbnails: bool,
) -> None:
    """Write a report folder; print the summary of every run."""
    wanted = parse_radii(radii)
    _check_folder(out)
    screened = [certificate for path in screenings for certificate in read_screened(path)]
    runs = [Run.open(path) for path in paths]
    with display.waiting("Reading the data for thumbnails"):
        shown = _pictures(runs, data) if thumbnails else []
    with display.waiting("Writing the report"):
        summaries = write_report(runs, out, wanted, screened, shown)
    if as_json:
        shown = [asdict(s) | _cache(run) for s, run in zip(summaries, runs, strict=True)]
        display.show_json({"report": str(out), "runs": shown})
        return
    display.show_table(*summary_table(summaries))
    display.say(f"Written to {out}: open {out / PAGE}")


def _check_folder(out: Path) -> None:
    """Refuse a name that is plainly a file's, and a folder of which files would be replaced."""
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
            f"{out / there[0]} is no report's, and would be replaced. Give another --out."
        )


def _is_report(page: Path) -> bool:
    return b"smoothcert" in page.read_bytes()


def card(paths: Sequence[str], radii: str, model_index: bool, as_json: bool) -> None:
    """Print a section for a model card."""
    runs = [Run.open(path) for path in paths]
    text = model_card(runs, parse_radii(radii), model_index=model_index)
    if as_json:
        display.show_json({"card": text})
    else:
        print(text, end="")  # as it is: Markdown, not lines for a terminal


def export(paths: Sequence[str], out: Path, overwrite: bool, as_json: bool) -> None:
    """Write the certificates of runs as one table; print how many."""
    require_new_file(out, overwrite)
    with display.waiting("Writing the table"):
        table = write_table([Run.open(path) for path in paths], out)
    if as_json:
        display.show_json({"file": str(out), "runs": len(paths), "certificates": len(table)})
        return
    display.say(f"Written to {out}: {many(len(table), 'certificate')} of {many(len(paths), 'run')}")


def _cache(run: Run) -> dict[str, dict[str, int]]:
    """How often the cache of a run was asked, where that is known."""
    tries = seed_use.tries_of_run(run)
    return {"cache": tries.to_json(run.identity.model)} if tries else {}


def _pictures(runs: Sequence[Run], moved: str | None) -> list[Inputs]:
    """The data sets of the runs, as far as they are on this machine or named here."""
    found: dict[DataSource, Inputs] = {}
    for run in runs:
        try:
            source = recorded_source(run.manifest.origin, moved)
            if not (moved or _is_here(source.data)):
                where = f"its data is not at {source.data}; say where with --data"
                display.say(f"{run.name} is shown without thumbnails: {where}")
            elif source not in found:
                found[source] = source.load()
        except SmoothcertError as error:
            if moved:
                raise
            display.say(f"{run.name} is shown without thumbnails: {error}")
    return list(found.values())


def _is_here(data: str) -> bool:
    """Whether to read it costs no download: a run does not decide which addresses are asked."""
    return data == "digits" or ("://" not in data and Path(data).exists())
