"""Preprocessing in front of a torch.export program, and what it shows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from smoothcert.adapt.adapted import Adapted, nothing
from smoothcert.adapt.compared import Difference, difference, trial_images
from smoothcert.adapt.seen import Seen, beside
from smoothcert.adapt.shapes import images_shape
from smoothcert.classifiers import pt2
from smoothcert.classifiers.denoised import Denoised
from smoothcert.classifiers.denoising import Denoising
from smoothcert.classifiers.loading import behind_denoiser
from smoothcert.classifiers.preprocessed import Preprocessed
from smoothcert.classifiers.preprocessing import Preprocessing
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress.export import exported, exporting, save_pt2
from smoothcert.compress.written import written_whole
from smoothcert.errors import InvalidInput, ModelError
from smoothcert.files import fingerprint_file

_NORMALIZES = ("aten.sub", "aten.div", "aten.mul", "aten.add", "aten.batch_norm")
_PASSES = ("aten.to", "aten._to_copy", "aten.permute", "aten.flip", "aten.clone")
_MOST_STEPS = 8


def write(
    reference: ModelReference,
    source: Path,
    out: Path,
    wanted: Preprocessing,
    overwrite: bool,
    denoiser: Denoising | None = None,
) -> Adapted:
    """Write a program with preprocessing in front; see `adapt.adapt`."""
    original = pt2.load_file(source, "cpu", reference)
    if not wanted and denoiser is None:
        raise nothing(reference.text, original.name)
    if wanted.resize or wanted.layout == "flat":
        raise InvalidInput(
            "A .pt2 keeps the sizes that it was exported with, so images of other sizes cannot be "
            "resized or flattened in front of it. Write the settings to a JSON file and give every "
            f"command {reference.text}+preprocess.json."
        )
    shape = images_shape([size or "" for size in original.takes], wanted)
    images = next(trial_images(shape, wanted))
    fixed = original.fixed_batch
    if fixed:
        images = np.resize(images, (fixed, *images.shape[1:]))
    front: torch.nn.Module = Preprocessed(original.module, wanted)
    clean = images
    if denoiser is not None:
        front = behind_denoiser(denoiser, replace(original, module=front), "cpu").module
        assert isinstance(front, Denoised)
        with torch.no_grad():
            clean = front.clean(torch.from_numpy(images)).numpy()
    with written_whole(out, overwrite) as aside:
        with exporting("the network with its preprocessing"):
            save_pt2(exported(front, images.shape[1:], original.rows), aside)
        adapted = pt2.load_file(aside, "cpu", reference)
        found = _difference(original, adapted, wanted, images, clean)
        if not found.allowed(wanted):
            raise ModelError(
                f"{original.name} with this in front computes something else than after the same "
                f"by hand: {found.describe()}. Nothing was written."
            )
    said = f"{denoiser.model}, {denoiser.describe()}" if denoiser else ""
    return Adapted(out, wanted, fingerprint_file(source), found, fixed, fixed, said)


def _difference(
    original: TorchClassifier,
    adapted: TorchClassifier,
    wanted: Preprocessing,
    images: NDArray[np.float32],
    clean: NDArray[np.float32],
) -> Difference:
    """As `difference`; in the only batch, if the program takes no single rows."""
    if original.rows is None:
        return difference(original, adapted, wanted, images, clean)
    expected, found = original.logits(wanted.apply(clean)), adapted.logits(images)
    apart = float(np.abs(expected - found).max() / np.abs(expected).max(initial=1e-30))
    return Difference(len(images), apart, apart)


def look(reference: ModelReference, source: Path) -> Seen:
    """What a program shows, without computing anything; see `seen.Seen`."""
    classifier = pt2.load_file(source, "cpu", reference)
    graph = classifier.module.graph
    assert isinstance(graph, torch.fx.Graph)
    images = next(node for node in graph.nodes if node.op == "placeholder")
    shape = [classifier.fixed_batch or "batch", *[size or "" for size in classifier.takes[1:]]]
    end = next(node for node in graph.nodes if node.op == "output")
    softmax = any("softmax" in str(node.target) for node in end.all_input_nodes)
    return Seen(
        reference.text,
        images.name,
        shape,
        False,
        _first_arithmetic(images),
        softmax,
        *beside(source, shape),
        "",
    )


def _first_arithmetic(node: torch.fx.Node) -> tuple[str, ...]:
    """The arithmetic with constants between the images and the first other operation."""
    found = []
    for _ in range(_MOST_STEPS):
        users = [user for user in node.users if user.op == "call_function"]  # no guards
        users = [user for user in users if not str(user.target).startswith("aten.sym_size")]
        if len(users) != 1:
            break
        (user,), name = users, str(users[0].target)
        others = [other for other in user.all_input_nodes if other is not node]
        if name.startswith(_NORMALIZES) and all(other.op == "get_attr" for other in others):
            found.append(name.split(".")[1])
        elif not name.startswith(_PASSES):
            break
        node = user
    return tuple(found)
