"""predict: the smoothed class of one image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli import options

if TYPE_CHECKING:
    from smoothcert.api.predict import Prediction


def predict(
    model: options.Model,
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", show_default=False, help="A picture file.")
    ],
    sigma: options.Sigma,
    n: Annotated[
        int,
        typer.Option("--n", help="Draws of noise.", parser=options.parse_count, metavar="INTEGER"),
    ] = 1000,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha", help="Error probability.", parser=options.parse_real, metavar="FLOAT"
        ),
    ] = 0.001,
    size: options.Size = None,
    channels: options.Channels = None,
    seed: options.Seed = 0,
    device: options.DeviceName = "cpu",
    threads: options.Threads = None,
    batch_size: options.BatchSize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Predict the smoothed class of one image, or abstain."""
    from dataclasses import asdict

    from smoothcert.api import sanity
    from smoothcert.api.predict import predict as predict_item
    from smoothcert.cli import console
    from smoothcert.cli.resources import Device
    from smoothcert.data.images import decode
    from smoothcert.data.inputs import Item
    from smoothcert.errors import InvalidInput
    from smoothcert.files import similar
    from smoothcert.noise.law import RoundedGaussian

    if image.is_dir():
        raise InvalidInput(f"{image} is a folder, and predict takes one image. Name a file in it.")
    if not image.exists():
        raise InvalidInput(f"There is no image {image}{similar(image)}")
    noise = RoundedGaussian(sigma, 1 / 255)
    console.note(sanity.of_sigma(sigma))
    console.note(sanity.of_alpha(alpha))
    classifier = Device(device, threads).load(model)
    item = Item(0, decode(image, channels, size).astype("int32"))
    found = predict_item(
        classifier, item, noise, n=n, alpha=alpha, seed=seed, batch_size=batch_size
    )
    if json:
        console.show_json(asdict(found))
    else:
        print(_sentence(found, alpha))


def _sentence(found: "Prediction", alpha: float) -> str:
    from smoothcert.text import level

    votes = (
        f"{found.top_votes} of {found.draws} draws, class {found.second} got {found.second_votes}"
    )
    if found.predicted < 0:
        more = "more draws with another seed (--n, --seed) may decide"
        return f"abstain: class {found.top} got {votes}; {more}"
    wrong = f"wrong with probability at most {level(alpha)} (docs/theory.md, section 4)"
    return f"class {found.predicted}: {votes}; {wrong}"
