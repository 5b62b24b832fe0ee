"""merge: the parts of one run, put together."""

from smoothcert.cli import options


def merge(
    runs: options.RunPaths,
    out: options.RunOut,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Merge the parts of one run that shards wrote."""
    from smoothcert.cli import console
    from smoothcert.cli.run_request import show_run
    from smoothcert.runs.merging import merge as merge_runs
    from smoothcert.runs.store import Run

    with console.waiting("Checking and copying"):
        run = merge_runs([Run.open(path) for path in runs], out)
    show_run(run, json)
