"""A report folder: one self-contained HTML page, the figure, CSV, and the field's TSV per run."""

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from smoothcert.certificate import Certificate, Settings
from smoothcert.decimals import ceil_to, floor_to, percent
from smoothcert.errors import InvalidInput, MissingExtra, StoreError
from smoothcert.methods import Decision, Irs, Method, Reuse
from smoothcert.names import visible
from smoothcert.report.tables import (
    Summary,
    csv_table,
    summarize_run,
    tsv,
)
from smoothcert.runs import ledger
from smoothcert.runs.files import reason, write_whole
from smoothcert.runs.manifest import json_form
from smoothcert.runs.store import Run


def report(runs: Sequence[Run], out: Path, radii: Sequence[float]) -> tuple[Summary, ...]:
    """Write `index.html`, `certified_accuracy.png`, `certificates.csv` and `<run>.tsv` into `out`.

    The TSV is left out for runs whose labels are unknown.

    Raises:
        StoreError: a run is unfinished or damaged, or the folder cannot be written.
        InvalidInput: no runs, or two of the same name.
        MissingExtra: matplotlib or jinja2 is not installed.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise InvalidInput(
            f"A report needs one run or more, in directories of different names; got {names}"
        )
    try:
        from smoothcert.report import plots
    except ImportError as error:
        raise MissingExtra(error.name or "matplotlib", "plot") from error
    summaries = tuple(summarize_run(run, radii) for run in runs)
    figure = plots.certified_accuracy(runs)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {out}: {reason(error)}") from error
    write_whole(out / "certified_accuracy.png", figure)
    write_whole(out / "certificates.csv", csv_table(runs).encode())
    write_whole(out / "index.html", _page(runs, summaries, figure).encode())
    for run in runs:
        if None not in run.labels:
            write_whole(out / f"{visible(run.name)}.tsv", tsv(run).encode())
    return summaries


def summary_table(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the summary, as text."""
    radii = [radius for radius, _ in summaries[0].accuracy]
    heads = ["run", "inputs", "certified", "ACR", *(f"CA@{r:g}" for r in radii)]
    heads += ["mean ζ ≤", "evaluations", "seconds"]
    return heads, [_summary_row(summary) for summary in summaries]


def _summary_row(s: Summary) -> list[str]:
    accuracy = [percent(share, s.inputs) for _, share in s.accuracy]
    zeta = "" if s.zeta is None else ceil_to(s.zeta, 4)
    seconds = "" if s.seconds is None else f"{s.seconds:.1f}"
    counts = [str(s.inputs), str(s.certified), floor_to(s.acr, 4)]
    return [s.name, *counts, *accuracy, zeta, f"{s.evaluations:,}", seconds]


def _page(runs: Sequence[Run], summaries: Sequence[Summary], figure: bytes) -> str:
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise MissingExtra("jinja2", "plot") from error
    source = files("smoothcert.report").joinpath("page.html.j2").read_text("utf-8")
    heads, rows = summary_table(summaries)
    return (
        Environment(autoescape=True)
        .from_string(source)
        .render(
            heads=heads,
            rows=rows,
            figure=base64.b64encode(figure).decode(),
            runs=[_run_facts(run) for run in runs],
        )
    )


def _run_facts(run: Run) -> dict[str, Any]:
    settings, method = run.identity.settings, run.identity.method
    alpha = method.alpha if isinstance(method, Irs | Reuse) else settings.alpha
    served = ledger.models_served(run)
    return {
        "name": visible(run.name),
        "served": f"This cache has served {served} changed models. If one was chosen for its "
        "result on it, the guarantee is alpha times that number, or the winner is certified anew "
        "on fresh noise (another seed)."
        if served > 1
        else "",
        "claim": f"{_how(settings, method)} at σ = {settings.sigma:g}, α = {alpha:g} per input.",
        "facts": json.dumps(json_form(run.identity) | {"indices": "…"}, indent=1),
        "certificates": [
            _certificate_facts(c, label, settings.sigma)
            for c, label in zip(run.certificates, run.labels, strict=True)
        ],
    }


def _how(settings: Settings, method: Method | None) -> str:
    if isinstance(method, Irs):
        return f"Recertified by IRS ({method.variant}), {method.per_input} evaluations per input,"
    if isinstance(method, Reuse):
        return f"Recertified from the original's cache ({method.method}, {method.policy})"
    if isinstance(method, Decision):
        return f"Decided at radius {method.radius:g} with at most {settings.n} draws"
    return f"Certified from scratch with {settings.n0} selection and {settings.n} estimation draws"


def _certificate_facts(c: Certificate, label: int | None, sigma: float) -> dict[str, Any]:
    return {
        "index": c.index,
        "label": "" if label is None else label,
        "predicted": "abstain" if c.predicted < 0 else c.predicted,
        "radius": floor_to(c.radius, 4),
        "votes": f"{c.k} of {c.n}",
        "evaluations": c.evaluations,
        "outcome": c.outcome.name.lower().replace("_", " "),
        "why": c.explain(sigma),
    }
