"""Data files of strangers: an error of the package, no program started, and bounded memory."""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import smoothcert
from smoothcert.data import arrays, images
from smoothcert.errors import InvalidInput
from smoothcert.simulation.logs import read_log

Image = pytest.importorskip("PIL.Image", reason="the data extra is not installed")
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def npy(shape, kind="|u1", data=b""):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * ((64 - (len(header) + 11) % 64) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return str(path)


@pytest.mark.parametrize(
    "array",
    [
        npy("(1000000, 1000, 1000)"),
        npy("(1000000000000000000000,)"),
        npy("(-1, 3)"),
        npy("(1,)", "<U99999999"),
        npy("(1,)", "|O", pickle.dumps({})),
        npy("(2, 3) if open('executed', 'w') else ()"),
        b"\x93NUMPY\x09\x00",
    ],
)
def test_arrays_that_lie(array, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"is not a readable .npz file of plain arrays"):
        smoothcert.load_inputs(npz(tmp_path / "a.npz", x=array))
    assert not (tmp_path / "executed").exists()


def test_an_npz_bomb_is_not_unpacked_and_other_arrays_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MOST_UNPACKED", 10**6)
    big = npy("(2000000,)", data=bytes(2 * 10**6))
    with pytest.raises(InvalidInput, match="x would unpack to more than 1000000 bytes"):
        smoothcert.load_inputs(npz(tmp_path / "a.npz", x=big))
    small = npy("(2, 3)", data=bytes(6))
    assert len(smoothcert.load_inputs(npz(tmp_path / "b.npz", x=small, other=big))) == 2


def test_a_pickle_named_npz(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InvalidInput):
        smoothcert.load_inputs(str(tmp_path / "a.npz"))
    assert not (tmp_path / "sprung").exists()


def png(width, height, pixels=b"", depth=8):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(tmp_path, data, name="a.png", **options):
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return smoothcert.load_inputs(str(folder), **options).item(0).pixels


def test_image_bombs(tmp_path):
    bomb = png(9000, 9000, bytes(9001 * 9000))
    assert len(bomb) < 10**5
    with pytest.raises(InvalidInput, match="9000 x 9000 is more than"):
        read(tmp_path, bomb)
    with pytest.raises(InvalidInput, match="pixels"):
        read(tmp_path, png(2**31 - 1, 2**31 - 1))
    with pytest.raises(InvalidInput, match="256 x 25600000 is more than"):
        read(tmp_path, saved(Image.new("L", (1, 100_000)), "PNG"), size=224)
    with pytest.raises(InvalidInput, match="is more than"):
        read(tmp_path, saved(Image.new("L", (8, 8)), "PNG"), size=10**6)


def test_images_that_lie_or_end_early(tmp_path):
    whole = saved(
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)), "PNG"
    )
    for data in (png(100, 100), png(0, 0), whole[:100], whole[:20], b"", b"BM" + bytes(100)):
        with pytest.raises(InvalidInput, match="cannot be read as an image"):
            read(tmp_path, data)


def test_formats_are_told_by_content_and_none_starts_a_program(tmp_path):
    red = Image.new("RGB", (8, 8), "red")
    assert (read(tmp_path, saved(red, "PNG"), "a.jpg")[0] == 255).all()
    (tmp_path / "images" / "a.jpg").unlink()
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    with pytest.raises(InvalidInput, match="cannot identify image file"):  # no word of Ghostscript
        read(tmp_path, postscript)


def test_more_than_eight_bits_are_refused_and_other_kinds_converted(tmp_path):
    """Pillow would cut 16-bit values off at 255, so that another image would be certified."""
    deep = saved(Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "PNG")
    with pytest.raises(InvalidInput, match="values of more than 8 bits"):
        read(tmp_path, deep)
    assert read(tmp_path, saved(Image.new("CMYK", (8, 8)), "JPEG")).shape == (3, 8, 8)
    frames = [Image.new("L", (8, 8), level) for level in (7, 200)]
    animated = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (read(tmp_path, animated) == 7).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated, says the camera; pixels are taken as stored
    junk = saved(Image.new("RGB", (8, 6)), "JPEG", exif=exif.tobytes() + b"\xff" * 99)
    assert read(tmp_path, junk).shape == (3, 6, 8)


def test_pipes_devices_and_links(tmp_path):
    folder = tmp_path / "pipes"
    folder.mkdir()
    os.mkfifo(folder / "a.png")
    os.mkfifo(tmp_path / "a.npz")
    os.mkfifo(tmp_path / "a.parquet")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    for name in ("pipes", "a.npz", "a.parquet", "zero.npz"):
        with pytest.raises(InvalidInput, match="is not a regular file"):
            smoothcert.load_inputs(str(tmp_path / name))
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="cannot be read as an image") as refused:
        smoothcert.load_inputs(str(folder))
    assert "root:" not in str(refused.value)


@pytest.mark.parametrize("split", ["../x", "/etc", "**/*", "te?t", "", "..", "a\0b", "a\\b"])
def test_splits_lead_nowhere_else(split, tmp_path):
    with pytest.raises(InvalidInput, match="split must be the name of a split"):
        smoothcert.load_inputs(str(tmp_path), split)


def test_references_that_no_system_takes(tmp_path):
    for reference in ("/" + "x" * 5000, "x" * 5000 + ".npz", "a\0b.npz", "/a\0b"):
        with pytest.raises(InvalidInput):
            smoothcert.load_inputs(reference)
    folder = tmp_path / "c"
    (folder / "k").mkdir(parents=True)
    (folder / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="cannot be read as data"):
        smoothcert.load_inputs(str(folder))


def table(path, rows, kind=STRUCT, **more):
    parquet.write_table(pa.table({"img": pa.array(rows, kind), **more}), path, compression="zstd")
    return str(path)


def test_garbage_in_image_columns(tmp_path):
    path = tmp_path / "a.parquet"
    for rows in ([None], [{"bytes": None, "path": "/etc/passwd"}], [{"bytes": b"xx", "path": ""}]):
        with pytest.raises(InvalidInput, match="cannot be read as an image"):
            smoothcert.load_inputs(table(path, rows))
    nested = pa.struct([("bytes", pa.list_(pa.list_(pa.int8())))])
    for rows, kind in (
        ([{"bytes": [[1]]}], nested),
        ([{"bytes": "x"}], pa.struct([("bytes", pa.string())])),
    ):
        with pytest.raises(InvalidInput, match="images must be stored as struct<bytes, path>"):
            smoothcert.load_inputs(table(path, rows, kind))


@pytest.mark.parametrize("label", [["=cmd"], [[1]], [1.5], [float("nan")]])
def test_labels_are_whole_numbers_or_listed(label, tmp_path):
    good = [{"bytes": saved(Image.new("L", (4, 4)), "PNG"), "path": None}]
    path = table(tmp_path / "a.parquet", good, label=pa.array(label))
    with pytest.raises(InvalidInput, match="must all be whole numbers or all names|are names"):
        smoothcert.load_inputs(path)


@pytest.mark.slow
def test_a_parquet_bomb(tmp_path):
    """Three values as they are declared, or one that is repeated only when it is read."""
    for count, kind in ((3, "declared"), (12, "repeated")):
        path = table(
            tmp_path / f"{kind}.parquet", [{"bytes": bytes(3 * 10**7), "path": None}] * count
        )
        assert os.path.getsize(path) < 10**6
        with pytest.raises(InvalidInput, match="far more than its size, which images never do"):
            smoothcert.load_inputs(path)


def test_notes_of_hugging_face_that_are_none(tmp_path):
    good = [{"bytes": saved(Image.new("L", (4, 4)), "PNG"), "path": None}]
    for notes in (b"[" * 100_000, json.dumps({"info": {"features": [1]}}).encode(), b"\xff"):
        made = pa.table({"img": pa.array(good, STRUCT), "label": pa.array([0])})
        parquet.write_table(
            made.replace_schema_metadata({"huggingface": notes}), tmp_path / "a.parquet"
        )
        assert smoothcert.load_inputs(str(tmp_path / "a.parquet")).classes == ()


def test_the_limit_is_above_real_photographs():
    assert images.MOST_PIXELS > 8000 * 6000


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"0\t1\t1\t1e308\t1\t", "radii must be from 0 to 1e"),  # overflowed when divided by sigma
        (b"0\t1\t1\tnan\t1\t", "must be a number; got 'nan'"),
        (b"0\t1\t1\t-1\t1\t", "radii must be from 0 to 1e"),
        (b"0\t1\t1", "must be a number; got ''"),
        (b"\xff", "is not a readable text file"),
        (b"=cmd\t\t\t\t", "must be a number"),
    ],
)
def test_logs_that_are_none(row, message, tmp_path):
    log = tmp_path / "log_sigma_0.50.tsv"
    log.write_bytes(b"idx\tlabel\tpredict\tradius\tcorrect\ttime\n" + row + b"\n")
    with pytest.raises(InvalidInput, match=message):
        read_log(log)
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(InvalidInput, match="is not a regular file"):
        read_log(log)
