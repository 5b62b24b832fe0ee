"""export: the certificates of one run or several as one table."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert.cli import options


def export(
    runs: options.RunPaths,
    out: Annotated[
        Path,
        typer.Option(
            help="File to write; its suffix sets the format: .parquet, .csv or .tsv.",
            show_default=False,
        ),
    ],
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write all certificates of one run or several as one table."""
    from smoothcert.cli import console
    from smoothcert.files import require_new_file
    from smoothcert.report.export import export as write_table
    from smoothcert.runs.store import Run
    from smoothcert.text import many

    require_new_file(out, overwrite)
    with console.waiting("Writing the table"):
        table = write_table([Run.open(path) for path in runs], out)
    if json:
        console.show_json({"file": str(out), "runs": len(runs), "certificates": len(table)})
        return
    console.say(f"Written to {out}: {many(len(table), 'certificate')} of {many(len(runs), 'run')}")
