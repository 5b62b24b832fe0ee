"""simulate: recertification on published logs, without any model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

if TYPE_CHECKING:
    from smoothcert.simulation.curves import Curve
    from smoothcert.simulation.simulate import Simulation

_Logs = Annotated[
    list[Path],
    typer.Argument(
        metavar="LOG...",
        help="Tables with the columns label, predict and radius, or patterns of their names.",
        show_default=False,
    ),
]
_LogN = Annotated[
    int | None,
    typer.Option(
        "--log-n",
        help="Estimation draws that the logs were made with.",
        parser=options.parse_count,
        metavar="INTEGER",
        show_default="as logged, or 100,000",
    ),
]
_LogAlpha = Annotated[
    float | None,
    typer.Option(
        "--log-alpha",
        help="Error of the logs' certificates.",
        parser=options.parse_real,
        metavar="FLOAT",
        show_default="as logged, or 0.001",
    ),
]


def simulate(
    logs: _Logs,
    disparity: Annotated[float, typer.Option(help="Mean probability of a changed label.")] = 0.01,
    away: Annotated[float, typer.Option(help="Share of the changes that leave the class.")] = 0.5,
    sigma: Annotated[
        float | None,
        typer.Option(help="Noise of the logs.", show_default="from the file or its name"),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Cached draws per image.")] = 10_000,
    log_n: _LogN = None,
    log_alpha: _LogAlpha = None,
    accounting: Annotated[
        str,
        typer.Option(
            help="all: every evaluation; published: as in the 2024 tables.",
            autocompletion=options.complete(vocabulary.ACCOUNTINGS),
        ),
    ] = "all",
    repetitions: Annotated[int, typer.Option(help="Simulations to average.")] = 3,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """SIMULATE recertification on published logs, without any model."""
    import time

    from smoothcert.cli import console
    from smoothcert.errors import InvalidInput
    from smoothcert.simulation.logs import read_logs
    from smoothcert.simulation.simulate import NOTICE, Study
    from smoothcert.simulation.simulate import simulate as simulate_log
    from smoothcert.simulation.world import FlipModel

    if not logs:
        raise InvalidInput("Give at least one log, a TSV file with the columns of Cohen et al.")
    flips = FlipModel(disparity, away)
    study = Study(flips, n, accounting=accounting, repetitions=repetitions, seed=seed)
    found = []
    for log in read_logs(logs, sigma, log_n, log_alpha):
        start = time.perf_counter()
        console.note(f"{log.name}: {word}." for word in log.notes)
        with console.waiting(f"Simulating on {log.name}"):
            found.append(simulate_log(log, study))
        if not json:
            _show(found[-1])
            console.say(f"{NOTICE} ({time.perf_counter() - start:.0f} s)\n")
    if json:
        console.show_json([simulation.to_json() for simulation in found])


def _show(simulation: "Simulation") -> None:
    from smoothcert.cli import console
    from smoothcert.text import floor_to

    log, study = simulation.log, simulation.study
    what = (
        f"SIMULATED on {log.name}: {log.images} images, σ = {log.sigma:g}, n = {study.n:,}, "
        f"mean disparity {study.flips.disparity:g}"
    )
    ratios = simulation.ratios
    rows = [_row(simulation.baseline.method, 1.0, simulation.baseline)]
    rows += [_row(curve.method, ratios[curve.method], curve) for curve in simulation.curves]
    heads = ["method", "area ratio", "evaluations", "ACR", "evaluations", "ACR"]
    console.show_table(heads, rows, what)
    screened = [
        [
            f"{row.per_input}",
            f"{row.evaluations:,.0f}",
            floor_to(row.acr, 4),
            "" if row.from_scratch is None else f"{row.from_scratch:,.0f}",
            "" if row.times is None else f"{row.times:.0f}x",
        ]
        for row in simulation.screened
    ]
    heads = ["per image", "evaluations", "ACR of the data set", "from scratch needs", "fewer"]
    console.show_table(heads, screened, "SIMULATED dataset certificates")


def _row(method: str, ratio: float | None, curve: "Curve") -> list[str]:
    """The curve's first point and its last."""
    from smoothcert.text import floor_to

    ends = []
    for point in (0, -1):
        ends += [f"{curve.evaluations[point]:,.0f}", floor_to(float(curve.acr[point]), 4)]
    return [method, "" if ratio is None else f"{ratio:.2f}x", *ends]
