"""The network that `train` trains, and how it is written."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.pytorch import TorchClassifier, save_weights
from smoothcert.classifiers.reference import ModelReference
from smoothcert.classifiers.weights import zoo_weights
from smoothcert.compress.export import to_pt2
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, ModelError


@dataclass(frozen=True)
class Trainee:
    """A network of the zoo, from scratch, or any torch network, further.

    Attributes:
        model: a reference; None for a network of the zoo from scratch.
        built: the architecture that is built then.
    """

    model: str | None
    built: str

    @cached_property
    def architecture(self) -> str:
        """Of the zoo; empty for another network."""
        if self.model is None:
            return self.built
        reference = ModelReference.parse(self.model)
        if not reference.is_of_the_zoo or reference.path is None or reference.preprocessing:
            return ""
        return zoo_weights(reference.path, reference).architecture

    @property
    def name(self) -> str:
        """For messages."""
        return self.architecture or str(self.model)

    def check_suffix(self, out: Path) -> None:
        """Raise InvalidInput unless the file is named as what can be written of the network."""
        if out.suffix == ".pt2" and self.model is not None:
            return
        if not self.architecture:
            raise InvalidInput(f"{self.model} is written as a .pt2 program; got {out.name!r}")
        if out.suffix != ".safetensors":
            raise InvalidInput(f"Weights are written as .safetensors; got {out.name!r}")

    @cached_property
    def _source(self) -> TorchClassifier | None:
        if self.model is None:
            return None
        found = load_classifier(self.model)
        if isinstance(found, TorchClassifier):
            return found
        raise ModelError(
            f"{found.name} cannot be trained here, as it is not a torch network. Train the network "
            "that it was exported from: package.module:factory, arch@weights or x.pt2."
        )

    @property
    def fingerprint(self) -> str:
        """Of the network before training; empty for one that is built."""
        return self._source.fingerprint if self._source else ""

    def network(self, data: Inputs) -> nn.Module | None:
        """The network, ready to be trained on data; None if it is to be built.

        Raises:
            InvalidInput, ModelError: see `trainable`.
        """
        return trainable(self._source, data) if self._source else None

    def save(
        self, network: nn.Module, shape: tuple[int, ...], out: Path, facts: dict[str, Any]
    ) -> None:
        """Write it: weights with these facts, or a program."""
        if out.suffix == ".pt2":
            to_pt2(network, shape, out)
        else:
            save_weights(network, self.architecture, out, **facts)


def trainable(source: TorchClassifier, data: Inputs) -> nn.Module:
    """The network of a classifier, to be trained on data.

    Raises:
        InvalidInput: the data has a label that is no class of the network.
        ModelError: it has no weights that can be trained.
    """
    if source.fixed_batch is not None:
        raise ModelError(
            f"{source.name} takes batches of {source.fixed_batch} only, and cannot be trained in "
            "others. Export it again with a dynamic batch dimension."
        )
    classes = source.logits(np.full((2, *data.shape), 0.5, np.float32)).shape[1]
    if data.labels is not None and max(data.labels) >= classes:
        raise InvalidInput(
            f"{data.name} has the label {max(data.labels)}, but the network has {classes} classes."
        )
    network = source.module
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ModelError(
            f"{source.name} has no weights that can be trained, perhaps as they are quantized. "
            "Train the network that it was made from."
        )
    return network
