"""model-card: a section of Markdown for a model card."""

from typing import Annotated

import typer

from smoothcert.cli import options


def model_card(
    runs: options.RunPaths,
    radii: Annotated[str, typer.Option(help="Radii for certified accuracy.")] = "0,0.25,0.5",
    model_index: Annotated[
        bool,
        typer.Option("--model-index", help="Begin with Hugging Face's metadata for model cards."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print a section for a model card.

    It has figures, what they mean, and how to check them.
    """
    from smoothcert.cli import console
    from smoothcert.report.card import model_card as card_of
    from smoothcert.runs.store import Run

    text = card_of(
        [Run.open(path) for path in runs], options.parse_radii(radii), model_index=model_index
    )
    if json:
        console.show_json({"card": text})
    else:
        print(text, end="")  # as it is: Markdown, not lines for a terminal
