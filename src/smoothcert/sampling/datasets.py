"""Data sets by reference: the embedded digits, .npz, image folders, Parquet, Hugging Face ids."""

import glob
import io
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidInput, MissingExtra, SmoothcertError, did_you_mean
from smoothcert.references import DATA_FORMS
from smoothcert.regular import read_regular, require_regular, similar
from smoothcert.sampling.images import decode
from smoothcert.sampling.inputs import Inputs
from smoothcert.sampling.noise import grid_levels

_IMAGE_FILES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
MOST_UNPACKED = 2**31
"""Bytes of an .npz file and of each array in it; in memory they become four times as many."""

_MOST_GROWTH, _SMALL = 64, 2**26
"""A Parquet file may unpack to so many times its size, as images are packed already; or so much."""

_SPLITS = {"train", "test", "val", "valid", "validation"}
_MOST_LIST_BYTES = 2**24  # of classes.txt
_BATCH = 256  # rows of a Parquet file read at once

_DIGITS_TEST = 500
_DIGITS_GRID = Fraction(1, 256)
_EIGHT_BIT = Fraction(1, 255)


def load_inputs(
    reference: str,
    split: str = "test",
    grid: float | Fraction | None = None,
    limit: int | None = None,
    every: int = 1,
    size: int | None = None,
) -> Inputs:
    """Open a data set.

    Args:
        reference: `digits` (scikit-learn's 8x8 scans, 1,297 for training and 500 for test);
            a `.npz` file (images in `x` or `images`, tensors of any shape in `inputs`,
            optionally labels in `y` or `labels`, or with the split's name, `x_test` and
            `y_test`); a `.parquet` file or a folder of them named by split (Hugging Face image
            columns); a folder of images, with a subfolder per class if labelled and a level per
            split if there are several; or the id of a Hugging Face data set. Classes are the
            subfolders in sorted order, or in that of a `classes.txt` beside them, one name per
            line, which may list more classes than there are folders.
        split: `train` or `test`, or another name that the data set has.
        grid: the step between neighbouring values; 1/255 by default, 1/256 for digits.
        limit: keep the first so many (after `every`).
        every: keep every so-manieth input, as is usual for expensive test sets.
        size: side of the square that images are resized and cropped to, see `images.decode`;
            None leaves them as they are. Files are opened when their input is read.

    Returns:
        Inputs of one shape on one grid, with labels where the data has them.

    Raises:
        InvalidInput: nothing there, or nothing that can be read as inputs of one shape.
        MissingExtra: reading it needs a package that is not installed.
    """
    if every < 1 or (limit is not None and limit < 1):
        raise InvalidInput(f"limit and every must be at least 1; got {limit} and {every}")
    if size is not None and size < 1:
        raise InvalidInput(f"size must be at least 1; got {size}")
    if not split or set(split) & set("/\\*?\0") or split.startswith("."):
        raise InvalidInput(f"split is the name of a part of the data, such as test; got {split!r}")
    try:
        inputs = _open(reference, split, grid, size)
    except (OSError, ValueError, MemoryError) as error:
        if isinstance(error, SmoothcertError):
            raise
        raise InvalidInput(f"{reference!r:.200} cannot be read as data: {error}") from error
    chosen = range(0, len(inputs), every)[:limit]
    return inputs if len(chosen) == len(inputs) else inputs.select(chosen)


def _open(reference: str, split: str, grid: float | Fraction | None, size: int | None) -> Inputs:
    path = Path(reference)
    if size is not None and (reference == "digits" or path.suffix == ".npz"):
        raise InvalidInput(
            f"size is for image files; {reference} holds arrays of one shape. Leave --size out."
        )
    if reference == "digits":
        return _digits(split, grid)
    if path.suffix == ".npz":
        return _npz(path, split, grid)
    if grid is not None and grid_levels(grid) != 255:
        raise InvalidInput(
            f"Image files hold 8-bit values, whose grid is 1/255; got {grid}. Leave --grid out."
        )
    if path.suffix == ".parquet":
        return _parquet([path], reference, size)
    if path.is_dir():
        tables = sorted(path.glob(f"{glob.escape(split)}*.parquet"))
        return _parquet(tables, reference, size) if tables else _folder(path, split, size)
    near = did_you_mean(reference, ("digits",))  # no hub need be asked whether it has digit
    if near or path.suffix or path.is_absolute() or reference.startswith("."):
        near = near or similar(path) or "."
        raise InvalidInput(f"There is no data at {reference}{near} DATA is {DATA_FORMS}.")
    return _hub(reference, split, size)


def _digits(split: str, grid: float | Fraction | None) -> Inputs:
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


def _npz(path: Path, split: str, grid: float | Fraction | None) -> Inputs:
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
    images, tensors, labels = (_first(arrays, *names) for names in (named, plain, classes))
    if images is None and tensors is None:
        raise InvalidInput(
            f"{path.name} has the arrays {', '.join(there)[:200] or '(none)'}; inputs are looked "
            f"for under 'x_{split}', 'images_{split}', 'x' and 'images', and tensors that are no "
            f"images under 'inputs_{split}' and 'inputs'."
        )
    values: Any = tensors if images is None else _channels_first(images)
    return Inputs.from_arrays(values, labels, _EIGHT_BIT if grid is None else grid, path.name)


def _array(archive: Any, key: str) -> NDArray[Any]:
    """An array of an archive, if it says that it can be held in memory."""
    if archive.zip.getinfo(f"{key}.npy").file_size > MOST_UNPACKED:
        raise ValueError(f"{key} would unpack to more than {MOST_UNPACKED} bytes")
    return archive[key]


def _first(arrays: dict[str, NDArray[Any]], *names: str) -> NDArray[Any] | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _channels_first(images: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W) gets a channel; (N, H, W, C) with C in {1, 3} and no such axis 1 is turned."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images


def _folder(path: Path, split: str, size: int | None) -> Inputs:
    root = path / split if (path / split).is_dir() else path
    classes = _class_order(root, path)
    files = [
        (file, label)
        for label, folder in enumerate([root / name for name in classes] or [root])
        if folder.is_dir()
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in _IMAGE_FILES
    ]
    if not files:
        if others := _splits_of(path):
            raise InvalidInput(
                f"{path} has no split {split!r}; there is: {', '.join(others)}. "
                f"Pass --split {others[0]}"
            )
        raise InvalidInput(
            f"The folder {root} is empty: no images ({', '.join(sorted(_IMAGE_FILES))}), neither "
            "directly nor in one subfolder per class."
        )
    labels = [label for _, label in files] if classes else None
    return _images(str(path), len(files), lambda i: files[i][0], labels, classes, size)


def _splits_of(path: Path) -> list[str]:
    """The splits that a folder has by the names of what is in it."""
    names = {child.name if child.is_dir() else child.name.split("-")[0] for child in path.iterdir()}
    return sorted(_SPLITS & {name.removesuffix(".parquet") for name in names})


def _class_order(root: Path, path: Path) -> tuple[str, ...]:
    """The subfolders' names, sorted or as `classes.txt` lists them."""
    there = tuple(sorted(child.name for child in root.iterdir() if child.is_dir()))
    lists = [place / "classes.txt" for place in (root, path)]
    listing = next((file for file in lists if file.is_file()), None)
    if listing is None or not there:
        return there
    text = read_regular(listing, _MOST_LIST_BYTES, InvalidInput).decode("utf-8")
    listed = tuple(line.strip() for line in text.splitlines() if line.strip())
    unlisted = sorted(set(there) - set(listed))
    if unlisted or len(set(listed)) < len(listed):
        raise InvalidInput(
            f"{listing} must name every class folder once, in the order of the classifier's "
            f"classes; it lacks {', '.join(unlisted[:3]) or 'none'} and has {len(listed)} names, "
            f"{len(set(listed))} of them different."
        )
    return listed


def _parquet(paths: Sequence[Path], reference: str, size: int | None) -> Inputs:
    import pyarrow as pa

    try:
        table = pa.concat_tables([_unpacked(path) for path in paths])
    except FileNotFoundError:
        near = similar(Path(reference))
        raise InvalidInput(f"There is no data file {reference}{near}") from None
    except InvalidInput:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InvalidInput(f"{reference} is not a readable Parquet file: {error}") from error
    images, labels = _columns(table.column_names, reference)
    column = table[images]
    place = column.type.get_field_index("bytes") if pa.types.is_struct(column.type) else -1
    kind = column.type.field(place).type if place >= 0 else column.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InvalidInput(
            f"The column {images!r} of {reference} has type {column.type}; images are stored as "
            "struct<bytes, path>, as Hugging Face data sets do."
        )
    return _images(
        reference,
        len(table),
        lambda i: io.BytesIO((column[i].as_py() or {}).get("bytes") or b""),
        _classes_of(table[labels], labels, reference) if labels else None,
        _class_names(table.schema.metadata, labels),
        size,
    )


def _unpacked(path: Path) -> Any:
    """The table of a file that does not unpack to far more than its size."""
    import pyarrow as pa
    from pyarrow import parquet

    require_regular(path, 2**40, InvalidInput)
    most, size, batches = max(_SMALL, _MOST_GROWTH * path.stat().st_size), 0, []
    with parquet.ParquetFile(path) as file:
        groups = [file.metadata.row_group(g) for g in range(file.metadata.num_row_groups)]
        declared = sum(group.total_byte_size for group in groups)
        for batch in file.iter_batches(_BATCH) if declared <= most else ():
            size += batch.nbytes
            batches.append(batch)
            if size > most:
                break
        schema = file.schema_arrow
    if max(size, declared) > most:
        raise InvalidInput(
            f"{path} would unpack to more than {most} bytes, far more than its size, as no images "
            "do. Check where it came from."
        )
    return pa.Table.from_batches(batches, schema)


def _classes_of(column: Any, name: str, reference: str) -> list[int]:
    """Labels, if all are whole numbers."""
    import pyarrow as pa

    if not pa.types.is_integer(column.type) or column.null_count:
        raise InvalidInput(
            f"The labels of {reference}, in its column {name!r}, must be whole numbers without "
            f"gaps; they have type {column.type}, and {column.null_count} are missing."
        )
    return column.to_pylist()


def _class_names(metadata: Any, labels: str | None) -> tuple[str, ...]:
    """The names of the classes, if Hugging Face's metadata is in the file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[labels]["names"]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        return ()


def _hub(reference: str, split: str, size: int | None) -> Inputs:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets", "data") from error
    try:
        data: Any = datasets.load_dataset(reference, split=split)
    except Exception as error:  # the hub's client, the network and the data set's own script
        raise InvalidInput(
            f"The Hugging Face data set {reference!r} (split {split!r}) cannot be loaded: {error}. "
            "Check the id and the network, or give a local Parquet file, .npz or image folder"
            f"{similar(Path(reference)) or '.'}"
        ) from error
    images, labels = _columns(data.column_names, reference)
    names = getattr(data.features[labels], "names", None) if labels else None
    return _images(
        reference,
        len(data),
        lambda i: data[i][images],
        list(data[labels]) if labels else None,
        tuple(names or ()),
        size,
    )


def _columns(names: Sequence[str], reference: str) -> tuple[str, str | None]:
    images = next((name for name in ("img", "image", "images", "x") if name in names), None)
    if images is None:
        raise InvalidInput(
            f"{reference} has the columns {', '.join(names)}; images are looked for under 'img' "
            "and 'image'."
        )
    return images, next((n for n in ("label", "labels", "fine_label", "y") if n in names), None)


def _images(
    name: str,
    count: int,
    open_: Callable[[int], Any],
    labels: Sequence[int] | None,
    classes: tuple[str, ...],
    size: int | None,
) -> Inputs:
    """Inputs decoded when read; the first decides the shape, and colour or grey."""
    if count == 0:
        raise InvalidInput(f"The data set {name} is empty: nothing to certify.")
    shape = decode(open_(0), size=size).shape

    def read(index: int) -> NDArray[np.uint8]:
        pixels = decode(open_(index), shape[0], size)
        if pixels.shape != shape:
            raise InvalidInput(
                f"Input {index} of {name} has shape {pixels.shape}; the others have {shape}. All "
                "inputs must have one shape: give --size (224 for most ImageNet models) to have "
                "images resized and cropped to a square."
            )
        return pixels

    known = None if labels is None else tuple(labels)
    return Inputs(name, shape, 255, tuple(range(count)), read, known, classes)
