"""Data sets by reference: digits, .npz, tables of numbers, images, Parquet, Hugging Face ids."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from smoothcert.data import arrays, cells, folders, rows, shards, tables
from smoothcert.data.images import IMAGE_FILES, is_image
from smoothcert.data.inputs import Inputs
from smoothcert.data.layouts import children, some
from smoothcert.data.pictures import Pictures
from smoothcert.data.source import DataReference
from smoothcert.errors import InvalidInput, SmoothcertError, did_you_mean
from smoothcert.files import similar
from smoothcert.noise.law import grid_levels
from smoothcert.scalars import whole
from smoothcert.vocabulary import DATA_FORMS

_PACKED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_SCIENCE = (".h5", ".hdf5", ".mat", ".nc", ".zarr", ".dcm", ".nii")
_ROWS = (".json", ".jsonl", ".txt", ".xlsx", ".xls", ".ods")
_RECORDS = (".arrow", ".feather", ".tfrecord", ".tfrecords", ".mdb", ".lmdb", ".beton", ".orc")
_ARRAYS = "Save its arrays with numpy.savez('data.npz', x=images, y=labels) and give that file"

_UNREAD = {
    ".npy": f"a single array. {_ARRAYS}",
    **dict.fromkeys(_PACKED, "a packed file. Unpack it and give the folder"),
    **dict.fromkeys(_PICKLES, f"a pickle by its name, which could run code. {_ARRAYS}"),
    **dict.fromkeys(_SCIENCE, f"in a format that is not read. {_ARRAYS}"),
    **dict.fromkeys(
        _ROWS, "not a table that is read. Save a table of numbers as CSV or Parquet; for images, "
        "give the folder, with a metadata.csv in it"
    ),
    **dict.fromkeys(
        _RECORDS, "in a format that is not read. Write it as Parquet (Hugging Face's "
        "Dataset.to_parquet), or as an .npz"
    ),
    **dict.fromkeys(IMAGE_FILES, "one image. Give the folder that it is in; predict takes a file"),
}  # fmt: skip
"""What kind of unsupported file it is, and the nearest supported kind."""


def load_inputs(
    reference: str | os.PathLike[str],
    split: str = "test",
    grid: float | Fraction | None = None,
    limit: int | None = None,
    every: int = 1,
    size: int | None = None,
    channels: int | None = None,
) -> Inputs:
    """Open a data set; `Inputs.describe` says what was read.

    Args:
        reference: `digits` (scikit-learn's 8x8 scans, 1,297 for training and 500 for test);
            a `.npz` file (images in `x` or `images`, tensors of any shape in `inputs`,
            optionally labels in `y` or `labels`, or with the split's name, `x_test` and
            `y_test`); a `.parquet` file or a folder of them named by split (Hugging Face image
            columns); a folder of images, with a subfolder per class or a `metadata.csv` if
            labelled, and a level per split if there are several; or the id of a Hugging Face data
            set. Classes are the subfolders in sorted order, or in the order of a `classes.txt`
            next to them, one name per line, which may list more classes than there are folders.
            Layouts in which the classes are not certain are refused, see docs/data.md.
        split: `train` or `test`, or another name that the data set has.
        grid: the step between neighbouring values; 1/255 by default, 1/256 for digits.
        limit: use the first N inputs (after `every`).
        every: use every N-th input, as is usual for expensive test sets.
        size: side of the square that images are resized and cropped to, see `images.decode`;
            None leaves them unchanged. Files are opened when their input is read.
        channels: 1 or 3 to make all images grey or colour; None if they agree.

    Returns:
        Inputs of one shape on one grid, with labels where the data has them.

    Raises:
        InvalidInput: not found, or nothing that can be read as inputs of one shape.
        MissingExtra: reading it needs a package that is not installed.
    """
    reference = _named(reference)
    every = whole(every, "every")
    limit, size, channels = (
        None if value is None else whole(value, name)
        for name, value in (("limit", limit), ("size", size), ("channels", channels))
    )
    if every < 1 or (limit is not None and limit < 1):
        raise InvalidInput(f"limit and every must be at least 1; got {limit} and {every}")
    if size is not None and size < 1:
        raise InvalidInput(f"size must be at least 1; got {size}")
    if channels not in (None, 0, 1, 3):
        raise InvalidInput(f"channels must be 1 (grey) or 3 (colour); got {channels}")
    _require_split(split)
    try:
        inputs = _open(reference, split, grid, size, channels)
    except (OSError, ValueError, MemoryError) as error:
        if isinstance(error, SmoothcertError):
            raise
        raise InvalidInput(f"{reference!r:.200} cannot be read as data: {error}") from error
    chosen = range(0, len(inputs), every)[:limit]
    inputs = inputs if len(chosen) == len(inputs) else inputs.select(chosen)
    step = None if grid is None else f"1/{grid_levels(grid)}"
    source = DataReference(reference, split, step, limit, every, size, channels)
    return replace(inputs, source=source)


def load_reference(source: DataReference) -> Inputs:
    """The data that a reference names; see `load_inputs`."""
    selection = (source.limit, source.every, source.size, source.channels)
    return load_inputs(source.data, source.split, source.step, *selection)


def _named(reference: Any) -> str:
    """The reference as text, if it is one and not empty (which would be the current folder)."""
    if not isinstance(reference, str | os.PathLike) or not str(reference):
        raise InvalidInput(f"The data must be a text or a path; got {reference!r:.60}")
    return os.fsdecode(reference)


def _require_split(split: Any) -> None:
    if (
        not isinstance(split, str)
        or not split
        or set(split) & set("/\\*?\0")
        or split.startswith(".")
    ):
        raise InvalidInput(f"split must be the name of a split, such as test; got {split!r}")


def _open(
    reference: str,
    split: str,
    grid: float | Fraction | None,
    size: int | None,
    channels: int | None,
) -> Inputs:
    path, kind = Path(reference), Path(reference).suffix.lower()
    table = kind in (*cells.TEXT, *shards.PARQUET) and path.is_file() and cells.holds_rows(path)
    if reference == "digits" or table or (kind == ".npz" and not path.is_dir()):
        for option, value in {"size": size, "channels": channels}.items():
            if value:
                raise InvalidInput(
                    f"{option} is for image files; {reference} holds arrays of one shape. Leave "
                    f"--{option} out."
                )
        if reference == "digits":
            return arrays.digits(split, grid)
        return rows.inputs(path, grid) if table else arrays.archive(path, split, grid)
    if grid is not None and grid_levels(grid) != 255:
        raise InvalidInput(
            f"Image files hold 8-bit values, whose grid is 1/255; got {grid}. Leave --grid out."
        )
    return _found(reference, path, split).inputs(size, channels)


def _found(reference: str, path: Path, split: str) -> Pictures:
    """Images in a folder, in Parquet files or on the hub."""
    if path.is_dir():
        _require_read(path)
        files = shards.split_files(path, split)
        return folders.pictures(path, split) if files is None else _tables(files, reference)
    kind = path.suffix.lower()
    if kind in shards.PARQUET:
        return tables.pictures([path], reference)
    if path.exists():
        what = _UNREAD.get(kind, "not data that can be read")
        raise InvalidInput(f"{reference} is {what}. DATA is {DATA_FORMS}.")
    near = did_you_mean(reference, ("digits",))  # without asking a hub for a data set `digit`
    if near or path.suffix or path.is_absolute() or reference.startswith("."):
        near = near or similar(path) or "."
        raise InvalidInput(f"There is no data at {reference}{near} DATA is {DATA_FORMS}.")
    return tables.hub(reference, split)


def _tables(files: list[Path], reference: str) -> Pictures:
    return tables.pictures(files, reference, (f"Files: {some(file.name for file in files)}.",))


def _require_read(path: Path) -> None:
    """Refuse a folder that holds only data of an unsupported kind, by its file names."""
    below, files = children(path)
    if below or any(is_image(file.name) for file in files):
        return
    kinds = {file.suffix.lower(): file.name for file in reversed(files)}
    if ".npz" in kinds:
        raise InvalidInput(f"{path} is a folder that holds {kinds['.npz']}. Give that file.")
    unread = [kind for kind in kinds if kind in (*_PACKED, *_PICKLES, *_SCIENCE, *_RECORDS, ".npy")]
    if unread and not kinds.keys() & set(shards.PARQUET):
        name = kinds[unread[0]]
        raise InvalidInput(f"{path} holds no images; {name} in it is {_UNREAD[unread[0]]}.")
