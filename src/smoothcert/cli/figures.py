"""Tables of what runs say beyond their average radius, as `report` prints them."""

from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np

from smoothcert.cli import console
from smoothcert.report.claims import of_alphas, of_comparisons, of_new_inputs, of_sample
from smoothcert.report.comparison import Comparison, comparisons, family, p_of
from smoothcert.report.figures import (
    BETA,
    ByDraws,
    by_draws,
    new_inputs,
    new_mean,
    rank_changes,
    seeds,
)
from smoothcert.report.tables import NAMELESS, filled
from smoothcert.runs.store import Run
from smoothcert.summary import SeedSpread, Spread, Summary
from smoothcert.text import ceil_to, floor_to, percent, visible


def show_figures(runs: Sequence[Run], summaries: Sequence[Summary], radii: Sequence[float]) -> None:
    """Print what an average hides, what runs differ in, and means over seeds."""
    facts = ((run.identity.settings, run.identity.method, run.certificates) for run in runs)
    for said in dict.fromkeys(filter(None, (of_alphas(*each) for each in facts))):
        console.say(said)
    _show_each(runs, summaries, radii)
    _show_comparisons(comparisons(runs, radii))
    _show_seeds(seeds(runs, summaries), _names(summaries))
    models = {visible(run.name): run.identity.model for run in runs}
    for change in rank_changes(_curves(runs)):
        if models[change.ahead] != models[change.behind]:
            console.say(
                f"{change.ahead} is ahead of {change.behind} in ACR from about {change.since:,} "
                f"estimation draws on; with some smaller number {change.behind} is."
            )


def between_json(
    runs: Sequence[Run], summaries: Sequence[Summary], radii: Sequence[float]
) -> dict[str, Any]:
    """Comparisons of runs and spreads over seeds, as plain values."""
    return {
        "comparisons": [asdict(found) for found in comparisons(runs, radii)],
        "seeds": [asdict(spread) for spread in seeds(runs, summaries)],
        "rank_changes": [asdict(change) for change in rank_changes(_curves(runs))],
    }


def _curves(runs: Sequence[Run]) -> list[ByDraws]:
    return [curve for run in runs if (curve := by_draws(run, ())) is not None]


def _names(summaries: Sequence[Summary]) -> tuple[str, str]:
    """Of the average radius and the shares; nothing is called accuracy where no label is known."""
    return ("ACR", "CA") if any(s.unlabelled < s.inputs for s in summaries) else NAMELESS


def _show_each(runs: Sequence[Run], summaries: Sequence[Summary], radii: Sequence[float]) -> None:
    """Medians, abstentions, radii at the cap; and limits for new inputs."""
    names = _names(summaries)
    heads = ["run", "abstains", "misclassified", "at the cap", "median"]
    heads += [f"new {name} ≥" for name in (names[0], *(f"{names[1]}@{r:g}" for r in radii))]
    limits = [[new_mean(run), *(one.robust for one in new_inputs(run, radii))] for run in runs]
    proven = np.any(limits, axis=0)  # a column of zeros says nothing
    rows = []
    for s, found in zip(summaries, limits, strict=True):
        wrong = _percent_above(s.wrong, s.inputs) if s.unlabelled < s.inputs else ""
        cells = [_percent_above(s.abstained, s.inputs), wrong]
        cells += [percent(s.capped / s.inputs, s.inputs), floor_to(s.median, 4)]
        shares = [floor_to(found[0], 4), *(f"{floor_to(100 * s, 1)} %" for s in found[1:])]
        rows.append([s.name, *cells, *np.where(proven, shares, "").tolist()])
    console.show_table(*filled(heads, rows))
    console.say("At the cap: all draws agree, so n and alpha limit the radius.")
    if proven.any():
        console.say(f"New: {of_new_inputs(BETA, names != NAMELESS)}.")


def _show_comparisons(compared: Sequence[Comparison]) -> None:
    """Print what became of certificates, at the first of the radii."""
    if not compared:
        return
    rows, several = [], family(compared)
    for found in compared:
        change = found.changes[0]
        counts = [str(count) for count in (change.kept, change.lost, change.gained)]
        rows.append([found.second, found.first, *counts, p_of(found, change, several)])
    heads = ["run", "compared with", "kept", "lost", "gained", "p"]
    console.show_table(heads, rows, f"Certificates at radius {compared[0].changes[0].radius:g}")
    if len(compared[0].changes) > 1:
        console.say("The page, --paper and --json have the other radii.")
    console.say(of_comparisons(compared))
    for inputs in dict.fromkeys(found.inputs for found in compared):
        console.say(of_sample(inputs))


def _show_seeds(spreads: Sequence[SeedSpread], names: tuple[str, str]) -> None:
    """Print means over seeds."""
    if not spreads:
        return
    radii = [radius for radius, _ in spreads[0].accuracy]
    rows = [
        [
            ", ".join(spread.names),
            _spread(spread.acr, 1, 4),
            *(_spread(one, 100, 1) for _, one in spread.accuracy),
        ]
        for spread in spreads
    ]
    heads = ["seeds", names[0], *(f"{names[1]}@{radius:g} in %" for radius in radii)]
    console.show_table(heads, rows, "Mean ± standard deviation over seeds of the noise")
    console.say("This is how runs differ by their draws alone, and no confidence interval.")


def _percent_above(count: int, inputs: int) -> str:
    return f"{ceil_to(Fraction(100 * count, inputs), 1)} %"


def _spread(spread: Spread, scale: float, digits: int) -> str:
    return f"{floor_to(spread.mean * scale, digits)} ± {spread.deviation * scale:.{digits}f}"
