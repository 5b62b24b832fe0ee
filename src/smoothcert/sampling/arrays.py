"""The embedded digits, and .npz files of arrays."""

from collections.abc import Container, Iterable
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.noise.law import grid_levels
from smoothcert.regular import require_regular, similar
from smoothcert.sampling.inputs import Inputs

MOST_UNPACKED = 2**31
"""Bytes of an .npz file and of each array in it; in memory they become four times as many."""

_DIGITS_TEST = 500
_DIGITS_GRID = Fraction(1, 256)
_EIGHT_BIT = Fraction(1, 255)


def digits(split: str, grid: float | Fraction | None) -> Inputs:
    """The scans' 17 levels sit on every 16th point of the grid 1/256."""
    if split not in ("train", "test"):
        raise InvalidInput(f"digits has the splits 'train' and 'test'; got {split!r}")
    if grid is not None and grid_levels(grid) % 16:
        raise InvalidInput(f"digits lie on grids of step 1/(16 k), such as 1/256; got {grid}")
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
    """A row a scan: 64 pixels from 0 to 16, and the digit."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise MissingExtra("scikit-learn", "data")
    # Its file is read as it is, as importing scikit-learn takes each process over a second.
    file = Path(found.origin).with_name("datasets") / "data" / "digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    return np.column_stack([data.data, data.target])


def archive(path: Path, split: str, grid: float | Fraction | None) -> Inputs:
    """The arrays of an .npz file; see `datasets.load_inputs`."""
    named = (f"x_{split}", f"images_{split}", "x", "images")
    plain = (f"inputs_{split}", "inputs")
    classes = (f"y_{split}", f"labels_{split}", "y", "labels")
    wanted = {*named, *plain, *classes}
    try:
        require_regular(path, MOST_UNPACKED, InvalidInput)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: _array(archive, key) for key in archive.files if key in wanted}
            there = archive.files
    except FileNotFoundError:
        raise InvalidInput(f"There is no data file {path}{similar(path)}") from None
    except InvalidInput:
        raise
    except Exception as error:  # zipfile, NumPy and zlib each have their own kinds
        raise InvalidInput(
            f"{path.name} is not a readable .npz file of plain arrays: {error}"
        ) from error
    images, tensors = (_first(arrays, names) for names in (named, plain))
    if {f"x_{split}", f"images_{split}", f"inputs_{split}"} & arrays.keys():
        others = {"x", "images", "inputs"} & set(there)  # whose labels the plain ones are
        classes = classes[:2] if others else classes
    labels = _first(arrays, classes)
    source = images or tensors
    if source is None:
        raise InvalidInput(
            f"{path.name} has the arrays {', '.join(there)[:200] or '(none)'}; inputs are looked "
            f"for under 'x_{split}', 'images_{split}', 'x' and 'images', and tensors that are no "
            f"images under 'inputs_{split}' and 'inputs'."
        )
    values: Any = _channels_first(arrays[images]) if images else arrays[source]
    known, step = arrays[labels] if labels else None, _EIGHT_BIT if grid is None else grid
    note = f"Read from {source!r}, labels from {labels!r}." if labels else f"Read from {source!r}."
    return replace(Inputs.from_arrays(values, known, step, path.name), notes=(note,))


def _array(archive: Any, key: str) -> NDArray[Any]:
    """An array of an archive, if it says that it can be held in memory."""
    if archive.zip.getinfo(f"{key}.npy").file_size > MOST_UNPACKED:
        raise ValueError(f"{key} would unpack to more than {MOST_UNPACKED} bytes")
    return archive[key]


def _first(arrays: Container[str], names: Iterable[str]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _channels_first(images: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W) gets a channel; (N, H, W, C) with C in {1, 3} and no such axis 1 is turned."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images
