"""What the compressions that train have in common: the epochs and the recipe."""

from dataclasses import replace

from smoothcert.compress.request import Request
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.training.recipe import RECIPES, Recipe


def epochs_of(request: Request, text: str, example: str) -> int:
    """A whole number of epochs, at least 1; InvalidInput otherwise."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise InvalidInput(
            f"{request.kind} needs a whole number of epochs, as in {example}; "
            f"got {request.target!r}"
        )
    return int(text)


def recipe_for(
    architecture: str,
    data: Inputs,
    sigma: float,
    seed: int,
    epochs: int | None = None,
    slower: float = 1,
) -> Recipe:
    """The recipe `short` for colour images, which it crops and mirrors, and `quick` for others.

    Its rate is divided by `slower`, and its epochs are its own by default.
    """
    base = RECIPES["short" if data.shape[0] == 3 else "quick"]
    return replace(
        base,
        architecture=architecture,
        sigma=sigma,
        seed=seed,
        epochs=epochs or base.epochs,
        rate=base.rate / slower,
    )
