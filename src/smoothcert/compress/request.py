"""The settings of a compression, and the checks that several targets share."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress.record import CompressionReport
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.vocabulary import TARGETS

if TYPE_CHECKING:
    import torch

    from smoothcert.classifiers.pytorch import TorchClassifier


@dataclass(frozen=True)
class Request:
    """One compression to do.

    Attributes:
        model: reference of the original.
        target: the target as given, for messages: `prune:0.2`.
        argument: the part after the colon: `0.2`; empty if there is none.
        out: the file to write.
        inputs: example, calibration or training data, or None.
        sigma: noise that the model will see, or None.
        seed: seed of everything drawn at random.
        progress: called with (epochs done, mean loss) after every epoch of a training.
    """

    model: str
    target: str
    argument: str
    out: Path
    inputs: Inputs | None
    sigma: float | None
    seed: int
    progress: Callable[[int, float], None] | None = None

    @property
    def kind(self) -> str:
        """The target's name without its argument: `prune`."""
        return self.target.partition(":")[0]

    @property
    def bytes_before(self) -> int:
        """Size of the original file, 0 if it is not a file."""
        return bytes_of(self.file) if self.file.is_file() else 0

    @cached_property
    def reference(self) -> ModelReference:
        """The original's reference, parsed."""
        return ModelReference.parse(self.model)

    @property
    def file(self) -> Path:
        """The original's file; an empty path if it is not a file."""
        return self.reference.path or Path()

    @property
    def written(self) -> str:
        """Reference of the written model: an ONNX model keeps the named output."""
        output = self.reference.output
        return f"{self.out}#{output}" if output and self.out.suffix == ".onnx" else str(self.out)

    def report(
        self,
        method: str,
        changed: tuple[int, int, float],
        bytes_before: int | None = None,
        **facts: Any,
    ) -> CompressionReport:
        """The report of the written file.

        `changed` is what `record.differences` counts; `bytes_before` is given where the original's
        file is not what was compressed.
        """
        before = self.bytes_before if bytes_before is None else bytes_before
        return CompressionReport(self.out, method, *changed, before, bytes_of(self.out), **facts)

    def needed_inputs(self) -> Inputs:
        """The data; InvalidInput if none was given, ModelError if data would not help."""
        if self.inputs is None:
            self._check_kind()
            raise InvalidInput(f"{self.target} needs example data: give --data.")
        return self.inputs

    def needed_sigma(self) -> float:
        """The noise; InvalidInput if none was given, ModelError if it would not help."""
        if self.sigma is None:
            self._check_kind()
            raise InvalidInput(f"{self.target} is fitted to noisy inputs: give --sigma (sigma=).")
        return self.sigma

    def _check_kind(self) -> None:
        """ModelError for an ONNX file where the target needs a torch model, whatever is given."""
        if self.file.suffix == ".onnx" and not TARGETS[self.kind].writes.onnx:
            self.torch_source()

    def fraction(self) -> float:
        """The argument as a fraction strictly between 0 and 1; InvalidInput otherwise."""
        try:
            value = float(self.argument)
        except ValueError:
            value = -1.0
        if not 0 < value < 1:
            raise InvalidInput(
                f"{self.kind} needs a fraction between 0 and 1, as in {self.kind}:0.2; "
                f"got {self.argument!r}"
            )
        return value

    def no_argument(self) -> None:
        """InvalidInput if something follows the target's name."""
        if self.argument:
            raise InvalidInput(f"{self.kind} takes no argument; got {self.target!r}")

    def check_suffix(self, *suffixes: str) -> None:
        """InvalidInput unless the output is named as the format that will be written."""
        if self.out.suffix not in suffixes:
            raise InvalidInput(
                f"{self.target} writes a {' or '.join(suffixes)} file; got {self.out.name!r}"
            )

    def torch_source(self) -> "TorchClassifier":
        """The torch classifier behind the model, or a ModelError that says what is needed."""
        from smoothcert.classifiers.pytorch import TorchClassifier

        classifier = load_classifier(self.model)
        if not isinstance(classifier, TorchClassifier):
            raise ModelError(
                f"{classifier.name} is not a torch model. This target needs one: x.pt2, "
                "arch@weights.safetensors, or a package.module:factory that returns a "
                "torch.nn.Module."
            )
        return classifier

    def zoo_source(self) -> "tuple[str, dict[str, torch.Tensor]]":
        """(architecture, tensors) of a zoo network, or a ModelError that says what to give."""
        if front := self.reference.preprocessing:
            raise ModelError(
                f"{self.kind} writes weights, without what {front} puts in front. Give it "
                f"{self.model.removesuffix(f'+{front}')}, and put +{front} behind the new file."
            )
        if not self.reference.is_of_the_zoo:
            raise ModelError(
                f"{self.kind} needs the weights of a zoo network; got {self.model!r}. Give "
                "arch@weights.safetensors, as `train` writes them, or arch@checkpoint.pth."
            )
        from smoothcert.classifiers.weights import zoo_weights

        load_classifier(self.model)  # a wrong reference fails here, with its own message
        found = zoo_weights(self.file, self.reference)
        return found.architecture, dict(found.tensors)


def bytes_of(path: Path) -> int:
    """Size of a model's file, including an ONNX file's external tensors."""
    size = path.stat().st_size
    if path.suffix != ".onnx":
        return size
    import onnx

    from smoothcert.classifiers.onnx_files import files_beside

    model = onnx.load(path, load_external_data=False)
    return size + sum(file.stat().st_size for file in files_beside(path, model))


def part(fraction: float, size: int) -> int:
    """The fraction of a count, rounded down; 0.29 of 100 is 29, although not in binary."""
    return int(Fraction(str(fraction)) * size)
