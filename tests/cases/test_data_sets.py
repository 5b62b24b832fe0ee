"""Data as people bring it: read as it is meant, or refused in one line that says what to do."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import smoothcert
from smoothcert.cli.data_source import DataSource, recorded_source
from smoothcert.data.images import CHANNELS, decode
from smoothcert.errors import InvalidInput
from smoothcert.text import many

pytest.importorskip("PIL", reason="the data extra is not installed")

from support.image_files import (
    arrays,
    cells,
    class_label,
    classes,
    files,
    picture,
    png,
    saved,
    table,
    tiff,
)


def refused(reference, **options):
    """The message, which is one line."""
    with pytest.raises(InvalidInput) as error:
        data = smoothcert.load_inputs(reference, **options)
        _ = data.contents
    assert "\n" not in str(error.value)
    return str(error.value)


CAT_DOG = classes("cat", "dog")
TEN = [str(number) for number in range(11)]
TINY = "".join(f"val_{i}.JPEG\tn{i % 2}\t0\t0\t3\t3\n" for i in (1, 0, 2))

READ = {
    "checkpoints": ({**CAT_DOG, ".ipynb_checkpoints/a.png": None}, {}, "cat dog", (0, 1)),
    "git": ({**CAT_DOG, ".git/objects/a.png": None}, {}, "cat dog", (0, 1)),
    "nas": ({**CAT_DOG, "@eaDir/a.png": None, "cat/@eaDir/a.png": None}, {}, "cat dog", (0, 1)),
    "macos-zip": (
        {**CAT_DOG, "__MACOSX/cat/._a.png": b"", "cat/._a.png": b"x"},
        {},
        "cat dog",
        (0, 1),
    ),
    "windows": (
        {**CAT_DOG, "$RECYCLE.BIN/a.png": None, "cat/Thumbs.db": b""},
        {},
        "cat dog",
        (0, 1),
    ),
    "disk": ({**CAT_DOG, "lost+found/a.png": None, ".DS_Store": b""}, {}, "cat dog", (0, 1)),
    "split-beside-system": (
        {**classes("cat", "dog", under="test/"), ".Trash-0/a.png": None},
        {},
        "cat dog",
        (0, 1),
    ),
    "capitals": (classes("cat", "dog", under="Test/"), {}, "cat dog", (0, 1)),
    "upper": (classes("cat", "dog", under="TRAIN/"), {"split": "train"}, "cat dog", (0, 1)),
    "val": (classes("cat", "dog", under="val/"), {"split": "val"}, "cat dog", (0, 1)),
    "own-split": (
        {**classes("a", "b", under="fold1/"), **classes("a", "b", under="fold2/")},
        {"split": "fold2"},
        "a b",
        (0, 1),
    ),
    "missing-class": (
        {**classes(*"abc", under="train/"), **classes(*"ac", under="test/")},
        {},
        "a b c",
        (0, 2),
    ),
    "missing-number": (
        {**classes(*"0123", under="train/"), **classes(*"13", under="test/")},
        {},
        "0 1 2 3",
        (1, 3),
    ),
    "numbers": (classes(*TEN[:3]), {}, "0 1 2", (0, 1, 2)),
    "numbers-from-1": (classes(*"123"), {}, "1 2 3", (0, 1, 2)),
    "padded": (classes("02", "01", "00"), {}, "00 01 02", (0, 1, 2)),
    "wordnet": (classes("n02", "n10"), {}, "n02 n10", (0, 1)),
    "listed-numbers": (
        {**classes("10", "9"), "classes.txt": "9\n10\n"},
        {},
        "9 10",
        (0, 1),
    ),
    "vehicles": (
        {**classes("bus", "train"), "classes.txt": "bus\ntrain\n"},
        {},
        "bus train",
        (0, 1),
    ),
    "listed-beside-notes": (
        {**CAT_DOG, "notes/a.txt": "x", "classes.txt": "dog\ncat\n"},
        {},
        "dog cat",
        (0, 1),
    ),
    "more-names": ({**CAT_DOG, "classes.txt": "ape\ndog\ncat\n"}, {}, "ape dog cat", (1, 2)),
    "bom": ({**CAT_DOG, "classes.txt": b"\xef\xbb\xbfdog\ncat"}, {}, "dog cat", (0, 1)),
    "crlf": ({**CAT_DOG, "classes.txt": b"dog\r\n\r\n cat \r\n"}, {}, "dog cat", (0, 1)),
    "old-mac": ({**CAT_DOG, "classes.txt": b"dog\rcat\r"}, {}, "dog cat", (0, 1)),
    "utf-16": ({**CAT_DOG, "classes.txt": "dog\r\ncat".encode("utf-16")}, {}, "dog cat", (0, 1)),
    "utf-16-be": (
        {**CAT_DOG, "classes.txt": b"\xfe\xff" + "dog\ncat".encode("utf-16-be")},
        {},
        "dog cat",
        (0, 1),
    ),
    "latin-1": (
        {**classes("bär", "zebra"), "classes.txt": "zebra\nbär".encode("latin-1")},
        {},
        "zebra bär",
        (0, 1),
    ),
    "decomposed": ({**classes("ba\u0308r"), "classes.txt": "b\u00e4r"}, {}, "ba\u0308r", (0,)),
    "jfif": (classes("cat", images=("a.png", "b.JFIF")), {}, "cat", (0, 0)),
    "metadata": (
        {"b.png": None, "a.png": None, "metadata.csv": "file_name,label\nb.png,0\na.png,1\n"},
        {},
        "",
        (1, 0),
    ),
    "metadata-names": (
        {
            "b.png": None,
            "a.png": None,
            "metadata.csv": b"\xef\xbb\xbffile_name,text,label\r\n"
            b'b.png,"x, y",cat\r\na.png,z,dog\r\n',
        },
        {},
        "cat dog",
        (1, 0),
    ),
    "metadata-above": (
        {
            "test/a.png": None,
            "train/b.png": None,
            "metadata.csv": "file_name,label\ntest/a.png,3\ntrain/b.png,4\n",
        },
        {},
        "",
        (3,),
    ),
    "metadata-deep": (
        {"x/y/a.png": None, "metadata.jsonl": '{"file_name": "x/y/a.png", "label": 2}\n'},
        {},
        "",
        (2,),
    ),
    "metadata-missing-name": (
        {
            "test/a.png": None,
            "test/metadata.csv": "file_name,label\na.png,dog\n",
            "train/a.png": None,
            "train/b.png": None,
            "train/metadata.csv": "file_name,label\na.png,dog\nb.png,cat\n",
        },
        {},
        "cat dog",
        (1,),
    ),
    "metadata-unknown": (
        {"a.png": None, "metadata.csv": "file_name,label\na.png,-1\n"},
        {},
        "",
        None,
    ),
    "captions": ({"a.png": None, "metadata.csv": "file_name,text\na.png,hello\n"}, {}, "", None),
    "tiny-imagenet": (
        {
            **{f"val/images/val_{i}.JPEG": None for i in range(3)},
            "val/val_annotations.txt": TINY,
            **{f"train/n{i}/images/a.JPEG": None for i in range(3)},
            "test/images/a.JPEG": None,
        },
        {"split": "val"},
        "n0 n1 n2",
        (0, 1, 0),
    ),
    "flat": ({"a.png": None, "b.png": None, "README.md": "x"}, {}, "", None),
    "all-digits": (classes(*"0123456789"), {}, " ".join("0123456789"), tuple(range(10))),
    "padded-to-10": (
        classes(*[f"{number:02}" for number in range(1, 11)]),
        {},
        " ".join(f"{number:02}" for number in range(1, 11)),
        tuple(range(10)),
    ),
    "decimals": (classes("0.25", "0.5", "1.0"), {}, "0.25 0.5 1.0", (0, 1, 2)),
    "few-numbered": (
        classes("DC-10", "DC-3", "A320", "Fokker", "Cessna"),
        {},
        "A320 Cessna DC-10 DC-3 Fokker",
        (0, 1, 2, 3, 4),
    ),
    "letters-of-both-cases": (classes(*"Aab"), {}, "A a b", (0, 1, 2)),
    "listed-in-both-cases": (
        {**classes("Cat", "cat"), "classes.txt": "cat\nCat\n"},
        {},
        "cat Cat",
        (0, 1),
    ),
    "folder-with-a-space": (
        {**classes("dog ", "cat"), "classes.txt": "dog\ncat"},
        {},
        "dog  cat",
        (0, 1),
    ),
    "list-in-capitals": ({**CAT_DOG, "Classes.TXT": "dog\ncat\n"}, {}, "dog cat", (0, 1)),
    "list-of-another-split": (
        {
            **classes("cat", "dog", under="test/"),
            **classes("cat", "dog", under="train/"),
            "train/classes.txt": "dog\ncat\n",
        },
        {},
        "dog cat",
        (0, 1),
    ),
    "list-that-agrees": ({**CAT_DOG, "labels.txt": "cat\ndog\n"}, {}, "cat dog", (0, 1)),
    "mapping-that-agrees": (
        {**CAT_DOG, "class_to_idx.json": '{"dog": 1, "cat": 0}'},
        {},
        "cat dog",
        (0, 1),
    ),
    "mapping-of-other-things": ({**CAT_DOG, "info.json": '{"version": 1}'}, {}, "cat dog", (0, 1)),
    "wnids": (
        {
            "val/images/val_0.JPEG": None,
            "val/images/val_1.JPEG": None,
            "val/images/val_2.JPEG": None,
            "val/val_annotations.txt": TINY,
            "wnids.txt": "n1\nn0\n",
        },
        {"split": "val"},
        "n0 n1",
        (0, 1, 0),
    ),
    "columns-in-capitals": (
        {"b.png": None, "a.png": None, "Metadata.csv": "File_Name, Label\nb.png, 0\na.png, 1\n"},
        {},
        "",
        (1, 0),
    ),
    "json-capitals": (
        {"a.png": None, "metadata.jsonl": '{"File_Name": "a.png", "Label": 1.0}\n'},
        {},
        "",
        (1,),
    ),
    "background-in-list": (
        {**CAT_DOG, "classes.txt": "background\ndog\ncat\n"},
        {},
        "background dog cat",
        (1, 2),
    ),
    "counts-of-classes": ({**CAT_DOG, "n.json": '{"cat": 120, "dog": 80}'}, {}, "cat dog", (0, 1)),
    "whole-floats": (
        {"b.png": None, "a.png": None, "metadata.csv": "file_name,label\nb.png,0.0\na.png,1.0\n"},
        {},
        "",
        (1, 0),
    ),
    "comma-at-the-end": (
        {"a.png": None, "metadata.csv": "file_name,label,\na.png,1,\n"},
        {},
        "",
        (1,),
    ),
    "table-beside-agreeing-folders": (
        {**CAT_DOG, "metadata.csv": "file_name,label\ncat/a.png,cat\ndog/a.png,dog\n"},
        {},
        "cat dog",
        (0, 1),
    ),
}


@pytest.mark.parametrize("case", READ)
def test_folders_that_are_read(case, tmp_path):
    tree, options, names, labels = READ[case]
    data = smoothcert.load_inputs(files(tmp_path, tree), **options)
    assert (" ".join(data.classes), data.labels) == (names, labels)
    assert len(data.contents) == len(labels or data.contents)
    assert str(tmp_path) in data.describe() and many(len(data), "input") in data.describe()


REFUSED = {
    "train-valid": (
        classes("a", under="train/") | classes("a", under="valid/"),
        "It has train, valid: give --split NAME",
    ),
    "only-val": (classes("a", under="val/"), "no split 'test'. It has val: give --split val"),
    "near-split": (classes("a", under="valid/"), "Did you mean 'valid'?", {"split": "vali"}),
    "vehicle": (classes("bus", "train"), "if these are classes, list the classes in a classes.txt"),
    "two-cases": (
        classes("a", under="Test/") | classes("a", under="TEST/"),
        "may be 'TEST' or 'Test'",
    ),
    "split-or-class": (classes("fail", "pass", "test"), "may be a split or a class"),
    "beside": (
        {**CAT_DOG, "c.png": None},
        "has images (c.png) next to folders of images (cat, dog)",
    ),
    "deeper": (classes("cat", images=("images/a.png",)), "as in cat/images"),
    "some-deeper": ({**CAT_DOG, "cat/more/b.png": None}, "as in cat/more"),
    "data-set-inside": (classes("cat", under="set/inner/"), "There are images deeper, such as"),
    "empty-class": ({**CAT_DOG, "eel/note.txt": "x"}, "has folders without images: eel"),
    "annotations": ({**CAT_DOG, "annotations/a.xml": "x"}, "without images: annotations"),
    "images-alone": ({"images/a.png": None}, "a folder images, which is probably not a class"),
    "masks": ({"images/a.png": None, "masks/a.png": None}, "probably not a class"),
    "numbers": (classes(*TEN), "as text 10 comes before 2"),
    "numbered-names": (classes("class_2", "class_10"), "as text 10 comes before 2"),
    "numbered-first": (classes("2_cat", "10_dog"), "as text 10 comes before 2"),
    "number-missing": (classes(*"013"), "without a gap"),
    "two-digits": (classes(*"38"), "without a gap"),
    "class-not-in-train": (
        classes(*"ab", under="train/") | classes(*"bc", under="test/"),
        "test and train have different classes: only one has a, c",
    ),
    "given-split-not-in-train": (
        classes(*"ab", under="train/") | classes(*"bc", under="test/"),
        "different classes",
        {"inside": "test"},
    ),
    "heic": (
        classes("cat", images=("a.png", "b.HEIC")),
        "holds b.HEIC, of a kind that is not read",
    ),
    "arrays-of-class": (classes("cat", images=("a.png", "b.npy")), "holds b.npy"),
    "dicom-alone": ({"cat/a.dcm": b"x"}, "holds a.dcm"),
    "names-twice": (
        {**CAT_DOG, "classes.txt": "cat\ndog\ncat\n"},
        "3 names, 2 of them different (cat twice)",
    ),
    "fewer-names": ({**CAT_DOG, "classes.txt": "cat\n"}, "it lacks 'dog', and has 'cat'"),
    "no-names": ({**CAT_DOG, "classes.txt": "\n \n"}, "names no class"),
    "binary-names": ({**CAT_DOG, "classes.txt": b"\x80\0\0"}, "is not a text file"),
    "file-not-there": (
        {"a.png": None, "metadata.csv": "file_name,label\nb.png,0\n"},
        "do not exist: b.png",
    ),
    "file-not-named": (
        {"a.png": None, "b.png": None, "metadata.csv": "file_name,label\na.png,0\n"},
        "does not name b.png",
    ),
    "named-twice": (
        {"a.png": None, "metadata.csv": "file_name,label\na.png,0\na.png,1\n"},
        "names a.png twice",
    ),
    "outside": (
        {"a.png": None, "metadata.csv": "file_name,label\n../a.png,0\n"},
        "not in its folder",
    ),
    "absolute": (
        {"a.png": None, "metadata.csv": "file_name,label\n/etc/passwd,0\n"},
        "not in its folder",
    ),
    "mixed-labels": (
        {"a.png": None, "b.png": None, "metadata.csv": "file_name,label\na.png,0\nb.png,cat\n"},
        "either whole numbers or names",
    ),
    "label-empty": (
        {"a.png": None, "metadata.csv": "file_name,label\na.png,\n"},
        "either whole numbers or names",
    ),
    "two-labels": (
        {"a.png": None, "metadata.csv": "file_name,label,target\na.png,0,1\n"},
        "label, target",
    ),
    "no-file-name": (
        {"a.png": None, "metadata.csv": "image,label\na.png,0\n"},
        "must have file_name",
    ),
    "semicolons": (
        {"a.png": None, "metadata.csv": "file_name;label\na.png;0\n"},
        "with commas between",
    ),
    "some-unknown": (
        {"a.png": None, "b.png": None, "metadata.csv": "file_name,label\na.png,-1\nb.png,0\n"},
        "1 labels of -1",
    ),
    "broken-jsonl": ({"a.png": None, "metadata.jsonl": "{"}, "is not a readable table"),
    "two-tables": (
        {"a.png": None, "metadata.jsonl": "", "metadata.csv": ""},
        "Keep one metadata.csv or metadata.jsonl",
    ),
    "metadata-parquet": (
        {"a.png": None, "metadata.parquet": b""},
        "Keep one metadata.csv or metadata.jsonl",
    ),
    "split-column": (
        {"a.png": None, "metadata.csv": "file_name,label,split\na.png,0,test\n"},
        "column split",
    ),
    "empty": ({"test/x.txt": "", "train/cat/a.png": None}, "is empty: no images"),
    "empty-names-splits": (
        {"test/x.txt": "", "train/cat/a.png": None},
        "also has train: give --split",
    ),
    "saved-to-disk": (
        {"data-00000-of-00001.arrow": b"x", "state.json": "{}"},
        "Dataset.to_parquet",
    ),
    "cifar-pickles": ({"data_batch_1.pkl": b"x"}, "a pickle by its name"),
    "npz-in-folder": ({"data.npz": b"x"}, "holds data.npz. Give that file"),
    "packed-in-folder": ({"train.zip": b"x"}, "Unpack it"),
    "numbers-and-one-name": (classes("1", "2", "10", "other"), "as text 10 comes before 2"),
    "numbered-names-and-others": (
        classes("class_1", "class_2", "class_10", "other"),
        "as text 10 comes before 2",
    ),
    "second-number": (classes("a1_2", "a1_10"), "as text 10 comes before 2"),
    "below-zero": (classes("-1", "0", "1"), "without a gap"),
    "two-spellings": (classes("b\u00e4r", "ba\u0308r"), "probably the same class"),
    "two-spellings-listed": (
        {**classes("b\u00e4r", "ba\u0308r"), "classes.txt": "b\u00e4r\n"},
        "Give them different names",
    ),
    "classes-in-two-cases": (classes("Cat", "cat"), "'Cat' and 'cat', probably the same class"),
    "comment-in-list": ({**CAT_DOG, "classes.txt": "# mine\ncat\ndog\n"}, "the line '# mine'"),
    "head-of-list": ({**CAT_DOG, "classes.txt": "class\ncat\ndog\n"}, "the line 'class'"),
    "titled-list": ({**CAT_DOG, "classes.txt": "Class Names:\ncat\ndog\n"}, "'Class Names:'"),
    "counted-list": ({**CAT_DOG, "classes.txt": "2\ncat\ndog\n"}, "the line '2'"),
    "ruled-list": ({**CAT_DOG, "classes.txt": "cat\n---\ndog\n"}, "the line '---'"),
    "numbers-in-list": ({**CAT_DOG, "classes.txt": "0 cat\n1 dog\n"}, "has '0 cat', '1 dog'"),
    "utf-16-unmarked": (
        {**CAT_DOG, "classes.txt": "cat\ndog\n".encode("utf-16-le")},
        "Save it as UTF-8",
    ),
    "shift-jis": ({**classes("猫"), "classes.txt": "猫\n".encode("shift-jis")}, "Save it as UTF-8"),
    "lists-that-differ": (
        {
            **classes("cat", "dog", under="test/"),
            "classes.txt": "dog\ncat\n",
            "test/classes.txt": "cat\ndog\n",
        },
        "differ. Keep the one",
    ),
    "list-of-another-name": (
        {**CAT_DOG, "class.names": "dog\ncat\n"},
        "in an order that is not sorted",
    ),
    "list-with-more": (
        {**CAT_DOG, "labels.txt": "ape\ncat\ndog\n"},
        "in an order that is not sorted",
    ),
    "mapping": (
        {**CAT_DOG, "class_to_idx.json": '{"dog": 0, "cat": 1}'},
        "in an order that is not sorted",
    ),
    "numbered-mapping": (
        {**CAT_DOG, "idx.json": '{"0": ["dog", "Dog"], "1": ["cat", "Cat"]}'},
        "in an order that is not sorted",
    ),
    "table-against-folders": (
        {**CAT_DOG, "metadata.csv": "file_name,label\ncat/a.png,dog\ndog/a.png,cat\n"},
        "cat/a.png is 'dog', but it is in",
    ),
    "unquoted-comma": (
        {"a.png": None, "metadata.csv": "file_name,text,label\na.png,hello, world,1\n"},
        "more values than columns in row 1",
    ),
    "label-twice": (
        {"a.png": None, "metadata.csv": "file_name,label,Label\na.png,1,0\n"},
        "the column label twice",
    ),
    "json-label-twice": (
        {"a.png": None, "metadata.jsonl": '{"file_name": "a.png", "label": 1, "label": 0}\n'},
        "the column label twice",
    ),
    "table-in-latin-1": (
        {"a.png": None, "metadata.csv": "file_name,label\na.png,bär\n".encode("latin-1")},
        "Save it as UTF-8",
    ),
    "idx-files": ({"t10k-images-idx3-ubyte": b"x"}, "It holds t10k-images-idx3-ubyte"),
    "pointer": ({"a.png": "version https://git-lfs.github.com/spec/v1\n"}, "Run git lfs pull"),
    "page-for-picture": ({"a.jpg": "<!DOCTYPE html>"}, "it is a web page"),
    "no-bytes": ({"a.jpg": b""}, "it is empty"),
    "avif-inside": ({"a.jpg": b"\0\0\0 ftypavif"}, "it is AVIF"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_are_refused(case, tmp_path):
    tree, message, *more = REFUSED[case]
    options = dict(*more)
    if case == "two-cases" and sys.platform != "linux":
        pytest.skip("the file system may not tell cases apart")
    folder = Path(files(tmp_path, tree)) / options.get("inside", "")
    options.pop("inside", None)
    assert message in refused(folder, **options)


def test_advice_about_classes_works(tmp_path):
    """What a refusal advises lets the same folder be read."""
    for number, case in enumerate(("vehicle", "split-or-class", "annotations", "masks", "numbers")):
        folder = tmp_path / str(number)
        tree = REFUSED[case][0]
        names = sorted({name.split("/")[0] for name in tree} - {"annotations"}, reverse=True)
        files(folder, {**tree, "classes.txt": "\n".join(names)})
        data = smoothcert.load_inputs(folder)
        assert (data.classes, sorted(data.labels)) == (tuple(names), [*range(len(names))])


@pytest.mark.parametrize("inside", ["", "cat", "gone"])
def test_links_that_lead_nowhere(inside, tmp_path):
    """Left out, a class would be missing and all after it had other numbers."""
    files(tmp_path, CAT_DOG)
    (tmp_path / inside).mkdir(exist_ok=True)
    (tmp_path / inside / "bird").symlink_to(tmp_path / "not-there")
    assert "bird is a broken link" in refused(tmp_path)


def test_a_link_to_itself(tmp_path):
    files(tmp_path, CAT_DOG)
    (tmp_path / "eel").symlink_to(tmp_path / "eel")
    assert "eel is a broken link" in refused(tmp_path)


def test_links_elsewhere_do_not_matter(tmp_path):
    (tmp_path / "latest").symlink_to(tmp_path / "not-there")
    files(tmp_path, classes("cat", under="test/"))
    table(tmp_path / "a.parquet", label=[0, 1])
    for name in ("", "test", "a.parquet"):
        assert smoothcert.load_inputs(tmp_path / name).labels


def test_linked_folders_are_read_by_tables_too(tmp_path):
    files(tmp_path / "far", {"a.png": None})
    files(tmp_path / "data", {"metadata.csv": "file_name,label\nnear/a.png,3\n"})
    (tmp_path / "data" / "near").symlink_to(tmp_path / "far")
    assert smoothcert.load_inputs(tmp_path / "data").labels == (3,)


def test_a_split_alone_has_the_order_of_the_whole(tmp_path):
    files(tmp_path, {**classes("cat", "dog", under="test/"), "classes.txt": "dog\ncat\n"})
    data = [smoothcert.load_inputs(tmp_path), smoothcert.load_inputs(tmp_path / "test")]
    assert {(d.classes, d.labels) for d in data} == {(("dog", "cat"), (0, 1))}


ROWS = {"label": [3, 5]}
FILES = {
    "whole-name": ({"test.parquet": ROWS, "test_ood.parquet": {"label": [0, 0]}}, "test", (3, 5)),
    "not-pretrain": (
        {"train.parquet": ROWS, "pretrain.parquet": {"label": [0, 0]}},
        "train",
        (3, 5),
    ),
    "hashed": ({"test-00000-of-00001-0a1b.parquet": ROWS}, "test", (3, 5)),
    "parts": (
        {"test-00001-of-00002.parquet": {"label": [5, 6]}, "test-00000-of-00002.parquet": ROWS},
        "test",
        (3, 5, 5, 6),
    ),
    "nested": (
        {"test/0000.parquet": ROWS, "train/0000.parquet": {"label": [0, 0]}},
        "test",
        (3, 5),
    ),
    "configuration": (
        {"plain/test/0000.parquet": ROWS, "plain/train/0000.parquet": ROWS},
        "test",
        (3, 5),
    ),
    "data-folder": (
        {"data/test-00000-of-00001.parquet": ROWS, "README.parquet.md": None},
        "test",
        (3, 5),
    ),
    "counted": (
        {"test_1.parquet": {"label": [5, 6]}, "test_0.parquet": ROWS},
        "test",
        (3, 5, 5, 6),
    ),
    "tenth": (
        {f"test_{i}.parquet": {"label": [i, i]} for i in range(11)},
        "test",
        tuple(i for i in range(11) for _ in "ab"),
    ),
    "capital": ({"Test.parquet": ROWS}, "test", (3, 5)),
    "parts-alone": (
        {"0000.parquet": ROWS, "0001.parquet": {"label": [1, 2]}},
        "test",
        (3, 5, 1, 2),
    ),
    "spark": ({"_SUCCESS": None, "part-00000-8e.snappy.parquet": ROWS}, "test", (3, 5)),
    "short-ending": ({"test.pq": ROWS}, "test", (3, 5)),
    "hidden": ({"test.parquet": ROWS, "._test.parquet": None}, "test", (3, 5)),
    "images-too": ({"train.parquet": ROWS, "test/cat/a.png": None}, "test", (0,)),
}
NO_FILES = {
    "other-splits": (
        {"train.parquet": ROWS, "test_ood.parquet": ROWS},
        "no split 'test'. Did you mean 'test_ood'? It has test_ood, train",
    ),
    "two-configurations": (
        {"a/test/0000.parquet": ROWS, "b/test/0000.parquet": ROWS},
        "the split 'test' in a, b. Give one of these folders",
    ),
    "part-missing": ({"test-00000-of-00002.parquet": ROWS}, "not every part exactly once"),
    "part-between": (
        {"test/0000.parquet": ROWS, "test/0002.parquet": ROWS},
        "not every part exactly once",
    ),
    "two-versions": (
        {"test-00000-of-00001-aa.parquet": ROWS, "test-00000-of-00001-bb.parquet": ROWS},
        "not every part exactly once",
    ),
    "two-ways": (
        {"test.parquet": ROWS, "test-00000-of-00001.parquet": ROWS},
        "not every part exactly once",
    ),
    "a-year": ({"test_2020.parquet": ROWS}, "no split 'test'"),
}


def tables(folder, tree):
    for name, columns in tree.items():
        if columns is None:
            files(folder, {name: None})
        else:
            table(folder / name, **columns)
    return folder


@pytest.mark.parametrize("case", FILES)
def test_files_of_a_split(case, tmp_path):
    tree, split, labels = FILES[case]
    data = smoothcert.load_inputs(tables(tmp_path, tree), split)
    assert data.labels == labels and len(data.contents) == len(labels)


@pytest.mark.parametrize("case", NO_FILES)
def test_files_of_no_certain_split(case, tmp_path):
    tree, message = NO_FILES[case]
    assert message in refused(tables(tmp_path, tree))


FINE = {"fine_label": class_label(*"abcdef"), "coarse_label": class_label(*"xy")}
COLUMNS = {
    "class-label": ({"kind": [1, 0], "id": [7, 8]}, {"kind": class_label("a", "b")}, (1, 0), "a b"),
    "class-label-and-text": (
        {"kind": [1, 0], "class": ["b", "a"]},
        {"kind": class_label("a", "b")},
        (1, 0),
        "a b",
    ),
    **{name: ({name: [1, 0]}, None, (1, 0), "") for name in ("target", "class", "labels", "y")},
    "cifar100": ({"fine_label": [5, 1], "coarse_label": [1, 0]}, FINE, (5, 1), "a b c d e f"),
    "unlabelled": ({"label": [-1, -1]}, {"label": class_label("a", "b")}, None, "a b"),
    "id-is-no-label": ({"id": [1, 2]}, None, None, ""),
    "capital-label": ({"Label": [1, 0]}, None, (1, 0), ""),
    "floats": ({"label": [1.0, 0.0]}, None, (1, 0), ""),
    "all-missing": ({"label": pa.array([None, None], pa.int64())}, None, None, ""),
    "dictionary-of-numbers": ({"label": pa.array([1, 0]).dictionary_encode()}, None, (1, 0), ""),
}
NO_COLUMNS = {
    "names": ({"label": ["dog", "cat"]}, None, "are names (cat, dog), whose order"),
    "categories": ({"label": pa.array(["b", "a"]).dictionary_encode()}, None, "are names (a, b)"),
    "texts-of-numbers": ({"label": ["10", "2"]}, None, "are names (10, 2)"),
    "one-missing": ({"label": [1, None]}, None, "1 are missing"),
    "several-each": ({"label": [[1], [0, 1]]}, None, "they are list"),
    "halves": ({"label": [0.5, 1.0]}, None, "must all be whole numbers"),
    "several": (
        {"label": [0, 1], "target": [1, 0]},
        None,
        "several columns that may hold the classes: label, target",
    ),
    "two-class-labels": (
        {"a": [0, 1], "b": [1, 0]},
        {"a": class_label("x", "y"), "b": class_label("x", "y")},
        "classes: a, b",
    ),
    "other-label": (
        {"label": [0, 1], "kind": [1, 0]},
        {"kind": class_label("x", "y")},
        "classes: kind, label",
    ),
    "some-unknown": (
        {"label": [-1, 1]},
        None,
        "1 labels of -1 (unknown; the first at 0) among 2",
    ),
    "beyond-names": (
        {"label": [0, 2]},
        {"label": class_label("a", "b")},
        "labels from 0 to 2, but names of 2",
    ),
    "split-column": ({"label": [0, 1], "split": ["train", "test"]}, None, "has a column 'split'"),
    "two-pictures": ({"img": [b"x", b"y"]}, None, "several columns of images: img, image"),
    "no-picture": (
        {"images_": ["a", "b"], "images": ()},
        None,
        "The column of images must be called",
    ),
    "gap": ({"images": cells(3, {"bytes": None, "path": "a.png"})}, None, "Row 2 of"),
    "null": ({"images": [*cells(1), None]}, None, "Row 1 of"),
    "broken": (
        {"images": cells(2, {"bytes": b"xx", "path": None})},
        None,
        "(row 1) cannot be read as an image",
    ),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns(case, tmp_path):
    columns, features, labels, names = COLUMNS[case]
    data = smoothcert.load_inputs(table(tmp_path / "a.parquet", features, **columns))
    assert (data.labels, " ".join(data.classes)) == (labels, names)


@pytest.mark.parametrize("case", NO_COLUMNS)
def test_columns_that_are_not_certain(case, tmp_path):
    columns, features, message = NO_COLUMNS[case]
    assert message in refused(table(tmp_path / "a.parquet", features, **columns))


def test_an_image_column_of_any_name(tmp_path):
    from pyarrow import parquet

    path = table(tmp_path / "a.parquet", {"photo": {"_type": "Image"}})
    made = parquet.read_table(path).rename_columns(["photo"])
    parquet.write_table(made, path)
    assert len(smoothcert.load_inputs(path).contents) == 2
    raw = pa.table({"image": pa.array([saved(picture())])})  # bytes alone, in no struct
    parquet.write_table(raw, path)
    assert len(smoothcert.load_inputs(path).contents) == 1


LISTED = {
    "names": ({"label": ["dog", "ape"]}, None, ("dog", "cat", "ape"), (0, 2)),
    "categories": (
        {"label": pa.array(["ape", "dog"]).dictionary_encode()},
        None,
        ("dog", "cat", "ape"),
        (2, 0),
    ),
    "class-label": (
        {"label": [0, 1]},
        {"label": class_label("ape", "dog")},
        ("dog", "cat", "ape"),
        (2, 0),
    ),
    "numbers": ({"label": [0, 1]}, None, ("dog", "cat", "ape"), (0, 1)),
}


@pytest.mark.parametrize("case", LISTED)
@pytest.mark.parametrize("whole", [False, True])
def test_a_list_of_classes_holds_for_parquet_too(case, whole, tmp_path):
    columns, features, names, labels = LISTED[case]
    file = table(tmp_path / "test.parquet", features, **columns)
    files(tmp_path, {"classes.txt": "dog\ncat\nape\n"})
    data = smoothcert.load_inputs(tmp_path if whole else file)
    assert (data.classes, data.labels) == (names, labels)


def test_columns_that_are_not_read_are_named(tmp_path):
    said = smoothcert.load_inputs(table(tmp_path / "a.parquet", category=[1, 0])).describe()
    assert "no labels" in said and "Not read: the columns category." in said


def test_a_column_twice(tmp_path):
    from pyarrow import parquet

    made = pa.Table.from_arrays([pa.array([b"x"]), *[pa.array([1])] * 2], ["image", "y", "y"])
    parquet.write_table(made, tmp_path / "a.parquet")
    assert "the column 'y' twice" in refused(tmp_path / "a.parquet")


EYE = np.eye(2)
LABELLED = {
    "one-hot": EYE,
    "one-hot-booleans": EYE > 0,
    "a-column": [[0], [1]],
    "floats": [0.0, 1.0],
    "unsigned": np.array([0, 1], np.uint64),
}
NO_LABELS = {
    "soft": np.full((2, 2), 0.5),
    "several-each": [[1, 1], [0, 1]],
    "halves": [0.5, 1],
    "names": ["a", "b"],
    "truths": [True, False],
    "one-number": 1,
}


@pytest.mark.parametrize("case", LABELLED)
def test_labels_in_other_forms(case, tmp_path):
    np.savez(tmp_path / "a.npz", x=arrays(), y=LABELLED[case])
    assert smoothcert.load_inputs(tmp_path / "a.npz").labels == (0, 1)


@pytest.mark.parametrize("case", NO_LABELS)
def test_labels_that_are_none(case, tmp_path):
    np.savez(tmp_path / "a.npz", x=arrays(), y=NO_LABELS[case])
    assert "must be whole numbers of shape (count,), or one-hot" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "names", [("X", "Y"), ("X_test", "y_test"), ("test_images", "test_labels"), ("x", "target")]
)
def test_names_of_arrays(names, tmp_path):
    np.savez(tmp_path / "a.npz", **{names[0]: arrays(), names[1]: [1, 0]})
    assert smoothcert.load_inputs(tmp_path / "a.npz").labels == (1, 0)


@pytest.mark.parametrize("names", [("x", "images"), ("x", "inputs"), ("x_test", "images_test")])
def test_two_arrays_that_may_be_meant(names, tmp_path):
    np.savez(tmp_path / "a.npz", **dict.fromkeys(names, arrays()))
    assert f"{names[0]}, {names[1]}, any of which may be meant" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=arrays(), y=[0, 1], labels=[1, 0])
    assert "y, labels, any of which may be meant" in refused(tmp_path / "b.npz")


def test_labels_of_no_certain_split_are_not_taken(tmp_path):
    np.savez(tmp_path / "a.npz", x_test=arrays(), x_val=arrays(), y=[0, 1])
    data = smoothcert.load_inputs(tmp_path / "a.npz")
    assert data.labels is None and "Not read: x_val, y." in data.describe()


@pytest.mark.parametrize("shape", [(2, 3, 8, 3), (2, 1, 8, 3), (2, 3, 8, 1)])
def test_channels_that_may_be_first_or_last(shape, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(shape, np.uint8))
    assert "channels may be the second axis or the last" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", inputs=np.zeros(shape, np.uint8))
    assert smoothcert.load_inputs(tmp_path / "a.npz").shape == shape[1:]


@pytest.mark.parametrize("highest", [1, 16])
def test_arrays_that_are_nearly_black(highest, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((2, 1, 4, 4), highest, np.uint8))
    said = smoothcert.load_inputs(tmp_path / "a.npz").describe()
    assert f"Its largest value is {highest} of 255, nearly black" in said
    np.savez(tmp_path / "a.npz", x=np.full((2, 1, 4, 4), 17, np.uint8))
    assert "black" not in smoothcert.load_inputs(tmp_path / "a.npz").describe()


ARGUMENTS = {
    "limit": ({"limit": 1.5}, "limit must be a whole number"),
    "every": ({"every": "2"}, "every must be a whole number"),
    "size": ({"size": (4, 4)}, "size must be a whole number"),
    "channels": ({"channels": True}, "channels must be a whole number"),
    "split": ({"split": 3}, "split must be the name"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_of_other_kinds(case, tmp_path):
    options, message = ARGUMENTS[case]
    assert message in refused(files(tmp_path, CAT_DOG), **options)


@pytest.mark.parametrize("reference", ["", None, b"data", ["a.png"], arrays()])
def test_references_of_other_kinds(reference):
    with pytest.raises(InvalidInput, match="The data must be a text or a path"):
        smoothcert.load_inputs(reference)


def test_numpy_numbers_as_arguments(tmp_path):
    where = files(tmp_path, CAT_DOG)
    assert len(smoothcert.load_inputs(where, limit=np.int64(1), every=np.int32(1))) == 1
    assert smoothcert.load_inputs(where, size=np.float64(2), channels=np.uint8(1)).shape == (
        1,
        2,
        2,
    )


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_pillow_images_and_paths_given_to_smooth(mode, tmp_path):
    """As load_inputs reads them: channels first, colours and not a palette's numbers."""
    from PIL import Image

    made = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).convert(mode)
    made.save(tmp_path / "a.png")
    pixels = smoothcert.load_inputs(tmp_path).item(0).pixels
    seen = []

    def logits(batch):
        seen.append(batch.shape[1:])
        return np.tile(np.float32([[1, 0]]), (len(batch), 1)) + batch.reshape(len(batch), -1)[:, :2]

    one = smoothcert.from_function(logits, "seen", version=mode)
    for x in (made, tmp_path / "a.png", str(tmp_path / "a.png")):
        smooth = smoothcert.Smooth(one, 2, 0.25)
        found = smooth.certify(x, 10, 50, 0.01, 25)
        assert found == smoothcert.Smooth(one, 2, 0.25).certify(
            pixels.astype(np.uint8), 10, 50, 0.01, 25
        )
    assert set(seen) == {pixels.shape}


def turned():
    """A photograph of 6x4 pixels that says it is to be turned."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.new("RGB", (6, 4), (9, 8, 7)), "JPEG", exif=exif.tobytes())


def test_orientation_is_the_same_by_every_loader(tmp_path, monkeypatch):
    """As stored: the hub's package turns pictures when it decodes them, Pillow does not."""
    datasets = pytest.importorskip("datasets")
    cell = {"bytes": turned(), "path": None}
    files(tmp_path, {"cat/a.jpg": turned()})
    made = datasets.Dataset.from_dict(
        {"image": [cell], "label": [0]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: made)
    read = [
        smoothcert.load_inputs(tmp_path),
        smoothcert.load_inputs(table(tmp_path / "a.parquet", images=[cell])),
        smoothcert.load_inputs("someone/something"),
    ]
    assert {data.shape for data in read} == {(3, 4, 6)}
    assert len({data.contents for data in read}) == 1
    assert decode(tmp_path / "cat" / "a.jpg").shape == (3, 4, 6)  # as predict reads it


MODES = {
    "1": (saved(picture("1", 1)), 1, 255),
    "L": (saved(picture("L")), 1, 7),
    "LA-opaque": (saved(picture("LA", 255)), 3, 255),
    "RGBA-opaque": (saved(picture("RGBA", 255)), 3, 255),
    "P": (saved(picture().quantize(4)), 3, 7),
    "P-opaque": (saved(picture().quantize(4), transparency=b"\xff\xff"), 3, 7),
    "CMYK": (saved(picture("CMYK", 0), "TIFF"), 3, 255),
    "L-unused-key": (saved(picture("L"), transparency=8), 1, 7),
    "4-bit": (png(0, 4, b"\xff"), 1, 255),
    "RGB8": (png(2, 8, b"\x07"), 3, 7),
    "TIFF8": (tiff(8), 3, 0),
    "PPM-15": (b"P6\n4 4\n15\n" + b"\x0f" * 48, 3, 255),
}
NO_MODES = {
    "RGB16": (png(2, 16), "more than 8 bits"),
    "RGBA16": (png(6, 16, b"\xff"), "more than 8 bits"),
    "LA16": (png(4, 16, b"\xff"), "more than 8 bits"),
    "I;16": (png(0, 16), "more than 8 bits"),
    "TIFF16": (tiff(16), "more than 8 bits"),
    "PPM16": (b"P6\n4 4\n65535\n" + bytes(96), "more than 8 bits"),
    "PPM10": (b"P6\n4 4\n1000\n" + bytes(96), "more than 8 bits"),
    "PGM16": (b"P5\n4 4\n65535\n" + bytes(32), "more than 8 bits"),
    "F": (saved(picture("F"), "TIFF"), "more than 8 bits"),
    "LAB": (saved(picture("LAB"), "TIFF"), "colours that are not converted"),
    "RGBA": (saved(picture("RGBA", 9)), "parts of it are transparent"),
    "LA": (saved(picture("LA", 9)), "parts of it are transparent"),
    "P-transparent": (saved(picture().quantize(4), transparency=0), "parts of it are transparent"),
    "RGB-key": (saved(picture(), transparency=(7, 7, 7)), "parts of it are transparent"),
    "WEBP-alpha": (saved(picture("RGBA", 9), "WEBP"), "parts of it are transparent"),
}


@pytest.mark.parametrize("case", MODES)
def test_modes(case, tmp_path):
    data, channels, value = MODES[case]
    files(tmp_path, {"a.png": data})
    for wanted in (None, 1, 3):
        read = smoothcert.load_inputs(tmp_path, channels=wanted)
        assert read.shape == (wanted or channels, 4, 4)
        assert (read.item(0).pixels == value).all()


@pytest.mark.parametrize("case", NO_MODES)
def test_modes_that_are_refused(case, tmp_path):
    data, message = NO_MODES[case]
    for wanted in (None, 1, 3):
        assert message in refused(files(tmp_path, {"a.png": data}), channels=wanted)


def test_the_table_of_modes_is_the_documented_one():
    page = Path(__file__).parents[2] / "docs" / "data.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    for mode, channels in CHANNELS.items():
        (row,) = [row for row in rows if f"`{mode}`" in row.split("|")[1] and "channel" in row]
        assert f"{channels} channel" in row


@pytest.mark.parametrize("kind", ["folder", "parquet"])
@pytest.mark.parametrize("first", ["L", "RGB"])
def test_grey_among_colour(kind, first, tmp_path):
    """Neither is turned into the other by what happens to be first."""
    modes = (first, "RGB" if first == "L" else "L")
    pictures = [saved(picture(mode)) for mode in modes]
    if kind == "folder":
        where = files(tmp_path, {f"{i}.png": data for i, data in enumerate(pictures)})
    else:
        rows = [{"bytes": data, "path": None} for data in pictures]
        where = table(tmp_path / "a.parquet", images=rows)
    assert "--channels 3 repeats grey, --channels 1 makes colours grey" in refused(where)
    for channels in (1, 3):
        assert [i.pixels.shape[0] for i in smoothcert.load_inputs(where, channels=channels)] == [
            channels
        ] * 2
    with pytest.raises(InvalidInput, match=r"channels must be 1 \(grey\) or 3 \(colour\); got 2"):
        smoothcert.load_inputs(where, channels=2)


def recording(data):
    """What is looked at of a run that was made with this data."""
    return SimpleNamespace(manifest=SimpleNamespace(origin={"data": data}))


def test_channels_are_recorded_and_older_runs_read_as_they_were(tmp_path):
    where = files(tmp_path, {"a.png": saved(picture("L")), "b.png": saved(picture("RGB"))})
    source = DataSource(where, "test", None, None, 1, None, 3)
    again = recorded_source(recording(source.to_json()), None)
    assert again == source and again.load().fingerprint == source.load().fingerprint
    old = {n: v for n, v in source.to_json().items() if n != "channels"}
    assert recorded_source(recording(old), None).load().shape == (1, 4, 4)  # the first is grey
    assert len(recorded_source(recording(old), None).load().contents) == 2


def test_channels_are_not_for_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", x=arrays())
    assert "channels is for image files" in refused(tmp_path / "a.npz", channels=3)
    assert "channels is for image files" in refused("digits", channels=1)


UNREAD = {
    "arr.npy": "a single array. Save its arrays with numpy.savez",
    "set.zip": "a packed file. Unpack it",
    "train-images.gz": "a packed file",
    "set.pkl": "a pickle by its name",
    "set.h5": "in a format that is not read",
    "labels.xlsx": "not a table that is read. Save a table of numbers as CSV",
    "data.arrow": "Dataset.to_parquet",
    "a.png": "one image. Give the folder that it is in",
    "notes": "not data that can be read",
}


@pytest.mark.parametrize("name", UNREAD)
def test_files_that_are_there_and_not_read(name, tmp_path):
    message = refused(Path(files(tmp_path, {f"d/{name}": b"x"})) / "d" / name)
    assert UNREAD[name] in message and "There is no data" not in message


def test_endings_in_capitals(tmp_path):
    np.savez(tmp_path / "a.npz", x=arrays(), y=[-1, -1])
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    data = smoothcert.load_inputs(tmp_path / "A.NPZ")
    assert (len(data), data.labels) == (2, None)
    Path(table(tmp_path / "b.parquet", label=[0, 1])).rename(tmp_path / "B.PARQUET")
    assert smoothcert.load_inputs(str(tmp_path / "B.PARQUET")).labels == (0, 1)


def test_what_was_read_is_described(tmp_path):
    tree = classes("ant", "bee", under="test/", images=("a.png", "b.png"))
    data = smoothcert.load_inputs(files(tmp_path, {**tree, **classes(*"c", under="train/ant/")}))
    assert data.describe().splitlines() == [
        f"{tmp_path}: 4 inputs of shape 3x4x4, 2 classes (0 ant: 2, 1 bee: 2).",
        "First: ant/a.png, ant/b.png, bee/a.png. Classes in sorted order.",
    ]


def test_labels_that_are_beside_are_named(tmp_path):
    where = files(tmp_path, {"a.png": None, "labels.csv": "a.png,3"})
    said = smoothcert.load_inputs(where).describe()
    assert "no labels" in said and "Not read: labels.csv" in said


def test_the_command_line_says_what_was_read(tmp_path, capsys):
    from smoothcert.cli.console import errors

    where = files(tmp_path, CAT_DOG)
    with errors.capture() as said:
        DataSource(where, "test", None, None, 1).load_and_describe()
    assert "2 classes (0 cat: 1, 1 dog: 1)" in said.get()
    assert json.loads(json.dumps(DataSource(where, "test", None, None, 1).to_json()))


def test_data_that_has_moved_names_the_option(tmp_path):
    gone = DataSource(str(tmp_path / "gone"), "test", None, None, 1)
    with pytest.raises(
        InvalidInput, match="There is no data at .* if it has moved, say where with --data"
    ):
        gone.load_and_describe(recorded=True)
    there = DataSource(files(tmp_path, {"test/x.txt": ""}), "test", None, None, 1)
    with pytest.raises(InvalidInput, match="is empty") as refused:
        there.load_and_describe(recorded=True)
    assert "say where with --data" not in str(refused.value)


def test_labels_of_other_arrays_are_not_taken(tmp_path):
    np.savez(tmp_path / "a.npz", x_test=arrays(), x=arrays(), y=[0, 1])
    assert smoothcert.load_inputs(tmp_path / "a.npz").labels is None
    np.savez(tmp_path / "a.npz", x_test=arrays(), y=[0, 1])
    data = smoothcert.load_inputs(tmp_path / "a.npz")
    assert data.labels == (0, 1) and "Read from 'x_test', labels from 'y'." in data.describe()


def test_a_table_for_all_splits_names_the_classes_of_all(tmp_path):
    rows = "file_name,label\ntest/a.png,dog\ntrain/a.png,cat\n"
    where = files(tmp_path, {"test/a.png": None, "train/a.png": None, "metadata.csv": rows})
    data = smoothcert.load_inputs(where)
    assert (data.classes, data.labels) == (("cat", "dog"), (1,))


def test_a_split_given_by_where_one_is(tmp_path, monkeypatch):
    """The class that only train has keeps its number."""
    files(tmp_path, {**classes(*"abc", under="train/"), **classes(*"ac", under="test/")})
    monkeypatch.chdir(tmp_path / "test")
    assert smoothcert.load_inputs(".").labels == (0, 2)
