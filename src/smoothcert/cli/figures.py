"""Tables of what runs say beyond their average radius, as `report` prints them."""

from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from smoothcert.cli import console
from smoothcert.report.claims import of_comparison, of_new_inputs, of_sample
from smoothcert.report.comparison import Comparison, comparisons
from smoothcert.report.figures import BETA, ByDraws, by_draws, new_inputs, rank_changes, seeds
from smoothcert.report.tables import NAMELESS, filled
from smoothcert.runs.store import Run
from smoothcert.summary import SeedSpread, Spread, Summary
from smoothcert.text import ceil_to, floor_to, level, percent, visible


def show_figures(runs: Sequence[Run], summaries: Sequence[Summary], radii: Sequence[float]) -> None:
    """Print what an average hides, what runs differ in, and means over seeds."""
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
    heads = ["run", "abstains", "wrong", "at the cap", "median"]
    heads += [f"new {names[1]}@{radius:g} ≥" for radius in radii]
    rows = []
    for run, s in zip(runs, summaries, strict=True):
        counts = [_percent_above(count, s.inputs) for count in (s.abstained, s.wrong)]
        counts.append(percent(s.capped / s.inputs, s.inputs))
        limits = [f"{floor_to(one.robust * 100, 1)} %" for one in new_inputs(run, radii)]
        counts[1] = counts[1] if s.unlabelled < s.inputs else ""
        rows.append([s.name, *counts, floor_to(s.median, 4), *limits])
    console.show_table(*filled(heads, rows))
    console.say(
        "At the cap: all draws agree, so n and alpha limit the radius. New: "
        f"{of_new_inputs(BETA, names != NAMELESS)}."
    )


def _show_comparisons(compared: Sequence[Comparison]) -> None:
    """Print what became of certificates, at the first of the radii."""
    if not compared:
        return
    rows = []
    for found in compared:
        change = found.changes[0]
        counts = [str(count) for count in (change.kept, change.lost, change.gained)]
        about = "" if found.exact else "about "
        rows.append([found.second, found.first, *counts, f"{about}{level(change.p_value)}"])
    heads = ["run", "compared with", "kept", "lost", "gained", "p"]
    console.show_table(heads, rows, f"Certificates at radius {compared[0].changes[0].radius:g}")
    if len(compared) > 1:
        console.say(
            f"These are {len(compared)} tests: at {compared[0].level:g} for all of them together, "
            f"a p counts up to {compared[0].level:g}/{len(compared)}."
        )
    sentences = [of_comparison(found) for found in compared]
    for said in dict.fromkeys([*sentences, *(of_sample(found.inputs) for found in compared)]):
        console.say(said)


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
