"""extend: more estimation draws for a finished run."""

from smoothcert.cli import options


def extend(
    model: options.Model,
    base: options.Extended,
    n: options.Total,
    out: options.RunOut,
    data: options.MovedData = None,
    resume: options.Resume = False,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    cluster: options.Cluster = None,
    batch_size: options.BatchSize = None,
    block_inputs: options.BlockInputs = None,
    log: options.Log = None,
    accept: options.Accept = None,
    minutes: options.Minutes = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Add draws to a certification from scratch, in a new run."""
    from smoothcert.cli import console
    from smoothcert.cli.data_source import recorded_source
    from smoothcert.cli.resources import Compute, Device, run_on_cluster
    from smoothcert.cli.run_request import RunArguments, executed, show_run
    from smoothcert.execution.start import RunRequest
    from smoothcert.methods import Extended
    from smoothcert.runs.store import Run

    compute = Compute(Device(device, threads), workers, cluster)
    after = (json, accept or (), log or (), minutes)
    arguments = RunArguments(out, resume, compute, batch_size, block_inputs, shard, *after)
    with console.warnings_as_lines():
        arguments.require_unused()
        original = Run.open(base)
        arguments.check_targets(original.labels, base, original)
        old = original.identity
        method = Extended.to(n, old.settings, old.method)
        settings = method.extended(old.settings)
        source = recorded_source(original, data)
        new = sum(method.total(c.n) - c.n for c in original.certificates)
        total = arguments.remaining(new)

        def request(tick: console.Tick) -> RunRequest:
            run_options = arguments.options(tick, source, {"model": model, "base": base})
            return RunRequest(arguments.storage, settings, method, original, run_options)

        if compute.cluster is not None:
            with arguments.until_time_is_up(), console.bar("Extending", total) as tick:
                run = run_on_cluster(request(tick), model, source, compute)
        else:
            with console.waiting("Loading model and data"):
                classifier = arguments.load(model)
                inputs = source.load_and_describe(recorded=True)
            bars, totals = ("", "Extending"), (0, total)
            run = executed(request, classifier, inputs, arguments, bars, totals)
        show_run(run, json, arguments.targets, original)
