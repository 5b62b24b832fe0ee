"""replay: simulated certification and recertification on published logs."""

import time
from collections.abc import Sequence
from pathlib import Path

from smoothcert.cli import display
from smoothcert.errors import InvalidInput
from smoothcert.simulation.curves import Curve
from smoothcert.simulation.logs import read_log
from smoothcert.simulation.simulate import NOTICE, Simulation, Study
from smoothcert.simulation.simulate import simulate as simulated
from smoothcert.simulation.world import FlipModel
from smoothcert.text import floor_to


def simulate(
    logs: Sequence[Path],
    sigma: float | None,
    flips: FlipModel,
    as_json: bool,
    *,
    n: int,
    accounting: str,
    repetitions: int,
    seed: int,
) -> None:
    """Simulate on every log; print curves, area ratios and dataset certificates."""
    if not logs:
        raise InvalidInput("Give at least one log in the field's TSV format.")
    study = Study(flips, n, accounting=accounting, repetitions=repetitions, seed=seed)
    found = []
    for path in logs:
        start = time.perf_counter()
        with display.waiting(f"Simulating on {path.name}"):
            found.append(simulated(read_log(path, sigma), study))
        if not as_json:
            _show(found[-1])
            display.say(f"{NOTICE} ({time.perf_counter() - start:.0f} s)\n")
    if as_json:
        display.show_json([simulation.to_json() for simulation in found])


def _show(simulation: Simulation) -> None:
    log, study = simulation.log, simulation.study
    what = (
        f"SIMULATED on {log.name}: {log.images} images, σ = {log.sigma:g}, n = {study.n:,}, "
        f"mean disparity {study.flips.disparity:g}"
    )
    ratios = simulation.ratios
    rows = [_row(simulation.baseline.method, 1.0, simulation.baseline)]
    rows += [_row(curve.method, ratios[curve.method], curve) for curve in simulation.curves]
    heads = ["method", "area ratio", "evaluations", "ACR", "evaluations", "ACR"]
    display.show_table(heads, rows, what)
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
    display.show_table(heads, screened, "SIMULATED dataset certificates")


def _row(method: str, ratio: float | None, curve: Curve) -> list[str]:
    """The curve's first point and its last."""
    ends = []
    for point in (0, -1):
        ends += [f"{curve.evaluations[point]:,.0f}", floor_to(float(curve.acr[point]), 4)]
    return [method, "" if ratio is None else f"{ratio:.2f}x", *ends]
