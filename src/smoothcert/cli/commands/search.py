"""search: the smallest compressed model that is proven to be robust enough; see `searches`."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

_MAKERS = 4
"""Processes at most unless more are asked for: each has its own torch."""

_Accept = Annotated[
    list[str],
    typer.Option(
        "--accept",
        help="What the model must be proven to keep, such as 'ca@0.5>=0.95*base' or "
        "'acr>=0.9*base'. May be repeated; then all must be proven.",
        metavar="TARGET",
        show_default=False,
    ),
]
_Objective = Annotated[
    str,
    typer.Option(
        help="What to make small: size (bytes as stored), latency (measured here, in ONNX "
        "Runtime) or energy-proxy.",
        autocompletion=options.complete(vocabulary.OBJECTIVES),
    ),
]
_Budget = Annotated[
    int,
    typer.Option(
        "--budget",
        help="Evaluations of all candidates together.",
        parser=options.parse_count,
        metavar="INTEGER",
    ),
]
_Calibration = Annotated[
    str | None,
    typer.Option(
        help="Other data of the same kind, to calibrate and train on.",
        show_default="split train of the base's data",
    ),
]
_PerInput = Annotated[
    str | None,
    typer.Option(
        "--per-input",
        help="Also certify the winner input by input, with this policy of recertify, such as "
        "retain:0.9, at the winner's share of --alpha.",
        show_default=False,
    ),
]
_Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        help="Stop after this time and show what is proven so far; --resume goes on. Exit with 5.",
        metavar="MINUTES",
        parser=options.parse_real,
        show_default=False,
    ),
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the search in --out that was stopped.")
]
_Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", help="Processes that make candidates.", show_default="one per core, at most 4"
    ),
]


def search(
    model: options.Model,
    base: options.Base,
    accept: _Accept,
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    objective: _Objective = "size",
    budget: _Budget = 200_000,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha",
            help="Error probability of everything that is stated of all candidates.",
            parser=options.parse_real,
            metavar="FLOAT",
        ),
    ] = 0.002,
    calibration: _Calibration = None,
    per_input: _PerInput = None,
    data: options.MovedData = None,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    workers: _Workers = None,
    batch_size: options.BatchSize = None,
    minutes: _Minutes = None,
    resume: _Resume = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Search for the smallest model proven to keep what is asked for."""
    from smoothcert.cli import console, searches
    from smoothcert.cores import cores
    from smoothcert.searching.find import SearchOptions

    makers = min(cores(), _MAKERS) if workers is None else workers
    after = {"batch_size": batch_size, "minutes": minutes, "resume": resume, "workers": makers}
    how = SearchOptions(objective, budget, alpha, seed=seed, **after)
    asked = searches.SearchArguments(model, base, tuple(accept), out, calibration, data, per_input)
    with console.warnings_as_lines():
        searches.search(asked, how, threads, json)
