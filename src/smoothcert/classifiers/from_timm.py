"""`timm:NAME` and `timm:NAME@weights.safetensors`: timm's networks."""

from pathlib import Path
from typing import Any

import timm  # pyright: ignore[reportMissingImports] (not on every machine)

from smoothcert.classifiers.published import Normalized, brief, filled
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.classifiers.quiet import quiet
from smoothcert.errors import ModelError


def load(name: str, device: str = "cpu") -> TorchClassifier:
    """Make a timm network, with its published weights or a file's.

    Its normalization is that of the published configuration. timm reads safetensors, or other
    files with `weights_only=True`.

    Raises:
        ModelError: no such name, no Internet connection to download, or weights that do not fit.
    """
    kind, _, weights = name.partition("@")

    def build(**options: Any) -> Any:
        try:
            with quiet():
                return timm.create_model(kind, **options)
        except Exception as error:  # timm's, the hub's and the network's have no common base
            raise ModelError(
                f"timm cannot make {kind!r}: {brief(error)}. Check the name (timm.list_models()) "
                "and the Internet connection, or give timm:NAME@weights.safetensors."
            ) from error

    if weights:
        network: Any = filled(build, Path(weights), f"timm's {kind}")
    else:
        network = build(pretrained=True)
    published = network.pretrained_cfg
    facts = f"timm {published.get('architecture', kind)}"
    module = Normalized(network, published["mean"], published["std"], facts)
    return TorchClassifier.published(module, f"timm:{name}", device)
