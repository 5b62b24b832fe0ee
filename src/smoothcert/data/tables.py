"""Images in Parquet files, and Hugging Face data sets, which consist of them."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothcert.data import classes as orders
from smoothcert.data.inputs import known_labels, require_named, whole_numbers
from smoothcert.data.layouts import some
from smoothcert.data.listings import LABELS, class_list, label_column
from smoothcert.data.pictures import Pictures
from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.files import require_regular, similar

_MOST_GROWTH, _SMALL = 64, 2**26
"""A Parquet file may unpack to this multiple of its size, as images are already compressed, or to
this many bytes."""

_BATCH = 256  # rows of a Parquet file read at once
_IMAGES = ("img", "image", "images", "x")


def pictures(paths: Sequence[Path], reference: str, notes: tuple[str, ...] = ()) -> Pictures:
    """The images of some Parquet files, one file after another.

    Raises:
        InvalidInput: no such files, or the columns of images and labels are not certain.
    """
    import pyarrow as pa

    table = opened(paths, reference)
    if twice := [n for n, count in Counter(table.column_names).items() if count > 1]:
        raise InvalidInput(f"{reference} has the column {twice[0]!r} twice. Keep one of them.")
    structs = [f.name for f in table.schema if pa.types.is_struct(f.type)]
    stored = [n for n in structs if table.schema.field(n).type.get_field_index("bytes") >= 0]
    features = {n: {"_type": "Image"} for n in stored} | _features(table.schema.metadata)
    whole = {field.name: pa.types.is_integer(field.type) for field in table.schema}
    images, labels = _columns(whole, features, reference)
    column = table[images]
    place = column.type.get_field_index("bytes") if pa.types.is_struct(column.type) else -1
    kind = column.type.field(place).type if place >= 0 else column.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InvalidInput(
            f"The column {images!r} of {reference} has type {column.type}; images must be stored "
            "as struct<bytes, path>, as in Hugging Face data sets."
        )
    names = _names(features.get(labels) if labels else None)
    where = dict.fromkeys((Path(reference), *(path.parent for path in paths)))
    listing = orders.listing(folder for folder in where if folder.is_dir())
    known, names, more = _classes_of(
        table[labels].to_pylist() if labels else None, labels, reference, names, listing
    )
    if not labels:
        more = _unlabelled(table.column_names, images)

    def cell(index: int) -> Any:
        return column[index].as_py()

    return _pictures(reference, len(table), cell, known, names, labels, (*notes, *more))


def opened(paths: Sequence[Path], reference: str) -> Any:
    """The tables of some Parquet files, one after another, as one of pyarrow's.

    Raises:
        InvalidInput: no such files, or no tables of one form.
    """
    import pyarrow as pa

    try:
        return pa.concat_tables([_unpacked(path) for path in paths])
    except FileNotFoundError:
        near = similar(Path(reference))
        raise InvalidInput(f"There is no data file {reference}{near}") from None
    except InvalidInput:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InvalidInput(f"{reference} is not a readable Parquet file: {error}") from error


def _pictures(
    reference: str,
    count: int,
    cell: Callable[[int], Any],
    labels: Sequence[int] | None,
    names: tuple[str, ...],
    column: str | None,
    notes: tuple[str, ...],
) -> Pictures:
    """The images in a column's cells, each a mapping with bytes, bytes alone, or a path."""

    def opened(index: int) -> io.BytesIO | Path:
        value = cell(index)
        if isinstance(value, Mapping) and not value.get("bytes") and value.get("path"):
            raise InvalidInput(
                f"Row {index} of {reference} cannot be read as an image: it only names a file, "
                f"{value['path']!r:.200}. Store the images themselves in it."
            )
        data = value.get("bytes") if isinstance(value, Mapping) else value
        if isinstance(data, Path):
            return data
        if not data:
            raise InvalidInput(
                f"Row {index} of {reference} has no image, so it cannot be read as an image. "
                "Leave such rows out of the file."
            )
        return io.BytesIO(data)

    known = None if labels is None else known_labels(labels, reference)
    require_named(known or (), names, reference)
    unknown = f"No labels: all of {column!r} are -1 or missing." if labels and known is None else ""
    told = f"Labels from the column {column!r}." if known else unknown
    return Pictures(
        reference,
        count,
        opened,
        "row {}".format,
        known,
        names,
        (*notes, *([told] if told else [])),
    )


def _unpacked(path: Path) -> Any:
    """The table of a file, unless it unpacks to far more than its size."""
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
            f"{path} would unpack to more than {most} bytes, far more than its size, which images "
            "never do. Check where it came from."
        )
    return pa.Table.from_batches(batches, schema)


def _classes_of(
    labels: Sequence[Any] | None,
    column: str | None,
    reference: str,
    names: tuple[str, ...],
    listing: Path | None,
) -> tuple[list[int] | None, tuple[str, ...], tuple[str, ...]]:
    """Labels, the names of the classes, and where their order is from.

    Labels are whole numbers, with or without names, or names that are in a classes.txt: rows have
    no order of classes, and some classes may have no row. A classes.txt reorders named ones.
    """
    if labels is None:
        return None, names, ()
    if labels and all(label is None for label in labels):
        return [-1] * len(labels), names, ()
    numbers = whole_numbers(labels)
    if numbers is not None and (listing is None or not names):
        return numbers, names if listing is None else class_list(listing), ()
    if numbers is not None:
        require_named([number for number in numbers if number != -1], names, reference)
        labels = [names[number] if number >= 0 else None for number in numbers]
    elif not all(isinstance(label, str) for label in labels):
        kinds = sorted({type(label).__name__ for label in labels if label is not None})
        raise InvalidInput(
            f"The labels of {reference}, in its column {column!r}, must all be whole numbers or "
            f"all names, without gaps; they are {some(kinds)}, and {labels.count(None)} are "
            "missing."
        )
    if listing is None:
        raise InvalidInput(
            f"The labels of {reference}, in its column {column!r}, are names "
            f"({some(sorted(set(labels)))}), whose order as classes is not certain. List all of "
            "them in a classes.txt next to the file, one per line, in the classifier's order, or "
            "number them (for Hugging Face data sets, class_encode_column sorts them)."
        )
    classes, note = orders.as_listed(listing, {label for label in labels if label is not None})
    place = {name: number for number, name in enumerate(classes)}
    return [place.get(label, -1) for label in labels], classes, (note,)


def _unlabelled(columns: Iterable[str], images: str) -> tuple[str, ...]:
    """A note on the columns that are not read, if none was read as labels."""
    others = [name for name in columns if name != images]
    return (f"Not read: the columns {some(others)}.",) if others else ()


def _features(metadata: Any) -> dict[str, Any]:
    """What Hugging Face's metadata in a file says about its columns, if there is any."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _names(feature: Any) -> tuple[str, ...]:
    """The class names of a column's feature."""
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _typed(features: Mapping[str, Any], kind: str, names: Iterable[str]) -> list[str]:
    """The columns of one kind by Hugging Face's metadata."""
    said = {n: f.get("_type") for n, f in features.items() if isinstance(f, dict)}
    return [name for name in names if said.get(name) == kind]


def _columns(
    whole: Mapping[str, bool], features: Mapping[str, Any], reference: str
) -> tuple[str, str | None]:
    """The columns of images and of labels, if they are certain.

    Args:
        whole: every column's name, and whether it holds whole numbers.
        features: Hugging Face's metadata of the columns.
        reference: for messages.
    """
    if "split" in whole:
        raise InvalidInput(
            f"{reference} has a column 'split'. Write each split to its own file, without it."
        )
    images = [n for n in _IMAGES if n in whole] or _typed(features, "Image", whole)
    if not images:
        raise InvalidInput(
            f"{reference} has the columns {', '.join(whole)}. The column of images must be called "
            "'img' or 'image', or be of type struct<bytes, path>."
        )
    if len(images) > 1:
        raise InvalidInput(
            f"{reference} has several columns of images: {some(images)}. Keep one of them in the "
            "file."
        )
    classes = _typed(features, "ClassLabel", whole)
    usual = [name for name in whole if name.lower() in LABELS and name not in classes]
    usual = [name for name in usual if whole[name]] or ([] if classes else usual)
    return images[0], label_column([*classes, *usual], reference)


def hub(reference: str, split: str) -> Pictures:
    """A Hugging Face data set by its id.

    Raises:
        InvalidInput: it is not found, or the columns of images and labels are not certain.
        MissingExtra: the package `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets", "data") from error
    try:
        data: Any = datasets.load_dataset(reference, split=split)
    except Exception as error:  # the hub's client, the network and the data set's own script
        raise InvalidInput(
            f"The Hugging Face data set {reference!r} (split {split!r}) cannot be loaded: {error}. "
            "Check the id and the Internet connection, or give a local Parquet file, .npz or folder"
            f"{similar(Path(reference)) or '.'}"
        ) from error
    whole = {name: "int" in str(getattr(f, "dtype", "")) for name, f in data.features.items()}
    features = {
        name: {"_type": type(feature).__name__, "names": getattr(feature, "names", None)}
        for name, feature in data.features.items()
    }
    images, labels = _columns(whole, features, reference)
    # As bytes: decoded by the hub's package, an image would be rotated as EXIF says.
    stored = data.cast_column(images, datasets.Image(decode=False))
    names = _names(features.get(labels) if labels else None)
    known, names, _ = _classes_of(
        list(data[labels]) if labels else None, labels, reference, names, None
    )
    more = () if labels else _unlabelled(data.features, images)

    def cell(index: int) -> Any:
        found = stored[index][images]
        here = found and not found.get("bytes") and found.get("path")
        return Path(here) if here else found  # what the hub's package downloaded

    return _pictures(reference, len(data), cell, known, names, labels, more)
