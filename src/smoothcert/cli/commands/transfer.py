"""transfer: certificates of this machine from the votes of a run on another."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from smoothcert.classifiers.protocol import Classifier
    from smoothcert.cli.run_request import RunArguments
    from smoothcert.data.inputs import Inputs
    from smoothcert.methods import Method
    from smoothcert.runs.store import Run


def transfer(
    run: Annotated[
        str, typer.Argument(metavar="RUN", show_default=False, help="Made on another machine.")
    ],
    out: options.RunOut,
    model: Annotated[
        str | None,
        typer.Option(
            help="New location, if the model has moved; the same file.", show_default="run's"
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Of a recertified RUN: new location, if its base has moved.", show_default="run's"
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help=vocabulary.POLICY_FORMS,
            show_default="the least budget that is expected to keep 98 % of the ACR",
            autocompletion=options.complete(vocabulary.POLICIES),
        ),
    ] = None,
    alpha: options.TotalAlpha = None,
    data: options.MovedData = None,
    resume: options.Resume = False,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    batch_size: options.BatchSize = None,
    block_inputs: options.BlockInputs = None,
    log: options.Log = None,
    accept: options.Accept = None,
    minutes: options.Minutes = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Certify on this machine the model of a run from another.

    Part of the run's draws are replayed here.
    """
    from smoothcert.cli import console
    from smoothcert.cli.resources import Compute, Device
    from smoothcert.cli.run_request import RunArguments

    compute = Compute(Device(device, threads), workers)
    after = (json, accept or (), log or (), minutes)
    arguments = RunArguments(out, resume, compute, batch_size, block_inputs, shard, *after)
    with console.warnings_as_lines():
        _transfer(run, model, base, data, (policy, alpha), arguments)


def _transfer(
    path: str,
    model: str | None,
    base: str | None,
    data: str | None,
    wanted: tuple[str | None, float | None],
    arguments: "RunArguments",
) -> None:
    from dataclasses import replace

    from smoothcert.api.transfer import check_same
    from smoothcert.cli import console
    from smoothcert.cli.commands.recertify import reused
    from smoothcert.cli.data_source import recorded_model, recorded_source
    from smoothcert.cli.run_request import show_run
    from smoothcert.runs.replaying import elsewhere, machine, moved
    from smoothcert.runs.store import Run

    arguments.require_unused()
    with console.waiting("Loading the run, its model and its data"):
        there = Run.open(path)
        there.require_complete()
        original = _original(there, base)
        arguments.check_targets(original.labels, str(original.storage), original)
        reference = model or recorded_model(there)
        device = arguments.compute.process_device
        classifier = (device.load if model else device.load_recorded)(reference)
        check_same(classifier, there.identity.model, str(there.storage))
        source = recorded_source(there, data)
        inputs = source.load_and_describe(recorded=True)
    if machine(there) and not elsewhere(there, classifier):
        console.say(
            "Nothing that is recorded of that run's machine differs here. Check that its votes "
            f"are this machine's: smoothcert verify {shlex.quote(path)} --replay 1%"
        )
    if arguments.batch_size is None:
        arguments = replace(arguments, batch_size=there.identity.batch_size)
    loaded = classifier, inputs
    method = _method(there, original, loaded, arguments, wanted)
    origin, files = _kept(there, reference, arguments)
    origin["base"] = str(original.storage)
    made = reused(original, method, source, arguments, origin, loaded, files)
    votes = None if made.missing else moved(there, made)
    show_run(made, arguments.json, arguments.targets, original, votes)


def _original(there: "Run", given: str | None) -> "Run":
    """The run whose votes are reused: itself, or of a recertified one its base.

    Raises:
        Mismatch: it has no votes that can be reused, or the given base is another.
        InvalidInput: its base is needed, and not known here.
    """
    from smoothcert.errors import InvalidInput, Mismatch
    from smoothcert.runs.seed_use import recorded_base
    from smoothcert.runs.store import Run

    method, name = there.identity.method, there.storage
    if method.reusable:
        if given is not None:
            raise Mismatch(f"{name} is itself what is transferred; leave out --base.")
        return there
    if not method.needs_base:
        raise Mismatch(
            f"{name} decided one radius with draws that stop by their votes, so nothing can be "
            "reused. Decide it on this machine: smoothcert certify --radius"
        )
    if method.is_fresh:
        raise Mismatch(
            f"{name} has draws of a fresh seed, as its model was chosen by results on its base, "
            "so none of these may be reused. On this machine, too: smoothcert recertify "
            "--fresh-seed random"
        )
    base = Run.open(given) if given is not None else recorded_base(there)
    if base is None:
        raise InvalidInput(
            f"{name} was recertified, and its base is not where it was. Give it with --base."
        )
    if base.identity.hash != there.identity.base:
        raise Mismatch(f"{base.storage} is not the run that {name} was made from.")
    return base


def _method(
    there: "Run",
    original: "Run",
    loaded: "tuple[Classifier, Inputs]",
    arguments: "RunArguments",
    wanted: tuple[str | None, float | None],
) -> "Method":
    """How to reuse the votes: by the policy that is given, a resumed run's, or the cheapest; a
    recertified run is made again by its own method.

    Raises:
        InvalidInput: a policy or alpha is given for a recertified run.
    """
    from smoothcert.api.transfer import cheapest, chooser
    from smoothcert.cli import console
    from smoothcert.errors import InvalidInput
    from smoothcert.planning.wanted import Wanted, method_settings
    from smoothcert.runs.bases import check_same_inputs, explored, prepared

    policy, alpha = wanted
    settings, made = original.identity.settings, original.identity.method
    if there is not original:
        if policy is not None or alpha is not None:
            raise InvalidInput(
                f"{there.storage} was recertified, and is made again here by its own policy and "
                "alpha. Leave these out."
            )
        return there.identity.method
    if policy is None and (before := arguments.resumed()) is not None:
        return before.identity.method
    if policy is None:
        with console.waiting("Running a pilot on selection draws"):
            check_same_inputs(original, loaded[1])
            ready = prepared(original, *loaded, arguments.batch_size)
            planner = explored(original, ready, loaded[1], chooser(settings, made, alpha))
            policy = cheapest(planner)
        console.say(f"Policy {policy}, by {planner.pilot_evaluations:,} draws that are not counted")
    return method_settings(settings, made, Wanted(policy=policy, alpha=alpha))


def _kept(
    there: "Run", model: str, arguments: "RunArguments"
) -> "tuple[dict[str, Any], Mapping[str, bytes]]":
    """What the new run says of its model, and the twin that it keeps if that is one."""
    from smoothcert.compress import twin
    from smoothcert.storage.base import MOST_BYTES

    of = there.manifest.origin.get("twin_of")
    if of is None or twin.FILE not in there.attached:
        return {"model": model}, {}
    data = there.storage.read(twin.FILE, MOST_BYTES)
    return {"model": arguments.storage.uri_of(twin.FILE), "twin_of": of}, {twin.FILE: data}
