"""The embedded digits, and .npz files of arrays."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.data.inputs import Inputs
from smoothcert.data.layouts import some
from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.files import require_regular, similar
from smoothcert.noise.law import grid_levels

MOST_UNPACKED = 2**31
"""Byte limit of an .npz file and of each array in it; in memory they take four times as much."""

_INPUTS = frozenset(("x", "images", "inputs"))
_LABELS = frozenset(("y", "labels", "label", "target", "targets"))
_DARK = 16  # out of 255: the values of binary masks, and of scikit-learn's digits

_DIGITS_TEST = 500
_DIGITS_GRID = Fraction(1, 256)
_EIGHT_BIT = Fraction(1, 255)


def digits(split: str, grid: float | Fraction | None) -> Inputs:
    """The embedded digits; their 17 levels are every 16th point of the grid 1/256."""
    if split not in ("train", "test"):
        raise InvalidInput(f"digits has the splits 'train' and 'test'; got {split!r}")
    if grid is not None and grid_levels(grid) % 16:
        raise InvalidInput(f"digits need a grid of step 1/(16 k), such as 1/256; got {grid}")
    rows = _digits_table()
    order = np.random.default_rng(0).permutation(len(rows))
    chosen = rows[order[:_DIGITS_TEST] if split == "test" else order[_DIGITS_TEST:]]
    return Inputs.from_arrays(
        chosen[:, :-1].reshape(-1, 1, 8, 8) / 16,
        chosen[:, -1].astype(int),
        _DIGITS_GRID if grid is None else grid,
        "digits",
    )


def _digits_table() -> NDArray[np.float64]:
    """One row per scan: 64 pixels from 0 to 16, and the digit."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise MissingExtra("scikit-learn", "data")
    # Its file is read directly, as importing scikit-learn takes each process over a second.
    file = Path(found.origin).with_name("datasets") / "data" / "digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    return np.column_stack([data.data, data.target])


def archive(path: Path, split: str, grid: float | Fraction | None) -> Inputs:
    """The arrays of an .npz file; see `datasets.load_inputs`."""
    try:
        require_regular(path, MOST_UNPACKED, InvalidInput)
        with np.load(path, allow_pickle=False) as archive:
            there = archive.files
            source, labels = _which(there, split, path.name)
            values: Any = _array(archive, source)
            known = _array(archive, labels) if labels else None
    except FileNotFoundError:
        raise InvalidInput(f"There is no data file {path}{similar(path)}") from None
    except InvalidInput:
        raise
    except Exception as error:  # zipfile, NumPy and zlib each have their own error types
        raise InvalidInput(
            f"{path.name} is not a readable .npz file of plain arrays: {error}"
        ) from error
    if "inputs" not in source.lower().split("_"):
        values = _channels_first(values, path.name, source)
    notes = [
        f"Read from {source!r}, labels from {labels!r}." if labels else f"Read from {source!r}."
    ]
    if not labels and (others := [key for key in there if key != source]):
        notes.append(f"Not read: {some(others)}.")
    if values.dtype == np.uint8 and values.size and values.max() <= _DARK:
        notes.append(
            f"Its largest value is {values.max()} of 255, nearly black: if that means white, "
            "divide by it and save floats."
        )
    step = _EIGHT_BIT if grid is None else grid
    return replace(Inputs.from_arrays(values, known, step, path.name), notes=tuple(notes))


def _which(there: Sequence[str], split: str, name: str) -> tuple[str, str | None]:
    """The arrays of inputs and labels: those with the split's name, else those without a split.

    Raises:
        InvalidInput: there are none, or several.
    """
    of_split, plain = (
        [key for key in there if of(key)] for of in (_of(_INPUTS, split), _of(_INPUTS))
    )
    source = _only(of_split, name) or _only(plain, name)
    if source is None:
        raise InvalidInput(
            f"{name} has the arrays {', '.join(there)[:200] or '(none)'}. Name the inputs "
            f"'x_{split}', 'images_{split}', 'x' or 'images', or, if they are not images, "
            f"'inputs_{split}' or 'inputs'."
        )
    labels = _only([key for key in there if _of(_LABELS, split)(key)], name)
    others = [key for key in there if key != source and _INPUTS & set(key.lower().split("_"))]
    if labels is None and not (of_split and others):  # then the plain labels belong to others
        labels = _only([key for key in there if _of(_LABELS)(key)], name)
    return source, labels


def _of(kinds: frozenset[str], split: str = "") -> Callable[[str], bool]:
    """Whether an array is called x, or, with a split, x_test or test_x, in any case."""
    names = {f"{a}_{b}".strip("_").lower() for k in kinds for a, b in ((k, split), (split, k))}
    return lambda key: key.lower() in names


def _only(keys: Sequence[str], name: str) -> str | None:
    if len(keys) > 1:
        raise InvalidInput(f"{name} has {some(keys)}, any of which may be meant. Keep one of them.")
    return keys[0] if keys else None


def _array(archive: Any, key: str) -> NDArray[Any]:
    """An array of an archive, if its stated size fits into memory."""
    if archive.zip.getinfo(f"{key}.npy").file_size > MOST_UNPACKED:
        raise ValueError(f"{key} would unpack to more than {MOST_UNPACKED} bytes")
    return archive[key]


def _channels_first(images: NDArray[Any], name: str, source: str) -> NDArray[Any]:
    """(N, H, W) gets a channel; (N, H, W, C) with C in {1, 3} and no such axis 1 is transposed."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        return images
    if images.shape[1] in (1, 3):
        raise InvalidInput(
            f"{source} of {name} has shape {images.shape}, whose channels may be the second axis "
            "or the last. Put them second and call the array 'inputs', which is not transposed."
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
