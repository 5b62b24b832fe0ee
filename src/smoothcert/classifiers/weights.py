"""From weights in a file to a network of the zoo."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from smoothcert import zoo
from smoothcert.classifiers.checkpoints import Stored, read, require_faithful
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.classifiers.state_names import Unwrapped, unwrapped
from smoothcert.errors import ModelError
from smoothcert.zoo.names import NORMALIZATIONS, WORDS, Architecture, Normalization

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class ZooWeights:
    """Weights of an architecture of the zoo.

    Attributes:
        architecture: its name, with the normalization where the file does not imply it.
        tensors: by the network's own names.
        front: a sentence on what stands before the network and how that is known, or empty.
    """

    architecture: str
    tensors: Tensors
    front: str = ""


def load_file(path: Path, device: str, reference: ModelReference) -> TorchClassifier:
    """Load the architecture of a reference with the weights of its file.

    Without an architecture, the one that the file records is used.

    Raises:
        ModelError: no architecture is known, another one is recorded, the weights do not fit it,
            or the file does not say whether the network normalizes.
    """
    found = zoo_weights(path, reference)
    network = zoo.rebuild(found.architecture, found.tensors)
    require_faithful(network, found.tensors, path.name)
    entry = f"#{reference.output}" if reference.output else ""
    name = f"{found.architecture}@{path.name}{entry}"
    return replace(TorchClassifier.published(network, name, device), front=found.front)


def zoo_weights(path: Path, reference: ModelReference) -> ZooWeights:
    """The weights of a file for the zoo, and the full name of their architecture.

    Raises:
        ModelError: as in `load_file`, unless the weights do not fit.
    """
    stored = read(path)
    asked = _architecture(stored, Architecture.parse(reference.architecture))

    def fits(tensors: Tensors) -> bool:
        return _named(asked.base, tensors, stored.name) is not None

    tensors = stored.chosen(reference.output, fits)
    named = _named(asked.base, tensors, stored.name)
    if named is None:  # the zoo says what does not fit
        return ZooWeights(asked.name, tensors)
    if stored.is_ours and named.around.normalization is None:
        return ZooWeights(asked.name, named.tensors)
    if named.are_ours and not (named.around.stood_behind or named.around.normalization):
        known = asked.normalization or NORMALIZATIONS.get(asked.usual)
        return ZooWeights(replace(asked, normalization=known).name, named.tensors)
    chosen, why = _front(asked, named, stored.name)
    says = f"the normalization {chosen.word} ({chosen.text})" if chosen.mean else "nothing"
    front = f"Put before the network of {stored.name}: {says}, {why}."
    if stored.architecture and Architecture.parse(stored.architecture).base != asked.base:
        front += f" The file calls the architecture {stored.architecture!r}."
    return ZooWeights(replace(asked, normalization=chosen).name, named.tensors, front)


def _architecture(stored: Stored, given: Architecture) -> Architecture:
    """The architecture that the reference gives, or else the one that the file records.

    Raises:
        ModelError: there is neither, or they differ.
    """
    text = stored.architecture if stored.is_ours else stored.architecture.replace("+", "_")
    recorded = Architecture.parse(text)
    known = recorded.base in zoo.ARCHITECTURES
    if not given.base:
        if not known:
            raise ModelError(_without_architecture(stored))
        given = replace(recorded, normalization=given.normalization or recorded.normalization)
    zoo.own_normalization(given.base)  # which refuses a name that the zoo does not have
    if (known or stored.is_ours) and recorded.base != given.base:
        raise ModelError(
            f"{stored.name} holds weights of {stored.architecture!r}, as it records, and not of "
            f"{given.base!r}. Give {stored.architecture}@{stored.name}"
        )
    if not stored.is_ours:
        return replace(given, usual=given.usual or recorded.usual)
    own, wanted = recorded.normalization, given.normalization
    if wanted is not None and wanted != (own or zoo.own_normalization(recorded.base)):
        raise ModelError(
            f"{stored.name} holds weights of {stored.architecture!r}, as it records, and not of "
            f"{given.name!r}. Give {stored.architecture}@{stored.name}"
        )
    return replace(recorded, usual="")


def _without_architecture(stored: Stored) -> str:
    known = ", ".join(zoo.ARCHITECTURES)
    records = f"records the architecture {stored.architecture!r}, which the zoo does not have"
    return (
        f"{stored.name} {records if stored.architecture else 'does not say which architecture'}"
        f"{'' if stored.architecture else ' it belongs to'}; pass ARCH@{stored.name} with ARCH one "
        f"of {known}. For weights of your own class pass package.module:Class@{stored.name}"
    )


@dataclass(frozen=True)
class _Named:
    """Tensors by the names of the zoo, which they had (`are_ours`), and what was around them."""

    tensors: Tensors
    around: Unwrapped
    are_ours: bool


def _named(base: str, tensors: Tensors, name: str) -> _Named | None:
    """The tensors by the zoo's names; None if they have neither these nor the field's."""
    for around in unwrapped(tensors, name):
        if found := zoo.own_names(base, around.tensors):
            return _Named(_in_float32(found[0]), around, found[1])
    return None


def _in_float32(tensors: Tensors) -> Tensors:
    """The tensors in the type in which the zoo computes, where that has their values."""
    found = dict(tensors)
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and torch.equal(tensor.float().to(tensor.dtype), tensor):
            found[key] = tensor.float()
    return found


def _front(asked: Architecture, named: _Named, name: str) -> tuple[Normalization, str]:
    """What belongs before the network, and how that is known.

    Raises:
        ModelError: the file does not tell, or tells something else than the reference.
    """
    around = named.around
    known, why = around.stated(asked.normalization, name)
    if known is not None:
        return known, why
    usual = zoo.usual_normalization(asked, named.tensors)
    if around.stood_behind and usual and not named.are_ours:
        return NORMALIZATIONS[usual], (
            f"as usual for the data set: the tensors' names begin with {around.prefix!r:.60}, so a "
            f"layer without weights stood there; if it was another, give {asked.base}+WORD@{name}"
        )
    raise ModelError(
        f"{name} does not say how the network's inputs are normalized. Give "
        f"{asked.base}+WORD@{name}: WORD is the normalization that it was trained with, "
        f"{f'probably {usual}, else ' if usual else ''}one of {WORDS} (none: it takes values in "
        "[0, 1] as they are), or +mean=...+std=..."
    )
