"""screen: what a cache proves of models on a whole data set; see `screenings`."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

_Accept = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        help="Target, such as 'ca@0.5>=40%', 'ca@0.5>=base-2%' or 'acr>=0.9*base', where base is "
        "what the original has certificates for: stop when it is decided, and exit with 3 unless "
        "it is proven for every model. May be repeated; then all must be proven.",
        metavar="TARGET",
        show_default=False,
    ),
]
_AcceptAny = Annotated[
    bool,
    typer.Option("--accept-any", help="Exit with 0 if --accept is proven for at least one model."),
]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on from the file of --out, where the time was over or it was stopped."
    ),
]


def screen(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", show_default=False)],
    base: options.Base,
    per_input: Annotated[
        int,
        typer.Option(
            "--per-input",
            help="Evaluations per eligible input.",
            parser=options.parse_count,
            metavar="INTEGER",
        ),
    ] = 100,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha",
            help="Family-wise error probability, of everything stated.",
            parser=options.parse_real,
            metavar="FLOAT",
        ),
    ] = 0.002,
    radii: Annotated[str, typer.Option(help="Radii to bound more tightly.")] = "",
    accept: _Accept = None,
    accept_any: _AcceptAny = False,
    form: Annotated[
        str | None,
        typer.Option(
            help="Bound the other classes binary (replay the class's draws), by runner-up (replay "
            "draws of all kinds), or auto.",
            show_default="as the original",
            autocompletion=options.complete(vocabulary.EXACT_FORMS),
        ),
    ] = None,
    data: options.MovedData = None,
    out: Annotated[Path | None, typer.Option(help="Also write the certificates as JSON.")] = None,
    overwrite: options.Overwrite = False,
    minutes: options.Minutes = None,
    resume: _Resume = False,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    batch_size: options.BatchSize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Bound accuracy and mean radius of models on the whole data set.

    It takes fewer draws than certifying every input, and certifies no single one.
    """
    from smoothcert.cli import console, screenings
    from smoothcert.cli.resources import Compute, Device

    compute = Compute(Device(device, threads), workers, cluster)
    after = (batch_size, form, out, overwrite, accept_any, minutes, resume)
    rest = (per_input, alpha, radii, accept or (), *after)
    asked = screenings.ScreeningArguments(tuple(models), base, data, *rest)
    with console.warnings_as_lines():
        screenings.screen(asked, compute, json)
