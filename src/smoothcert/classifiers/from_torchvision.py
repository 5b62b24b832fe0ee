"""`torchvision:NAME[@WEIGHTS]` and `torchvision:NAME@weights.safetensors`."""

from pathlib import Path
from typing import Any

from torchvision import models  # pyright: ignore[reportMissingImports] (not on every machine)

from smoothcert.classifiers.published import Normalized, brief, filled
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.classifiers.quiet import quiet
from smoothcert.errors import ModelError


def load(name: str, device: str = "cpu") -> TorchClassifier:
    """Make a torchvision network, with published weights (the best by default) or a file's.

    The normalization is that of the named weights, or for a file that of the default weights.

    Raises:
        ModelError: no such name, no Internet connection to download, or weights that do not fit.
    """
    kind, _, weights = name.partition("@")
    path = Path(weights) if Path(weights).suffix else None
    try:
        published: Any = models.get_model_weights(kind)
        chosen = published.DEFAULT if path or not weights else published[weights]
        normalization = chosen.transforms()
        mean, std = normalization.mean, normalization.std
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"torchvision has no classifier {name!r} ({error}). Give torchvision:NAME, "
            "torchvision:NAME@IMAGENET1K_V1 or torchvision:NAME@weights.safetensors."
        ) from error
    if path:
        network = filled(lambda **o: _built(kind, None, **o), path, f"torchvision's {kind}")
    else:
        network = _downloaded(kind, chosen)
    module = Normalized(network, mean, std, f"torchvision {kind}")
    return TorchClassifier.published(module, f"torchvision:{name}", device)


def _built(kind: str, weights: Any, **options: Any) -> Any:
    with quiet():
        return models.get_model(kind, weights=weights, **options)


def _downloaded(kind: str, weights: Any) -> Any:
    try:
        with quiet():
            # torchvision unpickles its files in full. A file that loads as weights only has
            # nothing else in it, and the call below reads the same file, now in the cache.
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        return _built(kind, weights)
    except Exception as error:  # the network's and torch's have no common base
        raise ModelError(
            f"The weights {weights} of torchvision cannot be loaded: {brief(error)}. "
            "Check the Internet connection, or give torchvision:NAME@weights.safetensors."
        ) from error
