"""The page: one file that needs no network and stays under two megabytes whatever it shows."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from smoothcert.data.inputs import Inputs
from smoothcert.methods import alpha_of
from smoothcert.methods.dataset import DatasetCertificate, ranked, screenings
from smoothcert.report import details, thumbnails
from smoothcert.report.axes import Line
from smoothcert.report.charts import Charts
from smoothcert.report.citations import citations
from smoothcert.report.claims import CLAIM, all_together, beside_grid, of_alphas, tried
from smoothcert.report.comparison import Pair, pairs
from smoothcert.report.curves import Together
from smoothcert.report.head import head
from smoothcert.report.naming import candidate_names, class_names, data_name
from smoothcert.report.overview import overview
from smoothcert.report.predicted import class_name, predicted
from smoothcert.report.rows import Rows, even, rows
from smoothcert.report.screened import Cost, Original
from smoothcert.report.spending import by_share, parts
from smoothcert.report.thumbnails import Sheet
from smoothcert.runs import seed_use
from smoothcert.runs.manifest import json_form
from smoothcert.runs.replaying import machine
from smoothcert.runs.store import Run
from smoothcert.summary import Summary
from smoothcert.text import ceil_to, floor_to, level, many, percent, visible
from smoothcert.vocabulary import RESULTS

MOST_BYTES = 2_000_000
"""Size limit of the page: rows are thinned out until it is smaller."""
_MOST_PICTURES_BYTES = 450_000
_MOST_PICTURES = 1500


@dataclass(frozen=True)
class Content:
    """What a report is about.

    Attributes:
        runs: finished runs.
        summaries: one for each run.
        radii: radii at which certified accuracy is listed.
        charts: all of the page.
        together: what each run proves over all its inputs.
        screened: dataset certificates of candidates.
        pictures: data sets for thumbnails; may be empty.
        costs: size, speed and original's run of screened candidates, where known.
    """

    runs: tuple[Run, ...]
    summaries: tuple[Summary, ...]
    radii: tuple[float, ...]
    charts: Charts
    together: tuple[Together, ...]
    screened: tuple[DatasetCertificate, ...] = ()
    pictures: tuple[Inputs, ...] = ()
    costs: Mapping[DatasetCertificate, Cost] = field(default_factory=dict)


def page(content: Content) -> str:
    """The page as text, smaller than `MOST_BYTES` except for hundreds of runs."""
    sheet, found = _sheet(content), pairs(content.runs, content.summaries)
    shown = _shown(content, found)
    every = [rows(run, sheet.places) for run in content.runs]
    # Without rows first, to see what is left for them.
    bare = _rendered(shown | _table(content, found, [r.thinned(1) for r in every], sheet))
    table = fitting(every, MOST_BYTES - len(bare.encode()) - 1)
    return _rendered(shown | _table(content, found, table, sheet))


def _rendered(shown: Mapping[str, Any]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"down": floor_to, "up": ceil_to, "attrs": _line_facts}
    return environment.from_string(_part("page.html.j2")).render(shown)


def _table(
    content: Content, found: Sequence[Pair], table: Sequence[Rows], sheet: Sheet
) -> dict[str, Any]:
    """The inputs and their pictures, for the template and page.js."""
    places = {id(s): number for number, s in enumerate(content.summaries)}
    bases = {places[id(p.changed)]: places[id(p.base)] for p in found}
    return {
        "table": [r.facts | {"base": bases.get(number, -1)} for number, r in enumerate(table)],
        "thinned": [r for r in table if r.count < r.inputs],
        "sheet": sheet,
        "tile": {"side": thumbnails.SIDE, "columns": thumbnails.COLUMNS},
    }


def _shown(content: Content, found: Sequence[Pair]) -> dict[str, Any]:
    """All other variables of the template."""
    runs, summaries, names = content.runs, content.summaries, class_names(content.pictures)
    seen = [predicted(run) for run in runs]
    first = head(runs, summaries, content.together, found, seen, names)
    script = _part("page.js")
    return {
        "head": first,
        "style": Markup(_part("page.css")),
        "script": Markup(script),
        "script_hash": base64.b64encode(sha256(script.encode()).digest()).decode(),
        "claim": CLAIM,
        "overview": overview(runs, summaries, content.together, found, seen, names),
        "charts": content.charts,
        "labelled": all(s.labelled for s in summaries),
        "together": [all_together(t.inputs, t.beta) for t in content.together],
        "all_runs": level(*(t.beta for t in content.together)),
        "compared": details.compared(content.runs, content.radii),
        "forms": sorted({p.form for p in found} - {"binary"}),
        "outcomes": details.outcomes(runs, summaries),
        "unseen": details.unseen(runs, summaries, content.radii),
        "by_class": details.by_class_of(runs[first.focus], content.radii, names),
        "radii": [f"{radius:g}" for radius in content.radii],
        "screening": _screening(content),
        "spent": [_spent(run, s) for run, s in zip(runs, summaries, strict=True)],
        "mixed_up": [
            (visible(run.name), [_taken(*one, names) for one in p.mixed_up])
            for run, p in zip(runs, seen, strict=True)
            if p.mixed_up
        ],
        "classes": names,
        "runs": [_run_facts(run) for run in runs],
        "citations": citations(_methods(content)),
    }


def _taken(label: int, certified: int, count: int, names: Sequence[str]) -> str:
    return f"{class_name(label, names)} as {class_name(certified, names)} ({many(count, 'input')})"


def _line_facts(line: Line) -> dict[str, Any]:
    """What page.js reads about a curve."""
    facts = {"name": line.name, "x": line.x, "y": line.y}
    return facts | {"kind": line.kind, "series": line.series}


def _part(name: str) -> str:
    return files("smoothcert.report").joinpath(name).read_text("utf-8")


def _sheet(content: Content) -> Sheet:
    """Thumbnails of evenly chosen inputs, the same number from every data set."""
    distinct = {run.identity.data: run for run in content.runs}.values()
    wanted = [
        (run.identity.indices[position], run.contents[position])
        for run in distinct
        for position in even(len(run.contents), _MOST_PICTURES // len(distinct))
    ]
    return thumbnails.sheet(wanted, content.pictures, _MOST_PICTURES_BYTES)


def fitting(found: Sequence[Rows], limit: int) -> list[Rows]:
    """All rows, or as many of every run as fit together into the given bytes."""
    most, shown = max(r.count for r in found), list(found)
    while (size := sum(len(json.dumps(r.facts)) for r in shown)) > limit and most > 1:
        most = max(1, int(most * min(0.95, limit / size)))
        shown = [r.thinned(most) for r in found]
    return shown


def _methods(content: Content) -> set[str]:
    found = {c.method for run in content.runs for c in run.certificates}
    return found | ({"screen"} if content.screened else set())


def _screening(content: Content) -> dict[str, Any]:
    """Screenings and their candidates, best first, with the target's verdict."""
    groups = screenings(content.screened)
    numbers = {c: number for number, some in enumerate(groups, 1) for c in some}
    names = dict(zip(numbers, candidate_names([*numbers]), strict=True))
    return {
        "screenings": [(level(g[0].alpha), ", ".join(visible(c.name) for c in g)) for g in groups],
        "alpha": level(*(g[0].alpha for g in groups)),
        "candidates": [
            {
                "name": names[c] + _rounds(c),
                "file": visible(c.name),
                "sigma": f"{c.pool.sigma:g}",
                "number": numbers[c],
                "acr": floor_to(c.acr, 4) if c.begun else "–",
                "accuracy": [
                    percent(float(share), c.pool.inputs) if c.begun else "–"
                    for share in c.certified_accuracy(content.radii)
                ],
                "evaluations": f"{c.evaluations:,}",
                "cost": content.costs.get(c, Cost()).cells,
                "target": _target(c),
                "verdict": c.verdict_name,
            }
            for c in ranked(numbers)
        ],
        "originals": _originals(content),
        "costs": any(any((*c.cells, *(c.original or c).cells)) for c in content.costs.values()),
        "radii": [f"{radius:g}" for radius in content.radii],
        "verdicts": list(dict.fromkeys(c.verdict for c in numbers if c.verdict is not None)),
    }


def _originals(content: Content) -> list[dict[str, Any]]:
    """The originals on which candidates were screened, as far as they are on the page."""
    known = {cost.base: cost.original or Cost() for cost in content.costs.values()}
    found = [
        (Original.of(run), run.identity)
        for run in content.runs
        if run.identity.hash in known and content.screened
    ]
    return [
        {
            "name": one.name,
            "sigma": f"{identity.settings.sigma:g}",
            "acr": floor_to(one.acr, 4),
            "accuracy": [percent(share, one.inputs) for share in one.accuracy(content.radii)],
            "evaluations": f"{one.evaluations:,}",
            "cost": known[identity.hash].cells,
            "says": one.says,
        }
        for one, identity in found
    ]


def _rounds(certificate: DatasetCertificate) -> str:
    """How far a candidate is that is not finished."""
    if certificate.finished:
        return ""
    rounds = many(len(certificate.screening.rounds), "round")
    return f" ({len(certificate.flips)} of {rounds})" if certificate.begun else " (not begun)"


def _target(certificate: DatasetCertificate) -> str:
    return ", ".join(map(str, certificate.screening.targets))


def _spent(run: Run, summary: Summary) -> dict[str, Any]:
    found = parts(run)
    total = max(1, sum(found.values()))
    return {
        "name": summary.name,
        "total": sum(found.values()),
        "seconds": "" if summary.seconds is None else f"{summary.seconds:.1f}",
        "parts": [(name, count, round(100 * count / total, 2)) for name, count in found.items()],
        "bins": by_share(run.certificates),
        "reused": any(RESULTS[c.method].reuses for c in run.certificates),
        "disparity": summary.zeta is not None,
    }


def _run_facts(run: Run) -> dict[str, Any]:
    settings, method, identity = run.identity.settings, run.identity.method, run.identity
    alpha, how = level(alpha_of(settings, method)), method.made(settings)
    versions = ", ".join(f"{name} {v}" for name, v in sorted(identity.versions.items()))
    return {
        "name": visible(run.name),
        "tried": tried(seed_use.tries_of_run(run), identity.model if identity.base else "", method),
        "claim": f"{how[0].upper()}{how[1:]}, at σ = {settings.sigma:g}, α = {alpha} per input. "
        f"{of_alphas(settings, method, run.certificates)}".strip(),
        "facts": [
            ("Model", visible(str(run.manifest.origin.get("model", "not recorded")))),
            ("Data", f"{data_name(run.manifest.origin)}, {len(identity.indices):,} inputs"),
            *(("Before the model", visible(f)) for f in [run.manifest.origin.get("front")] if f),
            *(("What 0 and 1 are", visible(u)) for u in [run.manifest.origin.get("unit")] if u),
            ("Model's fingerprint", visible(identity.model)),
            ("Data's fingerprint", identity.data),
            ("Distance to the grid", beside_grid(settings) or "none: all inputs are on it"),
            ("Run's fingerprint", identity.hash),
            ("Base run's fingerprint", identity.base or "none: certified from scratch"),
            ("Device", visible(identity.device)),
            ("Machine", visible(machine(run) or "not recorded")),
            ("Versions", visible(versions)),
        ],
        "json": json.dumps(json_form(identity) | {"indices": "…"}, indent=1),
    }
