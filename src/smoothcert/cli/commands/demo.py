"""demo: every step on real images; see `demo_steps`."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert.cli import options


def demo(
    data: Annotated[
        str, typer.Option(help="digits, or CIFAR-10: a Parquet folder or a Hugging Face id.")
    ] = "digits",
    out: Annotated[Path, typer.Option(help="New folder for models, runs and report.")] = Path(
        "smoothcert-demo"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="A smaller run, under a minute.")] = False,
    threads: options.Threads = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train, certify, compress, recertify and report on real images.

    It takes about three minutes.
    """
    from smoothcert.cli.demo_steps import run_demo
    from smoothcert.cli.resources import Device

    run_demo(data, out, quick, Device("cpu", threads), json)
