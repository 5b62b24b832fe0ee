"""plan: what policies cost and gain on one model, recertified or from scratch."""

from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smoothcert.certificate import Settings
    from smoothcert.classifiers.protocol import Classifier
    from smoothcert.cli.data_source import DataSource
    from smoothcert.cli.resources import Compute
    from smoothcert.data.inputs import Inputs
    from smoothcert.methods import Planned
    from smoothcert.runs.store import Run
    from smoothcert.sampling.prepare import Prepared

_SHOWN = ("budget:0.01", "budget:0.02", "budget:0.05", "budget:0.1", "retain:0.9", "retain:0.95")
_LONG = 10.0  # seconds of a pilot, of which what comes once is a small part
_AIMS = (
    "retain and radius give an input no draws where their aim is out of reach, or takes more than "
    "certifying it from scratch. So a higher aim can cost less and prove less."
)
_PILOTS = {
    True: "They are selection draws, which are never counted: you may choose a policy, a model or "
    "a method by this table.",
    False: "recertify does not count them: you may choose a policy by this table, but no model or "
    "method.",
}
"""What may be chosen by what was seen, by whether it is for the exact test."""


_Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        help="Run of the original model; without it, what a certification from scratch costs.",
        show_default=False,
    ),
]
_Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        help="A policy to show, of recertify with --base, else of certify; may be repeated.",
        show_default="several",
        autocompletion=options.complete(vocabulary.POLICIES),
    ),
]
_Alpha = Annotated[
    float | None,
    typer.Option(
        "--alpha",
        help="Total error probability per input.",
        show_default="0.001, or twice the base's",
        parser=options.parse_real,
        metavar="FLOAT",
    ),
]
_Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Data set; with --base its new location, if it has moved.",
        show_default="base's",
    ),
]
_Sigma = Annotated[
    float | None,
    typer.Option(
        "--sigma",
        help="Standard deviation of the noise on the [0, 1] scale, such as 0.25 or 64/255.",
        show_default="base's",
        parser=options.parse_real,
        metavar="FLOAT",
    ),
]
_GIVEN = "COMMANDLINE"
_ALONE = ("sigma", "n0", "n", "form", "seed", "split", "grid", "limit", "every", "size", "channels")
_ALONE += ("workers",)
"""Options that a base decides, or that only a certification from scratch has."""


def plan(
    context: typer.Context,
    model: options.Model,
    base: _Base = None,
    policies: _Policies = None,
    method: options.Method = "auto",
    alpha: _Alpha = None,
    data: _Data = None,
    sigma: _Sigma = None,
    n0: options.Selection = 100,
    n: options.Estimation = 100_000,
    form: options.Form = "binary",
    seed: options.NoiseSeed = "0",
    split: options.Split = "test",
    grid: options.Grid = None,
    limit: options.Limit = None,
    every: options.Every = 1,
    size: options.Size = None,
    channels: options.Channels = None,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    workers: options.Workers = None,
    batch_size: options.BatchSize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Estimate what policies cost and gain, before paying for them.

    With --base of a recertification, from a pilot (the changed model on a few draws that are not
    counted); else of a certification from scratch, from its selection draws.
    """
    from functools import partial

    from smoothcert.certificate import Settings
    from smoothcert.cli import console
    from smoothcert.cli.data_source import DataSource
    from smoothcert.cli.resources import Compute, Device
    from smoothcert.tries import number_of

    compute, chosen = Compute(Device(device, threads), workers), tuple(policies or ())
    _check_options(context, base)
    with console.warnings_as_lines():
        if base is not None:
            wanted = (method, alpha, data)
            return _of_base(model, base, chosen or _SHOWN, wanted, compute, batch_size, json)
        assert data is not None and sigma is not None
        source = DataSource(data, split, grid, limit, every, size, channels)
        level = 0.001 if alpha is None else alpha
        number = number_of(options.parse_seed(seed, "--seed"))
        settings = partial(Settings, sigma, n0=n0, n=n, alpha=level, form=form, seed=number)
        _from_scratch(model, source, settings, chosen, compute, batch_size, json)


def _check_options(context: typer.Context, base: str | None) -> None:
    """Refuse options that would be without effect, and missing ones."""
    from smoothcert.errors import InvalidInput

    def given(*names: str) -> list[str]:
        # By name: typer may have a click of its own.
        sources = {name: context.get_parameter_source(name) for name in names}
        return [f"--{name}" for name, source in sources.items() if source and source.name == _GIVEN]

    if base is not None and (extra := given(*_ALONE)):
        raise InvalidInput(
            f"A plan with --base takes inputs, noise and draws from that run; got "
            f"{', '.join(extra)}. Leave that out; or leave out --base, to plan a certification "
            "from scratch."
        )
    if base is None and given("method"):
        raise InvalidInput("--method is of recertifications: give --base too, or leave it out.")
    missing = [f"--{name}" for name in ("data", "sigma") if context.params[name] is None]
    if base is None and missing:
        raise InvalidInput(
            f"Without --base, plan is about a certification from scratch and needs "
            f"{' and '.join(missing)}. To plan a recertification, give --base."
        )


def _from_scratch(
    model: str,
    source: "DataSource",
    settings: "Callable[..., Settings]",
    policies: "Sequence[str]",
    compute: "Compute",
    batch_size: int | None,
    as_json: bool,
) -> None:
    """Show what a certification from scratch is expected to take; `settings` lack the levels."""
    from smoothcert.api import sanity
    from smoothcert.cli import console, estimates
    from smoothcert.execution.estimate import EstimateOptions

    with console.waiting("Loading data"):
        inputs = source.load()
        whole = settings(levels=inputs.levels, off_grid=inputs.off_grid)
    console.note(sanity.of_settings(whole))
    with console.waiting("Loading model"):
        classifier = compute.alone.device.load(model)
    console.say(inputs.describe())
    asked = EstimateOptions(policies or None, workers=compute.shared, batch_size=batch_size)
    estimates.show(classifier, inputs, whole, asked, as_json)


def _of_base(
    model: str,
    base: str,
    policies: "Sequence[str]",
    wanted: tuple[str, float | None, str | None],
    compute: "Compute",
    batch_size: int | None,
    as_json: bool,
) -> None:
    """Run a pilot, and show what recertification by each policy is expected to cost and gain."""
    import time

    from smoothcert.api import sanity
    from smoothcert.api.plan import expected
    from smoothcert.cli import console
    from smoothcert.cli.data_source import recorded_source
    from smoothcert.runs.bases import check_same_inputs, explored, prepared
    from smoothcert.runs.store import Run

    method, alpha, data = wanted
    with console.waiting("Running the pilot"):
        run = Run.open(base)
        reuse = _reuse(run, method, alpha)
        console.note(sanity.of_alpha(reuse.alpha))
        inputs = recorded_source(run, data).load_and_describe(recorded=True)
        check_same_inputs(run, inputs)
        classifier = compute.device.load(model)
        ready = prepared(run, classifier, inputs, batch_size)
        start = time.perf_counter()
        planner = explored(run, ready, inputs, reuse)
        pilot = planner.pilot_evaluations
        speed = _speed(ready, inputs, run, pilot, time.perf_counter() - start)
    sigma = run.identity.settings.sigma
    rows = [
        (one.policy, one.evaluations, one.evaluations / speed, one.acr, one.given)
        for one in expected(planner, policies, run.certificates, run.labels, sigma)
    ]
    _show(run, classifier, rows, pilot, speed, as_json, reuse)


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
    from smoothcert.errors import InvalidInput
    from smoothcert.methods import planned
    from smoothcert.planning.wanted import Wanted, method_settings

    run.require_complete()
    settings, made = run.identity.settings, run.identity.method
    wanted = method_settings(settings, made, Wanted(method=method, alpha=alpha))
    reuse = planned(wanted)
    if reuse is None:
        raise InvalidInput(
            f"{method} makes no plan; plan takes the methods auto, exact, joint, stratified"
        )
    return reuse


def _show(
    run: "Run",
    classifier: "Classifier",
    rows: "Sequence[tuple[str, int, float, float, int]]",
    pilot_evaluations: int,
    speed: float,
    as_json: bool,
    reuse: "Planned",
) -> None:
    """Print what each policy is expected to cost and to gain."""
    from smoothcert.cli import console
    from smoothcert.methods import Exact
    from smoothcert.report.claims import of_sample, sample_json, tried
    from smoothcert.report.naming import facts
    from smoothcert.runs import ledger
    from smoothcert.summary import summarize

    whole = summarize(run.certificates, run.labels).acr
    if as_json:
        names = ("policy", "evaluations", "seconds", "expected_acr", "inputs_given_draws")
        policies = [dict(zip(names, row, strict=True)) for row in rows]
        changed = {"model": classifier.name, "fingerprint": classifier.fingerprint}
        pilot = {**facts(run), **changed, "inputs": len(run.certificates)}
        pilot |= {"sigma": run.identity.settings.sigma, "alpha": reuse.alpha}
        pilot |= {"pilot_evaluations": pilot_evaluations, "original_acr": whole}
        pilot |= {"evaluations_per_second": speed, **sample_json(len(run.certificates))}
        console.show_json(pilot | {"policies": policies})
        return
    table = [[p, str(given), f"{e:,}", f"{s:.1f}", f"{r:.4f}"] for p, e, s, r, given in rows]
    heads = ["policy", "inputs given draws", "evaluations", "seconds", "expected ACR"]
    console.show_table(heads, table, f"Expected of {classifier.name}, not proven")
    exact = isinstance(reuse, Exact)
    # The exact test's figures follow from selection draws alone, and the original's radii do not.
    said = [] if exact else [f"The original's ACR is {whole:.4f}."]
    most = max((given for *_, given in rows), default=0)
    aims = [given for p, *_, given in rows if p.startswith(("retain", "radius"))]
    said += [_AIMS] if min(aims, default=most) < most else []
    said += [
        f"The pilot took {pilot_evaluations:,} of them, in recertify too. {_PILOTS[exact]}",
        f"Seconds are the classifier's, at {speed:,.0f}/s; a run also starts, proves and writes.",
        "Expected figures come from fitted flip rates; labels only decide whose radii count.",
        of_sample(len(run.certificates)),
        tried(ledger.tries(run), classifier.fingerprint),
    ]
    console.say("\n".join(filter(None, said)))
