"""plan and screen: what a cache can do for many inputs, or many models, at once."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smoothcert.cli import display
from smoothcert.cli.sources import parse_radii, recorded_source
from smoothcert.cli.where import Processor
from smoothcert.errors import InvalidInput
from smoothcert.methods.pooled import DatasetCertificate, ranked
from smoothcert.methods.reuse import Reuse
from smoothcert.report.tables import floor_to, percent
from smoothcert.runs import ledger
from smoothcert.runs.files import write_whole
from smoothcert.runs.opening import check_same_inputs, explore
from smoothcert.runs.store import Run
from smoothcert.sampling.tuning import first_size
from smoothcert.verbs.recertify import check_base, method_settings
from smoothcert.verbs.screen import screen as screen_models

_SHOWN = ("budget:0.01", "budget:0.02", "budget:0.05", "budget:0.1", "retain:0.9", "retain:0.95")
_CURVE = (0.0, 0.5, 1.0, 1.5)  # in sigmas


def plan(
    model: str,
    base: str,
    data: str | None,
    options: tuple[Sequence[str], str, float | None],
    processor: Processor,
    batch_size: int | None,
    as_json: bool,
) -> None:
    """Run the pilot and print what each policy is expected to cost and to buy."""
    policies, method, alpha = options
    with display.waiting("Running the pilot"):
        run = Run.open(base)
        run.require_complete()
        check_base(run.identity.method)
        settings = run.identity.settings
        if method == "irs":
            raise InvalidInput("irs makes no plan; plan takes the methods auto, joint, stratified")
        reuse = method_settings(settings, None, None, method, alpha, 0.99, "budget-exact")
        assert isinstance(reuse, Reuse)
        inputs = recorded_source(run.manifest.origin, data).load()
        check_same_inputs(run, inputs)
        classifier = processor.load(model)
        size = batch_size or first_size(classifier, inputs.shape)
        start = time.perf_counter()
        prospects = explore(run, classifier, inputs, reuse, size)
        pilot = prospects.pilot
        speed = pilot.evaluations / (time.perf_counter() - start)
    rows = []
    for policy in policies or _SHOWN:
        made = prospects.plan(policy)
        radius = float(made.radius.mean()) * settings.sigma
        rows.append((policy, made.evaluations, made.evaluations / speed, radius))
    whole = float(np.mean([c.radius for c in run.certificates]))
    if as_json:
        names = ("policy", "evaluations", "seconds", "expected_mean_radius")
        facts = {"pilot_evaluations": pilot.evaluations, "original_mean_radius": whole}
        display.show_json(facts | {"policies": [dict(zip(names, r, strict=True)) for r in rows]})
        return
    table = [[p, f"{e:,}", f"{s:.1f}", f"{r:.4f}"] for p, e, s, r in rows]
    heads = ["policy", "evaluations", "seconds", "expected mean radius"]
    display.show_table(heads, table, f"Expected of {classifier.name}, not proven")
    display.say(
        f"The original's mean radius is {whole:.4f}. The pilot took {pilot.evaluations:,} "
        "evaluations. Expected figures come from fitted flip rates and use no labels."
    )


def screen(
    models: Sequence[str],
    base: str,
    data: str | None,
    options: tuple[int, float, str, str | None],
    out: Path | None,
    processor: Processor,
    batch_size: int | None,
    as_json: bool,
) -> None:
    """Screen models and print their dataset certificates, best first."""
    per_input, alpha, radii, accept = options
    with display.waiting("Loading models, data and base run"):
        run = Run.open(base)
        inputs = recorded_source(run.manifest.origin, data).load()
        check_same_inputs(run, inputs)
        loaded = [processor.load(model) for model in models]
        original = run.certification()
        named = parse_radii(radii) if radii else ()
    with display.bar("Screening", len(models) * len(inputs) * per_input) as tick:
        found = screen_models(
            original,
            loaded,
            inputs,
            per_input=per_input,
            alpha=alpha,
            radii=named,
            accept=accept,
            batch_size=batch_size,
            progress=tick,
        )
    for certificate in found:
        facts = (certificate.name, certificate.fingerprint, certificate.evaluations)
        ledger.note(run, *facts, str(out or "screen"))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, (json.dumps([c.to_json() for c in found], indent=1) + "\n").encode())
    if as_json:
        display.show_json([c.to_json() for c in found])
        return
    shown = [r * run.identity.settings.sigma for r in _CURVE] if not named else list(named)
    display.show_table(*screen_table(found, shown), "Proven of the whole data set")
    served = ledger.models_served(run)
    display.say(
        f"All of it holds together with probability {1 - alpha:g}. This cache has served {served} "
        "different models: if one was chosen for its result here, recertify it with --fresh-seed, "
        "or divide alpha by that number."
    )


def screen_table(
    found: Sequence[DatasetCertificate], radii: Sequence[float]
) -> tuple[list[str], list[list[str]]]:
    """Heads and rows, best first."""
    heads = ["model", "ACR ≥", *(f"CA@{r:g} ≥" for r in radii), "evaluations"]
    judged = any(c.verdict for c in found)
    rows = []
    for c in ranked(found):
        curve = [percent(float(share), c.pool.inputs) for share in c.certified_accuracy(radii)]
        row = [c.name, floor_to(c.acr, 4), *curve, f"{c.evaluations:,}"]
        rows.append([*row, c.verdict.name.lower() if c.verdict else ""] if judged else row)
    return ([*heads, "verdict"] if judged else heads), rows
