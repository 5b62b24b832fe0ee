"""Data sets of every kind, and what is said when they are not right."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import smoothcert
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput


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


def test_npz_on_a_ten_bit_grid(tmp_path):
    steps = np.random.default_rng(0).integers(0, 1024, (3, 1, 4, 4))
    np.savez(tmp_path / "a.npz", x=(steps / 1023).astype(np.float32))
    data = smoothcert.load_inputs(str(tmp_path / "a.npz"), grid=1 / 1023)
    assert (data.levels, data.shape) == (1023, (1, 4, 4))
    assert all((item.pixels == step).all() for item, step in zip(data, steps, strict=True))
    with pytest.raises(InvalidInput, match="values off the grid 1/255"):
        smoothcert.load_inputs(str(tmp_path / "a.npz"))


def test_npz_of_tensors_that_are_no_images(tmp_path):
    """Under `inputs` the shape is taken as it is; under `x` (N, 6, 3) are grey images."""
    values = np.random.default_rng(0).integers(0, 17, (4, 6, 3)) / 16
    np.savez(tmp_path / "t.npz", inputs_test=values, x_train=values, y_test=np.arange(4))
    data = smoothcert.load_inputs(str(tmp_path / "t.npz"), grid=1 / 16)
    assert (data.shape, data.labels) == ((6, 3), (0, 1, 2, 3))
    assert (data.item(2).pixels == 16 * values[2]).all()
    train = smoothcert.load_inputs(str(tmp_path / "t.npz"), "train", grid=1 / 16)
    assert train.shape == (1, 6, 3)


def test_image_folder(tmp_path):
    images = rng_images()
    for number, name in enumerate(["cat", "cat", "dog", "dog"]):
        folder = tmp_path / "test" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number]).save(folder / f"{number}.png")
    data = smoothcert.load_inputs(str(tmp_path))
    assert (len(data), data.labels, data.classes) == (4, (0, 0, 1, 1), ("cat", "dog"))
    assert (data.item(3).pixels == images[3].transpose(2, 0, 1)).all()


def class_folders(folder, sizes, names=("n01", "n02", "n03")):
    """An image in each class's folder, of these (height, width)."""
    rng = np.random.default_rng(0)
    for name, size in zip(names, sizes, strict=True):
        (folder / name).mkdir(parents=True)
        array = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(array).save(folder / name / "a.png")


def test_resizing_is_shorter_side_256_and_the_centre_of_224(tmp_path):
    class_folders(tmp_path / "val", [(200, 300), (300, 200), (256, 256)])
    data = smoothcert.load_inputs(str(tmp_path), "val", size=224)
    assert (data.shape, data.labels) == ((3, 224, 224), (0, 1, 2))
    # By hand: 300x200 becomes 384x256, whose central square begins at (384 - 224) / 2 = 80.
    steps = {
        "n01": ((384, 256), (80, 16, 304, 240)),
        "n02": ((256, 384), (16, 80, 240, 304)),
        "n03": ((256, 256), (16, 16, 240, 240)),
    }
    for position, (name, (whole, box)) in enumerate(steps.items()):
        image = Image.open(tmp_path / "val" / name / "a.png")
        expected = np.asarray(image.resize(whole, Image.Resampling.BILINEAR).crop(box))
        assert (data.item(position).pixels == expected.transpose(2, 0, 1)).all()


def test_resizing_is_antialiased(tmp_path):
    """A checkerboard of single pixels, made four times smaller, is grey."""
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    data = smoothcert.load_inputs(str(tmp_path), size=112)
    assert data.shape == (1, 112, 112)
    assert np.abs(data.item(0).pixels - 127.5).max() < 2


def test_sizes_that_cannot_be(tmp_path):
    class_folders(tmp_path, [(8, 8), (8, 9), (8, 8)])
    with pytest.raises(InvalidInput, match=r"have \(3, 8, 8\).*give --size \(224 for"):
        _ = smoothcert.load_inputs(str(tmp_path)).contents
    with pytest.raises(InvalidInput, match="size must be at least 1; got 0"):
        smoothcert.load_inputs(str(tmp_path), size=0)
    with pytest.raises(InvalidInput, match="size is for image files; digits holds arrays"):
        smoothcert.load_inputs("digits", size=8)


def test_files_are_not_opened_at_load(tmp_path):
    """Only the first, for the shape: the others here are no images at all."""
    class_folders(tmp_path, [(8, 8)], ["a"])
    (tmp_path / "b").mkdir()
    for number in range(2000):
        (tmp_path / "b" / f"{number:05}.jpg").touch()
    data = smoothcert.load_inputs(str(tmp_path), limit=1000)
    assert (len(data), data.labels[:2]) == (1000, (0, 1))
    with pytest.raises(InvalidInput, match="00000.jpg cannot be read as an image"):
        data.item(1)


def test_the_order_of_classes_can_be_listed(tmp_path):
    class_folders(tmp_path / "test", [(4, 4)] * 3, ["cat", "ant", "dog"])
    assert smoothcert.load_inputs(str(tmp_path)).classes == ("ant", "cat", "dog")
    (tmp_path / "classes.txt").write_text("bee\ndog\ncat\n\nant\n")
    data = smoothcert.load_inputs(str(tmp_path))
    assert (data.classes, data.labels) == (("bee", "dog", "cat", "ant"), (1, 2, 3))
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(InvalidInput, match="must name every class once.* it lacks 'ant'"):
        smoothcert.load_inputs(str(tmp_path))
    (tmp_path / "classes.txt").write_text("dog\ncat\nant\ndog\n")
    with pytest.raises(InvalidInput, match="has 4 names, 3 of them different"):
        smoothcert.load_inputs(str(tmp_path))


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
    for split, count, each in (("test", 10_000, 1000), ("train", 50_000, 5000)):
        data = smoothcert.load_inputs(str(folder), split)
        assert (len(data), data.shape, data.levels) == (count, (3, 32, 32), 255)
        assert np.bincount(data.labels).tolist() == [each] * 10
        assert data.item(7).pixels.max() > 100
    assert smoothcert.load_inputs(str(folder), every=1000).indices == tuple(range(0, 10_000, 1000))


def test_class_names_in_the_metadata_of_a_parquet_file(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["plane", "car"])}
    )
    rows = {"img": [Image.fromarray(i) for i in rng_images()], "label": [1, 0, 0, 1]}
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(tmp_path / "test-00000-of-00001.parquet")
    data = smoothcert.load_inputs(str(tmp_path))
    assert (data.labels, data.classes) == ((1, 0, 0, 1), ("plane", "car"))


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
    with pytest.raises(InvalidInput, match="has 4 inputs and 3 labels. Give one label per input"):
        Inputs.from_arrays(images, [0, 1, 2])
    with pytest.raises(InvalidInput, match="must be whole numbers .* got dtype float64"):
        Inputs.from_arrays(images, np.full(4, 0.5))
    with pytest.raises(InvalidInput, match=r"has the label 3, but the classifier has classes 0..2"):
        Inputs.from_arrays(images, [0, 1, 2, 3]).check_labels(3)


def test_uint8_on_another_grid_is_refused():
    with pytest.raises(InvalidInput, match="holds uint8 values, whose grid is 1/255"):
        Inputs.from_arrays(rng_images(), grid=1 / 256)


def test_bad_references(tmp_path):
    bad = {
        "nothing.npz": "There is no data file",
        "text.npz": "text.npz is not a readable .npz file",
        "other.npz": "has the arrays z. Name the inputs 'x_test'",
        "objects.npz": "is not a readable .npz file of plain arrays",
        "text.parquet": "is not a readable Parquet file",
        "columns.parquet": "has the columns a. The column of images must be called 'img'",
        "numbers.parquet": "The column 'img' of .* has type int64",
        "empty": "is empty: no images",
        "gone/": "There is no data at",
    }
    (tmp_path / "text.npz").write_text("not a zip")
    (tmp_path / "text.parquet").write_text("not parquet")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", z=np.zeros(3))
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    parquet.write_table(pa.table({"a": ["x"]}), tmp_path / "columns.parquet")
    parquet.write_table(pa.table({"img": [1]}), tmp_path / "numbers.parquet")
    for name, message in bad.items():
        with pytest.raises(InvalidInput, match=message):
            smoothcert.load_inputs(f"{tmp_path}/{name}")
    with pytest.raises(InvalidInput, match="limit and every must be at least 1; got 0 and 1"):
        smoothcert.load_inputs("digits", limit=0)
    with pytest.raises(InvalidInput, match="digits has the splits 'train' and 'test'"):
        smoothcert.load_inputs("digits", "validation")
    with pytest.raises(InvalidInput, match="digits need a grid of step"):
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


def test_an_index_given_twice_is_refused(digits):
    """Its noise would be the same twice: a plan would see draws that count."""
    with pytest.raises(InvalidInput, match="digits has the index 3 twice"):
        digits.select([1, 3, 5, 3])


def test_digits_are_those_of_scikit_learn(monkeypatch):
    """Read from its file or through its function; the file may be elsewhere one day."""
    from sklearn.datasets import load_digits

    def rows():
        both = [smoothcert.load_inputs("digits", split) for split in ("test", "train")]
        return [(*x.pixels.ravel(), y) for d in both for x, y in zip(d, d.labels, strict=True)]

    found, theirs = rows(), load_digits()
    true = [(*x * 16, y) for x, y in zip(theirs.data, theirs.target, strict=True)]
    assert sorted(found) == sorted(true)
    monkeypatch.setattr(Path, "is_file", lambda file: False)
    assert rows() == found
