"""What the functions take as inputs, in the forms that people have at hand."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.files import similar


def as_inputs(inputs: Inputs | ArrayLike | str | Path | object) -> Inputs:
    """Convert what was given to `Inputs`.

    Args:
        inputs: `Inputs`, returned unchanged; a text or path as `load_inputs` takes it (its test
            split); a list of Pillow images or image paths, all of one size; else an array or
            tensor as for `Inputs.from_arrays` (8-bit grid).

    Raises:
        InvalidInput: none of these.
    """
    if isinstance(inputs, Inputs):
        return inputs
    if isinstance(inputs, str | Path):
        from smoothcert.data.datasets import load_inputs

        if isinstance(inputs, Path) and not inputs.exists():  # a text may name a hub's
            raise InvalidInput(f"There is no data at {inputs}{similar(inputs)}")
        return load_inputs(str(inputs))
    if _is_image(inputs):
        return _stacked([inputs])
    if isinstance(inputs, list | tuple) and any(map(_is_image, inputs)):
        return _stacked(inputs)
    try:
        array = _on_host(inputs)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(
            f"The inputs are not an array: {error}. Give an array of shape (count, ...), "
            "`Inputs`, a list of images of one size, or what load_inputs takes."
        ) from error
    return Inputs.from_arrays(array)


def _on_host(inputs: Any) -> Any:
    """Convert to an array, also a tensor on a GPU or with a gradient, or a list of them."""
    if hasattr(inputs, "detach"):
        return inputs.detach().cpu().numpy()
    if isinstance(inputs, list | tuple) and any(hasattr(one, "detach") for one in inputs):
        inputs = [_on_host(one) for one in inputs]
    return np.asarray(inputs)


def as_array(one: Any) -> NDArray[Any]:
    """One input: a Pillow image or an image's path (channels first), else an array or a tensor."""
    from smoothcert.data.images import decode

    return decode(one) if _is_image(one) else np.asarray(_on_host(one))


def _is_image(one: object) -> bool:
    """Whether it is an image or the path of one; without importing Pillow."""
    return isinstance(one, str | Path) or (hasattr(one, "getbands") and hasattr(one, "convert"))


def _stacked(images: Any) -> Inputs:
    from smoothcert.data.images import decode

    arrays = []
    for number, image in enumerate(images):
        if not _is_image(image):
            raise InvalidInput(
                f"Entry {number} of the list is not an image; got {type(image).__name__}"
            )
        arrays.append(decode(image))
        if arrays[-1].shape != arrays[0].shape:
            raise InvalidInput(
                f"Image {number} has shape {arrays[-1].shape} and image 0 {arrays[0].shape} "
                "(channels, height, width). Convert all to one mode and resize them to one size."
            )
    return Inputs.from_arrays(np.stack(arrays))
