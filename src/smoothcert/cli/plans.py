"""plan and screen: what a cache can do for many inputs, or many models, at once."""

import time
from collections.abc import Sequence

import numpy as np

from smoothcert.api.recertify import check_base, method_settings
from smoothcert.cli import display, hints
from smoothcert.cli.machines import Device
from smoothcert.cli.sources import recorded_source
from smoothcert.errors import InvalidInput
from smoothcert.methods import planned
from smoothcert.report.claims import tried
from smoothcert.runs import ledger
from smoothcert.runs.bases import check_same_inputs, explored, prepared
from smoothcert.runs.store import Run

_SHOWN = ("budget:0.01", "budget:0.02", "budget:0.05", "budget:0.1", "retain:0.9", "retain:0.95")
_CURVE = (0.0, 0.5, 1.0, 1.5)  # in sigmas


def plan(
    model: str,
    base: str,
    data: str | None,
    device: Device,
    batch_size: int | None,
    as_json: bool,
    *,
    policies: Sequence[str],
    method: str,
    alpha: float | None,
) -> None:
    """Run the pilot and print what each policy is expected to cost and to buy."""
    with display.waiting("Running the pilot"):
        run = Run.open(base)
        run.require_complete()
        check_base(run.identity.method)
        settings = run.identity.settings
        if method == "irs":
            raise InvalidInput("irs makes no plan; plan takes the methods auto, joint, stratified")
        reuse = planned(method_settings(settings, None, None, method, alpha, 0.99, "budget-exact"))
        assert reuse is not None
        hints.of_alpha(reuse.alpha)
        inputs = recorded_source(run.manifest.origin, data).told(recorded=True)
        check_same_inputs(run, inputs)
        classifier = device.load(model)
        ready = prepared(run, classifier, inputs, batch_size)
        start = time.perf_counter()
        expected = explored(run, ready, inputs, reuse)
        speed = expected.pilot_evaluations / (time.perf_counter() - start)
    rows = []
    for policy in policies or _SHOWN:
        made = expected.plan(policy)
        radius = float(made.radius.mean()) * settings.sigma
        rows.append((policy, made.evaluations, made.evaluations / speed, radius))
    whole = float(np.mean([c.radius for c in run.certificates]))
    if as_json:
        names = ("policy", "evaluations", "seconds", "expected_mean_radius")
        facts = {"pilot_evaluations": expected.pilot_evaluations, "original_mean_radius": whole}
        display.show_json(facts | {"policies": [dict(zip(names, r, strict=True)) for r in rows]})
        return
    table = [[p, f"{e:,}", f"{s:.1f}", f"{r:.4f}"] for p, e, s, r in rows]
    heads = ["policy", "evaluations", "seconds", "expected mean radius"]
    display.show_table(heads, table, f"Expected of {classifier.name}, not proven")
    display.say(
        f"The original's mean radius is {whole:.4f}. The pilot took {expected.pilot_evaluations:,} "
        "evaluations; recertify sets its draws aside, so that a policy may be chosen by this; a "
        "model or a method may not. Expected figures come from fitted flip rates and use no "
        "labels. "
        f"{tried(ledger.tries(run), classifier.fingerprint)}".strip()
    )
