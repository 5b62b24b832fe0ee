"""check: a model on its data, before anything is certified; see `api.check`."""

from typing import TYPE_CHECKING

from smoothcert.cli import options

if TYPE_CHECKING:
    from smoothcert.api.check import Check
    from smoothcert.data.inputs import Inputs


def check(
    model: options.Model,
    data: options.Data,
    sigma: options.Sigma,
    n0: options.Selection = 100,
    n: options.Estimation = 100_000,
    split: options.Split = "test",
    grid: options.Grid = None,
    limit: options.Limit = None,
    every: options.Every = 1,
    size: options.Size = None,
    channels: options.Channels = None,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    batch_size: options.BatchSize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what a model predicts, with and without noise.

    Also how fast it is, and what is odd about it. Nothing is certified or written.
    """
    from smoothcert.api.check import examined as examine
    from smoothcert.certificate import Settings
    from smoothcert.cli import console
    from smoothcert.cli.data_source import DataSource
    from smoothcert.cli.resources import Device

    source = DataSource(data, split, grid, limit, every, size, channels)
    with console.warnings_as_lines():
        with console.waiting("Loading data"):
            inputs = source.load()
        with console.waiting("Loading model"):
            classifier = Device(device, threads).load(model)
        settings = Settings(sigma, inputs.levels, n0=n0, n=n)
        with console.waiting("Checking"):
            found = examine(classifier, inputs, settings, batch_size)
        evaluations = len(inputs) * (n0 + n)
        if json:
            console.show_json({"sigma": sigma, "n": n, **_facts(found, inputs, evaluations)})
        else:
            for line in _lines(found, inputs, sigma, n, evaluations):
                console.show(line)
        console.note(found.hints)


def _facts(found: "Check", inputs: "Inputs", evaluations: int) -> dict[str, object]:
    """For --json."""
    return {
        "model": found.name,
        "fingerprint": found.fingerprint,
        "device": found.device,
        "data": inputs.name,
        "inputs": len(inputs),
        "shape": inputs.shape,
        "classes": found.look.classes,
        "fixed_batch": found.fixed_batch,
        "batch_size": found.batch_size,
        "row_exact": found.row_exact,
        "right": found.right,
        "right_noisy": found.right_noisy,
        "predicted_noisy": found.predicted.tolist(),
        "confused": found.confused(),
        "evaluations_per_second": found.speed,
        "run_evaluations": evaluations,
        "run_seconds": evaluations / found.speed if found.speed else None,
        "hints": found.hints,
    }


def _lines(found: "Check", inputs: "Inputs", sigma: float, n: int, evaluations: int) -> list[str]:
    """What is shown, a fact a line."""
    from smoothcert.cli.eta import duration
    from smoothcert.text import many

    batches = f"batches of {found.fixed_batch} only" if found.fixed_batch else "any batch size"
    exact = "to the bit" if found.row_exact else "up to the last bits of its scores"
    lines = [
        f"Model: {found.name} on {found.device}, {many(found.look.classes, 'class')}, {batches}",
        f"Data: {inputs.describe()}",
        f"Rows: an input gets the same scores wherever it is in a batch, {exact}",
    ]
    clean, noisy = found.right, found.right_noisy
    if clean and noisy:
        lines.append(
            f"Right without noise: {_share(*clean)}; with sigma {sigma:g}: {_share(*noisy)}"
        )
    counts = found.predicted
    top = counts.argsort(kind="stable")[::-1][:5]
    shares = (f"{_named(k, inputs)}: {counts[k] / max(1, counts.sum()):.0%}" for k in top.tolist())
    lines.append(f"Predicted with noise: {', '.join(shares)}")
    pairs = [
        f"{_named(k, inputs)} as {_named(p, inputs)} ({count} of {of})"
        for k, p, count, of in found.confused()
    ]
    if pairs:
        lines.append(f"Most often confused without noise: {', '.join(pairs)}")
    lines.append(
        f"Speed: {found.speed:,.0f} evaluations per second, in batches of {found.batch_size}"
    )
    if found.speed:
        lines.append(
            f"Certifying these {many(len(inputs), 'input')} with n = {n:,}: {evaluations:,} "
            f"evaluations, about {duration(evaluations / found.speed)} here"
        )
    return lines


def _share(hits: int, count: int) -> str:
    return f"{hits / count:.1%} ({hits:,} of {count:,})"


def _named(k: int, inputs: "Inputs") -> str:
    """A class, by name where the data has one."""
    if k < 0:
        return "no class"
    return inputs.classes[k] if k < len(inputs.classes) else f"class {k}"
