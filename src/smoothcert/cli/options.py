"""The options that several commands share, and how their values are read and completed."""

import re
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from smoothcert import vocabulary
from smoothcert.errors import InvalidInput
from smoothcert.tries import Seed as SeedValue

_MULTIPLES = {"k": 1000, "m": 10**6}
_GROUPED = re.compile(r"[1-9]\d{0,2}([,_']\d{3})+")


def complete(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """For `typer.Option(autocompletion=...)`: the names that begin with what is written."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def parse_count(text: str | int) -> int:
    """A whole number: `100000`, `1e5`, `100k`, `0.1M`, `100,000`."""
    written = str(text).strip()
    plain = re.sub("[,_']", "", written) if _GROUPED.fullmatch(written) else written
    multiple = _MULTIPLES.get(plain[-1:].lower(), 1)
    value = _fraction(plain[:-1] if multiple > 1 else plain)
    # 100.000 is a hundred to some and a hundred thousand to others.
    unclear = "." in plain and multiple == 1 and "e" not in plain.lower()
    if unclear or value is None or (value * multiple).denominator != 1:
        raise typer.BadParameter(
            f"{written!r} is not a whole number; write it as 100000, 1e5 or 100k"
        )
    return int(value * multiple)


def parse_real(text: str | float) -> float:
    """A number: `0.25`, `1e-3`, or a fraction as `64/255`."""
    written = str(text).strip()
    with suppress(ValueError):
        return float(written)  # its range, and that it is finite, is checked later
    value = _fraction(written)
    if value is None:
        dotted = written.replace(",", ".")
        hint = f". Did you mean {dotted}?" if _fraction(dotted) is not None else ""
        raise typer.BadParameter(f"{written!r} is not a number; write it as 0.25 or 64/255{hint}")
    return float(value)


def _fraction(text: str) -> Fraction | None:
    """The value, if it is written in plain digits and is of a size that a float has."""
    over, _, under = text.partition("/")
    try:
        floats = float(over), float(under or 1)
        if len(text) > 100 or not all(abs(one) < 1e300 for one in floats):
            return None
        return Fraction(over) / Fraction(under or 1)
    except (ValueError, ZeroDivisionError):
        return None


def parse_seed(text: str, option: str) -> SeedValue:
    """A whole number, whose range is not checked here, or `random`."""
    if text == "random":
        return text
    if not text.isdecimal():
        raise InvalidInput(
            f"{option} must be a whole number in 0..2^64 - 1, or random; got {text!r}"
        )
    return int(text)


def parse_radii(text: str) -> tuple[float, ...]:
    """`0,0.25,0.5` as numbers."""
    try:
        return tuple(float(r) for r in text.split(","))
    except ValueError:
        raise InvalidInput(
            f"--radii must be numbers separated by commas, such as 0,0.25,0.5; got {text!r}"
        ) from None


def parse_share(text: str) -> float:
    """`1%` or `0.01` as a fraction."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise InvalidInput(
            f"--replay must be a fraction such as 1% or 0.01; got {text!r}"
        ) from None


def _one_or_three(channels: int | None) -> int | None:
    if channels not in (None, 1, 3):
        raise typer.BadParameter(f"must be 1 (grey) or 3 (colour); got {channels}")
    return channels


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print decisions: batches, blocks, retries.")
]

Model = Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="A file or name.")]
Data = Annotated[str, typer.Option("--data", help="Data set.", metavar="DATA", show_default=False)]
Split = Annotated[
    str,
    typer.Option(
        "--split", help="Split of the data set.", autocompletion=complete(vocabulary.SPLITS)
    ),
]
Grid = Annotated[
    str | None,
    typer.Option(
        "--grid",
        help="Step between neighbouring input values, such as 1/255.",
        show_default="1/255",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", help="Use the first N inputs.", parser=parse_count, metavar="INTEGER"),
]
Every = Annotated[int, typer.Option("--every", help="Use every N-th input.")]
Size = Annotated[
    int | None,
    typer.Option(
        "--size",
        help="Resize images, then crop the central square of this side; for 224, the shorter side "
        "is resized to 256 first (bilinear).",
        show_default="as they are",
    ),
]
Channels = Annotated[
    int | None,
    typer.Option(
        "--channels",
        help="Convert all images to grey (1) or colour (3), for data that has both.",
        callback=_one_or_three,
        show_default="as they are, if they agree",
    ),
]
Sigma = Annotated[
    float,
    typer.Option(
        "--sigma",
        help="Standard deviation of the noise on the [0, 1] scale, such as 0.25 or 64/255.",
        show_default=False,
        parser=parse_real,
        metavar="FLOAT",
    ),
]
Selection = Annotated[
    int,
    typer.Option("--n0", help="Selection draws per input.", parser=parse_count, metavar="INTEGER"),
]
Estimation = Annotated[
    int,
    typer.Option(
        "--n",
        help="Estimation draws per input, such as 100000, 1e5 or 100k.",
        parser=parse_count,
        metavar="INTEGER",
    ),
]
Alpha = Annotated[
    float,
    typer.Option(
        "--alpha", help="Error probability per input.", parser=parse_real, metavar="FLOAT"
    ),
]
Form = Annotated[
    str,
    typer.Option(
        "--form",
        help="Bound on the other classes: binary (1 - q), runner-up, auto (the better for each "
        "input, by its selection draws), or multiclass.",
        autocompletion=complete(vocabulary.FORMS),
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the file at --out if it exists.")
]
Seed = Annotated[int, typer.Option("--seed", help="Random seed.")]
NoiseSeed = Annotated[
    str,
    typer.Option(
        "--seed",
        help="Seed of the noise, or random to draw one; use random for a model that was chosen by "
        "results.",
        metavar="SEED",
        autocompletion=complete(vocabulary.SEEDS),
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Where to write.", show_default=False)]
RunOut = Annotated[
    str,
    typer.Option(
        "--out",
        help="Run directory to write: a folder, or s3://BUCKET/FOLDER (also gs, abfs, hdfs).",
        show_default=False,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        help="cpu, or for torch and ONNX models also cuda, cuda:1, ...",
        autocompletion=complete(vocabulary.DEVICES),
    ),
]
Target = Annotated[
    str,
    typer.Option(
        "--to",
        help=vocabulary.TARGET_FORMS,
        autocompletion=complete(vocabulary.TARGET_EXAMPLES),
        show_default=False,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="torch or onnx. onnx converts a torch model, compares the two on noisy inputs and "
        "certifies the ONNX twin, which it keeps as twin.onnx in --out.",
        show_default="as the model is",
        autocompletion=complete(vocabulary.ENGINES),
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        help="Batches computed in parallel on the CPU, one per core.",
        show_default="all",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Worker processes that share the work; on cuda each has its own GPU.",
        show_default="one per GPU",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="Compute only part I of N of the run's blocks, such as 1/8 to 8/8. All shards may "
        "share one --out, or each may have its own (then merge).",
        metavar="I/N",
        show_default="all",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="Compute on a Ray cluster: ray, ray://HOST:PORT or ray:HOST:PORT. It has one worker "
        "per GPU with --device cuda, else one per --threads cores.",
        metavar="ray",
        autocompletion=complete(("ray",)),
        show_default="this machine",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", help="Rows per forward pass.", show_default="by input size"),
]
KeepMargins = Annotated[
    bool,
    typer.Option(
        "--keep-margins",
        help="Keep the margin of each draw (one byte), for recertify --method stratified.",
    ),
]
BlockInputs = Annotated[
    int | None, typer.Option("--block-inputs", help="Inputs per block of the run.")
]
RunPaths = Annotated[list[str], typer.Argument(metavar="RUN...", show_default=False)]
Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        help="Log live to wandb[:PROJECT], mlflow[:TRACKING_URI] or tensorboard:FOLDER; may be "
        "repeated.",
        metavar="LOGGER",
        show_default=False,
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        help="Exit with 3 unless this target holds: certified accuracy, the share of inputs with a "
        "certificate of their label at this radius, such as 'ca@0.5>=40%'; or average certified "
        "radius, where all other inputs count as 0, such as 'acr>=0.3'. With --base also relative "
        "to the original's certificates of the same inputs: 'ca@0.5>=base-2%' (percentage points), "
        "'acr>=0.9*base'. May be repeated; then all must hold.",
        metavar="TARGET",
        show_default=False,
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        help="Stop after this time from the start of sampling; what is finished is kept, and "
        "--resume goes on. Exit with 5 if anything is left.",
        metavar="MINUTES",
        parser=parse_real,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Extended = Annotated[
    str, typer.Option("--base", help="Run of this model to add draws to.", show_default=False)
]
Total = Annotated[
    int,
    typer.Option(
        "--n",
        help="Estimation draws per input in all: 2, 5, 10, 20, 50, ... times those of the first "
        "run; by plan, the most of an input.",
        parser=parse_count,
        metavar="INTEGER",
        show_default=False,
    ),
]
Base = Annotated[str, typer.Option("--base", help="Run of the original model.", show_default=False)]
SizePolicy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="Plan the draws of each input by all selection draws, at most n: "
        + vocabulary.SIZE_POLICY_FORMS,
        show_default="n for all",
        autocompletion=complete(vocabulary.SIZE_POLICIES),
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help=f"{vocabulary.POLICY_FORMS} Choose it by plan, not by the base's certificates "
        "(joint allows that).",
        show_default="uniform:n/10",
        autocompletion=complete(vocabulary.POLICIES),
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        help=vocabulary.METHOD_FORMS,
        autocompletion=complete(tuple(m for m in vocabulary.METHODS if m != "fresh")),
    ),
]
Stages = Annotated[
    int | None,
    typer.Option(
        "--stages",
        help="auto, exact: look at an input's replays once, or a second time where the first "
        "look leaves its radius open.",
        min=1,
        max=2,
        show_default="2 for retain and radius, else 1",
    ),
]
FreshSeed = Annotated[
    str | None,
    typer.Option(
        "--fresh-seed",
        help="Replay nothing and take all draws from this seed, or a random one; for a model, "
        "policy or method that was chosen by results on this base.",
        metavar="SEED",
        autocompletion=complete(vocabulary.SEEDS),
        show_default=False,
    ),
]
TotalAlpha = Annotated[
    float | None,
    typer.Option(
        "--alpha",
        help="Total error probability per input.",
        show_default="twice the base's",
        parser=parse_real,
        metavar="FLOAT",
    ),
]
MovedData = Annotated[
    str | None,
    typer.Option("--data", help="New location, if the data has moved.", show_default="base's"),
]
