"""adapt: preprocessing put into a model's file."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

_NAMES = tuple(vocabulary.NORMALIZATIONS)

_Mean = Annotated[
    str | None,
    typer.Option(
        help="What is subtracted: a number or one per channel, as 0.5,0.4,0.3, in the order "
        f"and on the scale of what the model takes; or {', '.join(_NAMES)}.",
        autocompletion=options.complete(_NAMES),
    ),
]
_Std = Annotated[
    str | None,
    typer.Option(
        help="What the difference is divided by, likewise.",
        autocompletion=options.complete(_NAMES),
    ),
]
_Scale = Annotated[
    float | None,
    typer.Option(
        "--scale",
        help="What values in [0, 1] are multiplied by first: 255 for a model of 0..255.",
        parser=options.parse_real,
        metavar="FLOAT",
    ),
]
_Layout = Annotated[
    str | None,
    typer.Option(
        help="How the model takes images: nhwc (channels last) or flat (one row of values).",
        autocompletion=options.complete(vocabulary.LAYOUTS),
        show_default="nchw",
    ),
]
_Channels = Annotated[
    str | None,
    typer.Option(
        help="bgr for a model that takes blue first.",
        autocompletion=options.complete(("bgr",)),
        show_default="rgb",
    ),
]
_Resize = Annotated[
    str | None,
    typer.Option(
        help="The model's size as HEIGHTxWIDTH, if the certified inputs have another; "
        "certificates are about the inputs before."
    ),
]
_Resampling = Annotated[
    str | None,
    typer.Option(
        help="bilinear or bicubic as in Pillow and torchvision; bilinear-plain or "
        "bicubic-plain as in OpenCV (without antialiasing).",
        autocompletion=options.complete(tuple(vocabulary.RESAMPLINGS)),
        show_default="bilinear",
    ),
]
_Preprocess = Annotated[
    Path | None,
    typer.Option(
        help="A JSON file with these settings, or a hub's: preprocessor_config.json, "
        "config.json of timm. Options given here count before it."
    ),
]
_Denoiser = Annotated[
    str | None,
    typer.Option(
        "--denoiser",
        help="What gets the noisy images first and gives cleaner ones: a torch model, or for an "
        "ONNX file also another one. The file of --preprocess says how it is called, by its "
        "keys denoiser_...",
        metavar="MODEL",
        show_default=False,
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(help="Where to write. Without it, nothing is written.", show_default=False),
]


def adapt(
    model: options.Model,
    mean: _Mean = None,
    std: _Std = None,
    scale: _Scale = None,
    layout: _Layout = None,
    channels: _Channels = None,
    resize: _Resize = None,
    resampling: _Resampling = None,
    preprocess: _Preprocess = None,
    denoiser: _Denoiser = None,
    out: _Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Put preprocessing into a model's file.

    The new file takes images in [0, 1] as they are. Without --out it says what it
    sees in the file, and which command it proposes.
    """
    from smoothcert.adapt import adapt as write
    from smoothcert.adapt import seen
    from smoothcert.classifiers.preprocessing_files import denoiser_in, given
    from smoothcert.cli import console

    asked = {"mean": mean, "std": std, "scale": scale, "layout": layout}
    asked |= {"channels": channels, "resize": resize, "resampling": resampling}
    wanted, notes = given(preprocess, {k: v for k, v in asked.items() if v is not None})
    first = denoiser_in(preprocess, denoiser)
    console.note(notes)
    found = seen(model)
    if out is None:
        if json:
            console.show_json(found.record(wanted))
        else:
            console.show(found.describe(wanted))
        return
    console.note(found.warnings(wanted))
    done = write(model, out, wanted, denoiser=first, overwrite=overwrite)
    if json:
        console.show_json(done.record())
    else:
        console.show(f"{out}: {done.describe()}")
