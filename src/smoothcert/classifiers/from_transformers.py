"""`hf:org/name` and `hf:/folder`: image classifiers in the format of Hugging Face transformers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from smoothcert.classifiers.published import Normalized, brief
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.classifiers.quiet import quiet
from smoothcert.errors import ModelError

_TOLERANCE = 1e-4  # for the processor's arithmetic on values of a few units
_NOT_STRUCTURE = ("_name_or_path", "transformers_version", "id2label", "label2id", "architectures")


class _Logits(nn.Module):
    """A tensor in, the logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=images).logits


def load(name: str, device: str = "cpu") -> TorchClassifier:
    """Load an image classifier from the hub or a folder, with its processor's normalization inside.

    Only safetensors are read and no code of the repository is run. Resizing is not part of the
    classifier: give it inputs of its size.

    Raises:
        ModelError: not found, not a classifier, weights missing or not in safetensors, or a
            processor that does more to pixels than scaling and normalization.
    """
    if name.startswith((".", "/", "~")):
        name = str(Path(name).expanduser())
        if not Path(name).is_dir():
            raise ModelError(f"There is no folder {name}")
    try:
        with quiet():
            network, found = AutoModelForImageClassification.from_pretrained(
                name,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
            processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # transformers', the hub's and the network's have no common base
        raise ModelError(
            f"{name} cannot be loaded as a Hugging Face image classifier with safetensors "
            f"weights: {brief(error)}"
        ) from error
    absent = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    if absent:
        raise ModelError(
            f"{name} has no weights for {', '.join(absent[:3])}, so it is not a complete "
            "classifier: they would be random. Give a model fine-tuned for image classification."
        )
    mean, std = _normalization(processor, getattr(network.config, "num_channels", 3), name)
    module = Normalized(_Logits(network), mean.tolist(), std.tolist(), _structure(network.config))
    found = TorchClassifier.published(module, f"hf:{name}", device)
    return replace(found, class_names=_class_names(network.config))


def _class_names(config: Any) -> tuple[str, ...]:
    """The names of the classes, or none if they are transformers' placeholders."""
    names = {int(number): str(text) for number, text in (config.id2label or {}).items()}
    if sorted(names) != list(range(len(names))):
        return ()
    ordered = tuple(names[number] for number in range(len(names)))
    placeholders = tuple(f"LABEL_{number}" for number in range(len(names)))
    return () if ordered == placeholders else ordered


def _normalization(
    processor: Any, channels: int, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation on the [0, 1] scale, checked against the processor itself."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, channels), dtype=np.uint8)
    image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
    sizing = ("do_resize", "do_center_crop", "do_pad")
    as_is = {option: False for option in sizing if hasattr(processor, option)}
    try:
        scale = round(255 * processor.rescale_factor, 9) if processor.do_rescale else 255.0
        shift, spread = np.zeros(channels), np.ones(channels)
        if processor.do_normalize:
            shift, spread = shift + processor.image_mean, spread * processor.image_std
        mean, std = shift / scale, spread / scale
        ours = ((pixels / 255 - mean) / std).transpose(2, 0, 1)
        with quiet():
            theirs = processor(image, return_tensors="np", **as_is)["pixel_values"][0]
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=_TOLERANCE)
    except Exception as error:  # any failure means a processor of another kind
        raise ModelError(
            f"The processor of {name} ({type(processor).__name__}) does more than scale and "
            "normalize pixels, which cannot be put inside the classifier. Wrap the model in a "
            "module of your own and pass package.module:factory."
        ) from error
    return mean, std


def _structure(config: Any) -> str:
    """The configuration as text: facts that weights do not show, such as the number of heads."""
    facts = {key: value for key, value in config.to_dict().items() if key not in _NOT_STRUCTURE}
    return json.dumps(facts, sort_keys=True, default=str)
