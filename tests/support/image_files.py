"""Small pictures, folders and tables of them, as people bring them."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(mode="RGB", value=7, side=4):
    """A picture of one value in a mode of Pillow's."""
    from PIL import Image

    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.new(mode, (side, side), value if bands == 1 else (value,) * bands)


def saved(image, kind="PNG", **options):
    """The bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(colour, depth, values=bytes(64)):
    """A PNG file of 4x4, of a colour type and depth that Pillow itself does not write."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = b"\0" + values[:1] * (4 * channels * depth // 8)
    head = struct.pack(">IIBBBBB", 4, 4, depth, colour, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def tiff(bits):
    """A TIFF file of 4x4 RGB pixels of so many bits a channel, all of them 0."""
    data = bytes(4 * 4 * 3 * bits // 8)
    entries = {256: 4, 257: 4, 258: 0, 259: 1, 262: 2, 273: 8, 277: 3, 278: 4, 279: len(data)}
    start = 8 + len(data)
    after = start + 2 + 12 * len(entries) + 4
    out = b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(entries))
    for tag, value in entries.items():
        many = tag == 258
        out += struct.pack(
            "<HHII", tag, 3 if many else 4, 3 if many else 1, after if many else value
        )
    return out + struct.pack("<I", 0) + struct.pack("<3H", bits, bits, bits)


def files(folder, tree):
    """Write files: a path to bytes, to a text, or to None for a small picture of its own value."""
    for number, (name, content) in enumerate(tree.items()):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = saved(picture(value=number))
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(folder)


def classes(*names, under="", images=("a.png",)):
    """A tree of class folders with these images in each."""
    return {f"{under}{name}/{image}": None for name in names for image in images}


def cells(count=2, cell=None):
    """Cells of a column of pictures."""
    given = [{"bytes": saved(picture(value=i)), "path": None} for i in range(count)]
    return given if cell is None else [*given[:-1], cell]


def table(path, features=None, images=None, **columns):
    """A Parquet file with a column `image` and others; features are Hugging Face's."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = pa.array(cells() if images is None else images, STRUCT)
    made = pa.table({**({"image": shown} if images != () else {}), **columns})
    if features:
        notes = json.dumps({"info": {"features": features}})
        made = made.replace_schema_metadata({"huggingface": notes})
    parquet.write_table(made, path)
    return str(path)


def class_label(*names):
    """The feature of a column of classes, as Hugging Face's data sets store it."""
    return {"names": list(names), "_type": "ClassLabel"}


def arrays(count=2):
    """Pictures as an array."""
    return np.arange(count * 12, dtype=np.uint8).reshape(count, 3, 2, 2)
