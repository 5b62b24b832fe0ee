"""Data sets of every kind, and what is said when they are not right."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import smoothcert
from smoothcert.errors import InvalidInput
from smoothcert.sampling.inputs import Inputs


def rng_images(count=4, shape=(6, 5, 3)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def png(array) -> bytes:
    import io

    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def test_digits_are_real_scans_on_their_grid():
    test, train = smoothcert.load_inputs("digits"), smoothcert.load_inputs("digits", "train")
    assert (len(test), len(train), test.shape, test.levels) == (500, 1297, (1, 8, 8), 256)
    assert set(test.labels) == set(range(10))
    pixels = test.item(3).pixels
    assert pixels.max() <= 256
    assert (pixels % 16 == 0).all()
    assert not set(test.contents) & set(train.contents[:100])


def test_uint8_and_float_images_are_the_same_inputs():
    images = rng_images().transpose(0, 3, 1, 2)
    a, b = Inputs.from_arrays(images), Inputs.from_arrays(images.astype(np.float32) / 255)
    assert a.fingerprint == b.fingerprint
    assert (a.item(2).pixels == images[2]).all()


def test_limit_and_every_keep_the_indices():
    some = smoothcert.load_inputs("digits", every=100, limit=3)
    assert some.indices == (0, 100, 200)
    assert some.item(1).index == 100
    assert some.labels == tuple(smoothcert.load_inputs("digits").labels[i] for i in (0, 100, 200))


def test_npz(tmp_path):
    images = rng_images()
    np.savez(tmp_path / "a.npz", x_test=images, y_test=np.arange(4), x_train=images[:2])
    test = smoothcert.load_inputs(str(tmp_path / "a.npz"))
    assert (len(test), test.shape, test.labels) == (4, (3, 6, 5), (0, 1, 2, 3))
    assert (test.item(0).pixels == images[0].transpose(2, 0, 1)).all()
    train = smoothcert.load_inputs(str(tmp_path / "a.npz"), "train")
    assert (len(train), train.labels) == (2, None)
    np.savez(tmp_path / "table.npz", x=np.linspace(0, 1, 33).reshape(3, 11) // (1 / 16) / 16)
    table = smoothcert.load_inputs(str(tmp_path / "table.npz"), grid=1 / 16)
    assert (table.shape, table.levels) == ((11,), 16)


def test_image_folder(tmp_path):
    images = rng_images()
    for number, name in enumerate(["cat", "cat", "dog", "dog"]):
        folder = tmp_path / "test" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number]).save(folder / f"{number}.png")
    data = smoothcert.load_inputs(str(tmp_path))
    assert (len(data), data.labels, data.classes) == (4, (0, 0, 1, 1), ("cat", "dog"))
    assert (data.item(3).pixels == images[3].transpose(2, 0, 1)).all()


def test_flat_folder_of_grey_images_has_no_labels(tmp_path):
    Image.fromarray(rng_images()[0, :, :, 0]).save(tmp_path / "a.png")
    data = smoothcert.load_inputs(str(tmp_path))
    assert (data.shape, data.labels) == ((1, 6, 5), None)


def test_parquet_as_hugging_face_writes_it(tmp_path):
    images = rng_images()
    rows = [{"img": {"bytes": png(i), "path": None}, "label": n % 2} for n, i in enumerate(images)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    for reference in (tmp_path / "test.parquet", tmp_path):
        data = smoothcert.load_inputs(str(reference))
        assert (len(data), data.labels, data.shape) == (4, (0, 1, 0, 1), (3, 6, 5))
        assert (data.item(2).pixels == images[2].transpose(2, 0, 1)).all()


def test_hugging_face_id_goes_through_their_loader(tmp_path, monkeypatch):
    """The id itself needs a network; the library's own objects are real."""
    datasets = pytest.importorskip("datasets")
    images = rng_images()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    made = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(i) for i in images], "label": [0, 1, 1, 0]}, features=features
    )
    asked = []
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, split: asked.append((name, split)) or made
    )
    data = smoothcert.load_inputs("someone/something", "validation")
    assert asked == [("someone/something", "validation")]
    assert (data.labels, data.classes) == ((0, 1, 1, 0), ("a", "b"))
    assert (data.item(1).pixels == images[1].transpose(2, 0, 1)).all()


def test_cifar10_in_the_hugging_face_layout():
    from pathlib import Path

    folder = Path(__file__).parents[3] / "shared" / "data" / "cifar10"
    if not folder.is_dir():
        pytest.skip("the CIFAR-10 files are not here")
    data = smoothcert.load_inputs(str(folder), every=1000)
    assert (len(data), data.shape, data.levels) == (10, (3, 32, 32), 255)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 1, 2, 2), np.uint8), "array is empty: nothing to certify"),
        (np.zeros(5, np.uint8), r"must have shape \(count, ...\).*got \(5,\)"),
        (np.zeros((2, 3, 3), np.int64), "has dtype int64; give uint8 in 0..255 or floats"),
        (np.full((2, 3), 7.0), r"must have values in \[0, 1\]; got values from 7 to 7"),
        (np.full((2, 3), -0.1), r"must have values in \[0, 1\]"),
        (np.full((2, 3), np.nan), r"must have values in \[0, 1\]; got values from nan"),
        (np.full((2, 3), 0.5), "values off the grid 1/255, by up to 0.5 of a step"),
    ],
)
def test_bad_arrays(images, message):
    with pytest.raises(InvalidInput, match=message):
        Inputs.from_arrays(images)


def test_bad_labels():
    images = rng_images()
    with pytest.raises(InvalidInput, match="has 4 inputs and 3 labels; give one label per input"):
        Inputs.from_arrays(images, [0, 1, 2])
    with pytest.raises(InvalidInput, match="must be whole numbers .* got dtype float64"):
        Inputs.from_arrays(images, np.zeros(4))
    with pytest.raises(InvalidInput, match=r"has the label 3, but the classifier has classes 0..2"):
        Inputs.from_arrays(images, [0, 1, 2, 3]).check_labels(3)


def test_uint8_on_another_grid_is_refused():
    with pytest.raises(InvalidInput, match="holds uint8 values, whose grid is 1/255"):
        Inputs.from_arrays(rng_images(), grid=1 / 256)


def test_bad_references(tmp_path):
    bad = {
        "nothing.npz": "There is no data file",
        "text.npz": "text.npz is not a readable .npz file",
        "other.npz": "has the arrays z; inputs are looked for under 'x_test'",
        "objects.npz": "is not a readable .npz file of plain arrays",
        "text.parquet": "is not a readable Parquet file",
        "columns.parquet": "has the columns a; images are looked for under 'img' and 'image'",
        "numbers.parquet": "The column 'img' of .* has type int64",
        "empty": "is empty: no images",
        "gone/": "There is no data at",
    }
    (tmp_path / "text.npz").write_text("not a zip")
    (tmp_path / "text.parquet").write_text("not parquet")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", z=np.zeros(3))
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "columns.parquet")
    parquet.write_table(pa.table({"img": [1]}), tmp_path / "numbers.parquet")
    for name, message in bad.items():
        with pytest.raises(InvalidInput, match=message):
            smoothcert.load_inputs(f"{tmp_path}/{name}")
    with pytest.raises(InvalidInput, match="limit and every must be at least 1; got 0 and 1"):
        smoothcert.load_inputs("digits", limit=0)
    with pytest.raises(InvalidInput, match="digits has the splits 'train' and 'test'"):
        smoothcert.load_inputs("digits", "validation")
    with pytest.raises(InvalidInput, match="digits lie on grids of step"):
        smoothcert.load_inputs("digits", grid=1 / 255)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nonsense")
    with pytest.raises(InvalidInput, match="a.png cannot be read as an image"):
        smoothcert.load_inputs(str(tmp_path))


def test_images_of_two_sizes(tmp_path):
    Image.fromarray(rng_images()[0]).save(tmp_path / "a.png")
    Image.fromarray(rng_images()[0, :4]).save(tmp_path / "b.png")
    data = smoothcert.load_inputs(str(tmp_path))
    with pytest.raises(InvalidInput, match=r"Input 1 of .* has shape \(3, 4, 5\); the others have"):
        list(data)
