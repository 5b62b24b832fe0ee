"""Distillation: a small zoo network learns the original's logits on noisy inputs."""

import numpy as np
import torch

from smoothcert import zoo
from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.protocol import Classifier
from smoothcert.classifiers.pytorch import save_weights
from smoothcert.compress.learning import epochs_of, recipe_for
from smoothcert.compress.record import CompressionReport
from smoothcert.compress.request import Request
from smoothcert.errors import InvalidInput, ModelError, did_you_mean
from smoothcert.sampling.cpu import logits_of
from smoothcert.text import many
from smoothcert.training.gaussian import TEMPERATURE, train

_PIECE = 32
"""Images per forward pass of the teacher, on one core."""


def write(request: Request) -> CompressionReport:
    """Train a student and write its weights (safetensors); any classifier can be the teacher.

    The student matches the teacher's softened prediction on the same noisy images, and sees no
    labels (Hinton et al. 2015, with the weight of the labels at zero): the fewer the draws on which
    the two disagree, the more of a certificate carries over.
    """
    architecture, comma, text = request.argument.partition(",")
    if architecture not in zoo.ARCHITECTURES:
        raise InvalidInput(
            "distill takes an architecture and optionally epochs, as in "
            f"distill:cifar_resnet8,8; got {request.target!r}. Architectures: "
            f"{', '.join(zoo.ARCHITECTURES)}"
            f"{did_you_mean(architecture, zoo.ARCHITECTURES) or '.'}"
        )
    epochs = epochs_of(request, text, f"distill:{architecture},8") if comma else None
    request.check_suffix(".safetensors")
    data, sigma = request.needed_inputs(), request.needed_sigma()
    teacher = load_classifier(request.model)
    recipe = recipe_for(architecture, data, sigma, request.seed, epochs)
    student = train(recipe, data, progress=request.progress, teacher=_Teacher(teacher))
    save_weights(student, architecture, request.out, compressed=request.target, sigma=sigma)
    tensors = sum(1 for tensor in student.state_dict().values() if tensor.ndim > 1)
    said = f"{architecture} trained for {many(recipe.epochs, 'epoch')} on the logits of "
    said += f"{teacher.name} at temperature {TEMPERATURE:g} and sigma {sigma:g}"
    return request.report(said, (tensors, tensors, 1.0))


class _Teacher:
    """A classifier as a function of tensors, without gradients."""

    def __init__(self, classifier: Classifier) -> None:
        if classifier.fixed_batch is not None:
            raise ModelError(
                f"{classifier.name} only takes batches of {classifier.fixed_batch}, but a teacher "
                "needs a dynamic batch dimension. Export it again with one."
            )
        self.classifier = classifier

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        # Pieces of one size, so that the student does not depend on the number of cores.
        pieces = (piece.numpy() for piece in images.cpu().split(_PIECE))
        logits = np.concatenate([*logits_of(self.classifier, pieces)])
        return torch.from_numpy(logits).to(images.device, torch.float32)
