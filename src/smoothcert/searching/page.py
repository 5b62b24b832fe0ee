"""A search as a page and a table: cost against what is proven, of all candidates."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from smoothcert.files import write_whole
from smoothcert.methods.targets import MeanRadius, Target
from smoothcert.report.axes import Axis
from smoothcert.searching.explored import figure_of
from smoothcert.searching.found import Found, Row
from smoothcert.text import delimited, floor_to, level, percent

_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 544.0, 12.0, 292.0
UNITS = {"size": "bytes as stored", "latency": "seconds a row", "energy-proxy": "picojoules a row"}
_BETTER = {"size": "smaller", "latency": "faster", "energy-proxy": "cheaper"}


@dataclass(frozen=True)
class Point:
    """A candidate on the chart.

    Attributes:
        x: of its cost, in pixels.
        low: of what is proven; None if it was only explored.
        high: of what is expected.
        winner: whether it is the winner.
        text: what it is, in words.
    """

    x: float
    low: float | None
    high: float
    winner: bool
    text: str


def write_pages(found: Found, folder: Path) -> None:
    """Write `index.html` and `pareto.csv`."""
    write_whole(folder / "index.html", html(found).encode())
    write_whole(folder / "pareto.csv", pareto(found).encode())


def html(found: Found) -> str:
    """The page as text."""
    points, x, y, floor = _chart(found)
    shown = {
        "style": Markup((files("smoothcert.report") / "page.css").read_text()),
        "sentence": sentence(found),
        "found": found,
        "level": level(found.screening.alpha),
        "points": points,
        "x": x,
        "y": y,
        "floor": floor,
        "heads": heads(found),
        "latency": milliseconds(found.seconds),
        "rows": [cells(found, row) for row in found.rows],
    }
    text = (files("smoothcert.searching") / "page.html.j2").read_text()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(text).render(shown)


def pareto(found: Found) -> str:
    """The table of all candidates as CSV, by cost."""
    names = "word,candidate,bytes,cost,seconds,flips_explored,draws_explored,expected,proven"
    rows: list[list[object]] = [[*names.split(","), "verdict", "evaluations", "winner"]]
    for row in found.rows:
        one = row.certificate
        facts = ["", "", ""]
        if one is not None:
            verdict = one.verdict_name.lower()
            facts = [f"{figure_of(one, found.target):.6f}", verdict, str(one.evaluations)]
        seen = [row.flips, row.draws, f"{row.expected:.6f}"]
        seconds = "" if row.seconds is None else repr(row.seconds)
        plain = [row.word, row.target, row.size, repr(row.cost), seconds, *seen, *facts]
        rows.append([*plain, int(found.best is row)])
    return delimited(rows)


def _chart(found: Found) -> tuple[list[Point], Axis, Axis, float]:
    """Points, axes, and the pixel of what is asked for."""
    target = found.target
    least = target.accuracy if isinstance(target, Target) else float(target.least)
    costs = [row.cost for row in found.rows] or [1.0]
    proven = {row.word: _proven(found, row) for row in found.rows}
    tops = [least, *(row.expected for row in found.rows), *(v for v in proven.values() if v)]
    label = f"{found.objective} ({UNITS[found.objective]})"
    wide = min(costs) * 0.9, max(*costs, found.original[1]) * 1.1
    x = Axis(label, *wide, _LEFT, _RIGHT, log=True)
    low = min([least, *(row.expected for row in found.rows), *(v for v in proven.values() if v)])
    y = Axis(name_of(target), low * 0.9, max(tops) * 1.02, _BOTTOM, _TOP)
    points = []
    for row in found.rows:
        value = proven[row.word]
        said = "explored only" if value is None else f"proven {value:.4f}"
        text = f"{title_of(found, row)}: {row.size:,} bytes, {said}, expected {row.expected:.4f}"
        text += "" if row.seconds is None else f", {milliseconds(row.seconds)} ms a row"
        low = None if value is None else y.at(value)
        points.append(Point(x.at(row.cost), low, y.at(row.expected), found.best is row, text))
    return points, x, y, y.at(least)


def name_of(target: Target | MeanRadius) -> str:
    """What a target is about."""
    if isinstance(target, Target):
        return f"certified accuracy at {target.radius:g}"
    return "average certified radius"


def _proven(found: Found, row: Row) -> float | None:
    return None if row.certificate is None else figure_of(row.certificate, found.target)


def heads(found: Found) -> list[str]:
    """Of the table of candidates."""
    cost = [UNITS[found.objective]] if found.objective == "energy-proxy" else []
    times = f"times {_BETTER[found.objective]}"
    costs = ["bytes", "ms a row", *cost, times]
    return ["candidate", "verdict", "bits", *costs, "proven", "evaluations"]


def cells(found: Found, row: Row) -> list[str]:
    """A candidate's row of the table."""
    one = row.certificate
    verdict = (one.verdict_name.lower() if one else "") or "explored only"
    return [
        title_of(found, row) + (" (winner)" if found.best is row else ""),
        verdict,
        str(len(row.word)),
        f"{row.size:,}",
        milliseconds(row.seconds),
        *([f"{row.cost:.4g}"] if found.objective == "energy-proxy" else []),
        f"{found.original[1] / row.cost:.2f}",
        proven(row),
        f"{one.evaluations:,}" if one else "",
    ]


def milliseconds(seconds: float | None) -> str:
    """A latency for tables; empty where none was measured."""
    return "" if seconds is None else f"{1e3 * seconds:.3g}"


def title_of(found: Found, row: Row) -> str:
    """A candidate in a few words."""
    return found.language.candidate(row.word).title


def proven(row: Row) -> str:
    """What the certificate of a candidate states at its targets."""
    one = row.certificate
    if one is None:
        return ""
    count = one.pool.inputs
    named = [f"CA@{n.radius:g} ≥ {percent(n.robust / count, count)}" for n in one.named]
    return ", ".join([*named, f"ACR ≥ {floor_to(one.acr, 4)}"])


def sentence(found: Found) -> str:
    """What was found, in words."""
    asked = " and ".join(map(str, found.screening.targets))
    best, nearest = found.best, found.nearest
    so_far = "" if found.finished else " so far"
    if best is not None:
        what = _BETTER[found.objective]
        if best.cost >= found.original[1]:
            return f"Nothing {what} than the original was proven{so_far} to have {asked}."
        times = f"{found.original[1] / best.cost:.2f} times {what}"
        return f"Proven{so_far}: {title_of(found, best)}, {times} than the original, has {asked}."
    if nearest is None:
        why = "yet" if so_far else "with this budget"
        return f"Not proven{so_far}: no candidate could be certified {why} ({asked})."
    advice = "" if so_far else " Ask for less, or allow a larger --budget."
    return (
        f"Not proven{so_far}: {asked}. The nearest that was certified is "
        f"{title_of(found, nearest)}, with {proven(nearest)}.{advice}"
    )
