"""plan: what policies cost and gain on one model."""

from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoothcert.classifiers.protocol import Classifier
    from smoothcert.data.inputs import Inputs
    from smoothcert.methods import Planned
    from smoothcert.runs.store import Run
    from smoothcert.sampling.prepare import Prepared

_SHOWN = ("budget:0.01", "budget:0.02", "budget:0.05", "budget:0.1", "retain:0.9", "retain:0.95")
_LONG = 10.0  # seconds of a pilot, of which what comes once is a small part


def plan(
    model: options.Model,
    base: options.Base,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            help="A policy to show; may be repeated.",
            show_default="several",
            autocompletion=options.complete(vocabulary.POLICIES),
        ),
    ] = None,
    method: options.Method = "auto",
    alpha: options.TotalAlpha = None,
    data: options.MovedData = None,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    batch_size: options.BatchSize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Estimate what policies cost and what they gain, from a small pilot."""
    import time

    import numpy as np

    from smoothcert.api import sanity
    from smoothcert.cli import console
    from smoothcert.cli.data_source import recorded_source
    from smoothcert.cli.resources import Device
    from smoothcert.runs.bases import check_same_inputs, explored, prepared
    from smoothcert.runs.store import Run

    on = Device(device, threads)
    with console.warnings_as_lines():
        with console.waiting("Running the pilot"):
            run = Run.open(base)
            reuse = _reuse(run, method, alpha)
            console.note(sanity.of_alpha(reuse.alpha))
            inputs = recorded_source(run.manifest.origin, data).load_and_describe(recorded=True)
            check_same_inputs(run, inputs)
            classifier = on.load(model)
            ready = prepared(run, classifier, inputs, batch_size)
            start = time.perf_counter()
            expected = explored(run, ready, inputs, reuse)
            pilot = expected.pilot_evaluations
            speed = _speed(ready, inputs, run, pilot, time.perf_counter() - start)
        rows = []
        for policy in policies or _SHOWN:
            evaluations, radii = expected.expected(policy)
            acr = run.identity.settings.sigma * float(np.where(_right(run), radii, 0).mean())
            rows.append((policy, pilot + evaluations, (pilot + evaluations) / speed, acr))
        _show(run, classifier, rows, pilot, speed, json, reuse)


def _right(run: "Run") -> "list[bool]":
    """Whose radii count in an average: of inputs whose class is the label, or has none."""
    pairs = zip(run.certificates, run.labels, strict=True)
    return [label in (None, certificate.candidate) for certificate, label in pairs]


def _speed(ready: "Prepared", inputs: "Inputs", run: "Run", pilot: int, seconds: float) -> float:
    """Evaluations per second: of a long pilot, else of a trial.

    A short pilot is mostly what comes once: votes to read, functions to load.
    """
    from smoothcert.sampling.tuning import BatchConfig, speed

    if seconds < _LONG:
        config = BatchConfig(ready.classifier, ready.batch_size)
        found = speed(config, inputs.item(0), run.identity.settings.noise)
        if found:
            return found
    return pilot / seconds


def _reuse(run: "Run", method: str, alpha: float | None) -> "Planned":
    """The method that is planned, on a run that it can be planned for."""
    from smoothcert.api.recertify import Wanted, check_base, method_settings
    from smoothcert.errors import InvalidInput
    from smoothcert.methods import planned

    run.require_complete()
    wanted = method_settings(run.identity.settings, Wanted(method=method, alpha=alpha))
    check_base(run.identity.method, wanted)
    reuse = planned(wanted)
    if reuse is None:
        raise InvalidInput(
            f"{method} makes no plan; plan takes the methods auto, exact, joint, stratified"
        )
    return reuse


def _show(
    run: "Run",
    classifier: "Classifier",
    rows: "Sequence[tuple[str, int, float, float]]",
    pilot_evaluations: int,
    speed: float,
    as_json: bool,
    reuse: "Planned",
) -> None:
    """Print what each policy is expected to cost and to gain."""
    from smoothcert.cli import console
    from smoothcert.methods import Exact
    from smoothcert.report.claims import tried
    from smoothcert.runs import ledger
    from smoothcert.summary import summarize

    whole = summarize(run.certificates, run.labels).acr
    if as_json:
        names = ("policy", "evaluations", "seconds", "expected_acr")
        policies = [dict(zip(names, row, strict=True)) for row in rows]
        pilot = {"pilot_evaluations": pilot_evaluations, "original_acr": whole}
        pilot |= {"evaluations_per_second": speed}
        console.show_json(pilot | {"policies": policies})
        return
    table = [[p, f"{e:,}", f"{s:.1f}", f"{r:.4f}"] for p, e, s, r in rows]
    heads = ["policy", "evaluations", "seconds", "expected ACR"]
    console.show_table(heads, table, f"Expected of {classifier.name}, not proven")
    # The exact test's figures follow from selection draws alone, and the original's radii do not.
    of_base = "" if isinstance(reuse, Exact) else f"The original's ACR is {whole:.4f}. "
    may_choose = (
        "evaluations on selection draws, which are never counted, so you may choose a policy, a "
        "model or a method by this table."
        if isinstance(reuse, Exact)
        else "evaluations; recertify does not count its draws, so you may choose a policy by this "
        "table, but not a model or a method."
    )
    console.say(
        f"{of_base}The pilot took {pilot_evaluations:,} {may_choose} It is among the evaluations "
        f"above, as in recertify. The seconds are those of the classifier, at {speed:,.0f}/s here; "
        "a run also starts, proves and writes. "
        "Expected figures come from fitted flip rates; labels only decide whose radii count. "
        f"{tried(ledger.tries(run), classifier.fingerprint)}".strip()
    )
