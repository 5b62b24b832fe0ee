"""`package.module:Class@weights.pth`: weights in a file, put into what the user's code makes."""

from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from smoothcert.classifiers.blame import THEIRS, reason
from smoothcert.classifiers.checkpoints import Tensors, read, require_faithful
from smoothcert.classifiers.reference import ModelReference
from smoothcert.classifiers.state_names import Unwrapped, unwrapped
from smoothcert.errors import ModelError
from smoothcert.zoo.fitting import COUNTER, Shapes, differences
from smoothcert.zoo.names import WORDS, Architecture
from smoothcert.zoo.normalize import layer


class OwnWeights:
    """The weights of a file for one class.

    Attributes:
        code: the reference of the class or function: `package.module:Class`.
        name: the same with the file's name.
        front: a sentence on what was put before the network, or empty.
    """

    def __init__(self, reference: ModelReference) -> None:
        """Read the file.

        Raises:
            ModelError: it cannot be read.
        """
        asked = Architecture.parse(reference.architecture)
        self.code: str = asked.base
        self.front: str = ""
        self._asked = asked.normalization
        self._entry = reference.output
        self._stored = read(Path(reference.file))
        entry = f"#{self._entry}" if self._entry else ""
        self.name: str = f"{self.code}@{self._stored.name}{entry}"

    def into(self, made: Any) -> nn.Module:
        """The network with the weights, behind a normalization if there is one to add.

        Raises:
            ModelError: it is no torch.nn.Module, or the weights do not fit it exactly.
        """
        if not isinstance(made, nn.Module):
            raise ModelError(
                f"{self.code} makes a {type(made).__name__}, and weights are put into a "
                "torch.nn.Module. Return the network, or leave out the file."
            )
        wanted = self._wanted(made)
        name = self._stored.name
        tensors = self._stored.chosen(
            self._entry, lambda some: _way(wanted, some, name) is not None
        )
        found = _way(wanted, tensors, name)
        ways = unwrapped(tensors, name) if found is None else [found]
        found = max(ways, key=lambda way: len(wanted.keys() & way.tensors.keys()))
        if wrong := differences(wanted, found.tensors):
            raise ModelError(f"The weights in {name} do not fit {self.code}: {wrong}.")
        try:
            made.load_state_dict(found.tensors, strict=False)
        except THEIRS as error:
            raise ModelError(
                f"The weights in {name} do not fit {self.code}: {reason(error)}"
            ) from error
        require_faithful(made, found.tensors, name)
        return self._behind(made, found)

    def _wanted(self, made: nn.Module) -> Shapes:
        state = made.state_dict()
        if any(key.endswith("_extra_state") for key in state):
            raise ModelError(
                f"{self.code} has extra state (get_extra_state), which is not read from "
                "checkpoints. Load it in a function of yours, and pass package.module:factory."
            )
        return {
            key: None if isinstance(value, UninitializedTensorMixin) else tuple(value.shape)
            for key, value in state.items()
        }

    def _behind(self, network: nn.Module, found: Unwrapped) -> nn.Module:
        """The network behind what the file or the reference says; by itself if neither does."""
        name = self._stored.name
        chosen, why = found.stated(self._asked, name)
        if chosen is None and found.stood_behind:
            raise ModelError(
                f"The tensors' names in {name} begin with {found.prefix!r:.60}, so a layer without "
                f"weights stood before the network. Give {self.code}+WORD@{name} with the "
                f"normalization, one of {WORDS} (none: {self.code} normalizes itself), or "
                "+mean=...+std=..."
            )
        if chosen is None or not chosen.mean:
            return network
        self.front = (
            f"Put before {self.code}: the normalization {chosen.word} ({chosen.text}), {why}."
        )
        return nn.Sequential(layer(chosen, len(chosen.mean)), network)


def _way(wanted: Shapes, tensors: Tensors, name: str) -> Unwrapped | None:
    """The tensors without the prefixes that leave exactly the wanted names; None if none do."""
    for way in unwrapped(tensors, name):
        missing, more = wanted.keys() - way.tensors.keys(), way.tensors.keys() - wanted.keys()
        if not more and all(key.endswith(COUNTER) for key in missing):
            return way
    return None
