"""One contract for all places of runs: a folder, a bucket, any other file system of pyarrow."""

import pickle
from pathlib import Path

import pytest
from pyarrow import fs

from smoothcert.errors import InvalidInput, StoreError
from smoothcert.storage import object_store as objects
from smoothcert.storage.local import LocalFolder
from smoothcert.storage.object_store import ObjectStore
from smoothcert.storage.opening import open_storage

KINDS = ("folder", "s3", "another file system")


@pytest.fixture(params=KINDS)
def empty(request, bucket, tmp_path, monkeypatch):
    """A place in which nothing is."""
    monkeypatch.setattr(objects, "_RETRY_BACKOFF", ())
    if request.param == "folder":
        return open_storage(tmp_path / "r")
    if request.param == "s3":
        return open_storage(bucket.uri(f"{tmp_path.name}/r"))
    # As one that renames, and whose unfinished files are there: HDFS, for instance.
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(objects, "_filesystem", lambda uri: (store, "r"))
    return ObjectStore("hdfs://host/r")


FILES = {"inputs.parquet": b"in", "twin.onnx": b"a network", "run.json": b"{}"}


@pytest.fixture
def created(empty):
    empty.create(FILES.items())
    return empty


def test_what_was_created_is_there(created):
    assert created.files() == sorted(FILES)
    assert {name: created.read(name, 100) for name in created.files()} == FILES
    assert created.occupied
    assert created.exists("run.json")
    assert created.name == "r"
    assert created.on_disk("twin.onnx").read_bytes() == b"a network"
    assert created.on_disk("twin.onnx").name == "twin.onnx"


def test_what_is_not_there(empty):
    assert not empty.occupied
    assert empty.files() == []
    assert empty.files("votes") == []
    assert not empty.exists("run.json")
    with pytest.raises(FileNotFoundError):
        empty.read("run.json", 100)
    empty.remove("run.json")


def test_files_come_and_go(created):
    created.write("votes/00001.parquet", b"old")
    created.write("votes/00001.parquet", b"new")
    created.write("votes/00000.parquet", b"")
    assert created.files("votes") == ["votes/00000.parquet", "votes/00001.parquet"]
    assert created.read("votes/00001.parquet", 3) == b"new"
    assert created.read("votes/00000.parquet", 3) == b""
    created.remove("votes/00001.parquet")
    created.remove("votes/00001.parquet")
    assert created.files("votes") == ["votes/00000.parquet"]


def test_names_of_a_folder_are_not_those_of_one_that_begins_the_same(created):
    created.write("votes/0", b"x")
    created.write("votes-old/0", b"x")
    assert created.files("votes") == ["votes/0"]


def test_large_files(created):
    data = bytes(range(256)) * 50_000  # several parts of an upload
    created.write("votes/0", data)
    assert created.read("votes/0", len(data)) == data
    with pytest.raises(StoreError, match="12800000 bytes"):
        created.read("votes/0", len(data) - 1)


def test_nothing_is_created_over_something(created):
    with pytest.raises(StoreError, match="already exists and is not empty. Pass --resume"):
        created.create(FILES.items())


def test_what_could_not_be_created_leaves_nothing(empty):
    def files():
        yield "inputs.parquet", b"in"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        empty.create(files())
    assert not empty.occupied
    assert empty.files() == []
    empty.create(FILES.items())
    assert empty.files() == sorted(FILES)


def test_half_written_files_are_no_files(created):
    created.write("votes/.0.12ab34cd.tmp", b"ha")
    assert created.files() == sorted(FILES)
    assert created.files("votes") == []
    created.remove_temporary()
    assert not created.exists("votes/.0.12ab34cd.tmp")
    assert created.files() == sorted(FILES)


def test_it_can_be_sent_to_other_processes(empty):
    assert pickle.loads(pickle.dumps(empty)) == empty


def test_a_file_is_named_as_users_do(bucket):
    options = bucket.uri("").partition("?")[2]
    assert (
        open_storage(bucket.uri("a/r")).uri_of("run.json") == f"s3://bucket/a/r/run.json?{options}"
    )
    assert open_storage(Path("a/r")).uri_of("run.json") == str(Path("a/r/run.json"))


def test_files_of_this_machine_as_a_uri(tmp_path):
    assert open_storage(f"file://{tmp_path}/a%20b") == LocalFolder(tmp_path / "a b")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("s3://key:secret@bucket/r", "leave them out of the s3 URI"),
        ("abfs://container:secret@account.dfs.core.windows.net/r", "leave them out of the abfs"),
        ("ftp://host/r", "Unrecognized filesystem"),
        ("s3://bucket/a b", "cannot be used"),
        ("s3://bucket/r?region=x#part", "has no meaning here"),
        (Path("s3://bucket/r"), "Give the URI as text"),
    ],
)
def test_places_that_are_none(where, message):
    with pytest.raises(InvalidInput, match=message) as raised:
        open_storage(where)
    assert "secret" not in str(raised.value).replace("AWS_SECRET", "")


def test_a_killed_creation_is_begun_again(bucket, tmp_path):
    there = open_storage(bucket.uri(f"{tmp_path.name}/k"))
    there.write(".new", b"")
    there.write("inputs.parquet", b"of another run")
    there.write("plan.parquet", b"of another run")
    there.write("certificates/00000.parquet", b"of another run")
    assert not there.occupied
    there.create(FILES.items())
    assert there.files() == sorted(FILES)


def test_of_two_that_create_at_once_one_is_whole(bucket, tmp_path):
    """The other writes its first files in the middle."""
    there = open_storage(bucket.uri(f"{tmp_path.name}/two"))

    def ours():
        yield "inputs.parquet", b"ours"
        there.write("inputs.parquet", b"theirs")
        yield "run.json", b"ours"

    there.create(ours())
    assert {name: there.read(name, 9) for name in there.files()} == {
        "inputs.parquet": b"ours",
        "run.json": b"ours",
    }


@pytest.mark.parametrize("status", [403, 404])
def test_refusals_are_not_tried_again(status, bucket, tmp_path):
    there = open_storage(bucket.uri(f"{tmp_path.name}/r"))
    bucket.trouble = lambda number: status
    with pytest.raises(StoreError, match="run.json.* cannot be written"):
        there.write("run.json", b"{}")
    assert len(bucket.requests) < 5


def test_a_bucket_that_is_not_there(bucket):
    there = open_storage(bucket.uri("").replace("bucket/", "nobody-s-bucket/r"))
    with pytest.raises(StoreError, match="NO_SUCH_BUCKET"):
        there.write("run.json", b"{}")
