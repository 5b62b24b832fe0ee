"""A Ray cluster on this machine: the same bytes as one process, whatever becomes of its nodes."""

import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from smoothcert.errors import InvalidInput, Mismatch, MissingExtra, ModelError
from smoothcert.execution.block_tasks import ALL, Job
from smoothcert.execution.runner import finish, run_certify, run_recertify
from smoothcert.methods import Irs, Reuse
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.executors import SETTINGS, SMALL
from support.run_files import bytes_of
from support.worker_faults import LoadPixelSum, thirty_inputs

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A cluster that `ray start` made tells even that it reports nothing.
os.environ["RAY_USAGE_STATS_REPORT_URL"] = "http://127.0.0.1:9"
ray = pytest.importorskip("ray", reason="needs ray: pip install 'smoothcert[cluster]'")
from smoothcert.execution import ray_cluster as cluster  # noqa: E402
from smoothcert.execution.ray_cluster import BroadcastFile, Cluster  # noqa: E402
from smoothcert.execution.start import RunRequest  # noqa: E402
from smoothcert.storage.opening import open_storage  # noqa: E402

# Ray asks them whose cloud this is, whatever it is told.
pytestmark = [
    pytest.mark.refused("169.254.169.254", "metadata.google.internal"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def nodes():
    """A head without cores, and two nodes with two each; the second can be removed."""
    from ray.cluster_utils import Cluster as Nodes

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    found = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    found.add_node(num_cpus=2)
    found.add_node(num_cpus=2)
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The runs that one process makes."""
    folder, inputs = tmp_path_factory.mktemp("calm"), thirty_inputs()
    base = run_certify(folder / "certify", LoadPixelSum(28).classifier(), inputs, SETTINGS, SMALL)
    new = LoadPixelSum(29).classifier()
    run_recertify(folder / "irs", base, new, inputs, Irs(100), SMALL)
    run_recertify(folder / "reuse", base, new, inputs, Reuse("budget:0.2"), SMALL)
    return folder


class Seen:
    """A watcher that counts."""

    def __init__(self):
        self.indices, self.summary = [], None

    def started(self, start):
        """Nothing to note."""

    def certified(self, so_far):
        self.indices += [c.index for c in so_far.certificates]

    def finished(self, summary):
        self.summary = summary


def on(there, out, told=None, watchers=(), **changes) -> Run:
    """Open and compute a run in the cluster; nothing of it is loaded here."""
    request = replace(RunRequest(open_storage(out), SETTINGS, options=SMALL), **changes)
    run = there.open(request)
    job = Job(run, request.base, ALL, told.append if told is not None else lambda _: None)
    return finish(job, None, there, watchers)


def test_the_same_bytes(nodes, calm, tmp_path):
    told, seen = [], Seen()
    run = on(Cluster(LoadPixelSum(28), nodes.address), tmp_path / "r", told, [seen])
    assert bytes_of(run.path) == bytes_of(calm / "certify")
    assert verify(run).problems == ()
    assert sum(told) >= 30 * 620  # more where a slow start made an idle worker do a block again
    assert sorted(seen.indices) == list(range(30))
    assert seen.summary.evaluations == 30 * 620


@pytest.mark.parametrize("method", [Irs(100), Reuse("budget:0.2")], ids=["irs", "reuse"])
def test_recertifying(method, nodes, calm, tmp_path):
    base = Run.open(calm / "certify")
    run = on(Cluster(LoadPixelSum(29), nodes.address), tmp_path / "r", method=method, base=base)
    name = "irs" if isinstance(method, Irs) else "reuse"
    assert bytes_of(run.path) == bytes_of(calm / name)


def test_an_actor_that_dies_is_replaced(nodes, calm, tmp_path):
    load = LoadPixelSum(28, fault="dies", once=tmp_path / "once")
    run = on(Cluster(load, nodes.address, workers=2), tmp_path / "r")
    assert (tmp_path / "once").exists()
    assert bytes_of(run.path) == bytes_of(calm / "certify")


def test_what_a_worker_raises_is_raised_here(nodes, tmp_path):
    with pytest.raises(ModelError, match="the model says no"):
        on(Cluster(LoadPixelSum(28, fault="refuses"), nodes.address, workers=2), tmp_path / "r")


def test_what_cannot_be_opened(nodes, calm, tmp_path):
    base = Run.open(calm / "certify")
    with pytest.raises(Mismatch, match="30 of 30 inputs have different content"):
        on(
            Cluster(LoadPixelSum(28, value=9), nodes.address),
            tmp_path / "r",
            method=Irs(9),
            base=base,
        )
    assert not (tmp_path / "r").exists()


def test_a_model_file_is_sent_along_once(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    file = tmp_path / "weights.bin"
    file.write_bytes(b"some weights")
    seen = []

    def load(copy: Path):
        seen.append(copy)
        return lambda worker: (copy.read_bytes(), worker)

    shipped = BroadcastFile.of(load, file, nodes.address)
    file.unlink()
    assert [shipped(1), shipped(2)] == [(b"some weights", 1), (b"some weights", 2)]
    assert seen[0] == seen[1]
    assert seen[0].is_relative_to(tmp_path / "node")
    assert seen[0].parent.stat().st_mode & 0o777 == 0o700


def test_actors_start_where_there_is_more_room(nodes, calm, tmp_path, monkeypatch):
    out, stored = tmp_path / "r", []

    def blocks():
        return len(list(out.glob("certificates/*.parquet")))

    class Counted(cluster._Actor):
        def __init__(self, *facts):
            stored.append(blocks())
            super().__init__(*facts)

    monkeypatch.setattr(cluster, "_SCALE_INTERVAL", 0.1)
    monkeypatch.setattr(cluster, "_Actor", Counted)
    monkeypatch.setattr(Cluster, "_capacity", lambda self, ray: 3 if blocks() else 1)
    run = on(Cluster(LoadPixelSum(28, fault="slow"), nodes.address), out)
    assert bytes_of(run.path) == bytes_of(calm / "certify")
    assert stored[0] == 0
    assert len(stored) >= 3  # more where a slow start made an idle worker do a block again
    assert min(stored[1:]) >= 1


def test_more_than_there_is_room_for(nodes, tmp_path):
    with pytest.raises(InvalidInput, match="has 4 CPUs and 0 GPUs, and a worker needs 1 and 1"):
        on(Cluster(LoadPixelSum(28), nodes.address, gpus=1), tmp_path / "r")


def test_a_removed_node_and_a_killed_actor(nodes, calm, tmp_path):
    """The last test, since a node is gone after it."""
    load = LoadPixelSum(28, fault="slow")
    out = tmp_path / "r"

    def disturb():
        while len(list(out.glob("certificates/*.parquet"))) < 2:
            time.sleep(0.05)
        nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
        while len(list(out.glob("certificates/*.parquet"))) < 5:
            time.sleep(0.05)
        mine = psutil.Process().children(recursive=True)  # other tests may have a cluster too
        next(p for p in mine if "ray::_Worker" in " ".join(p.cmdline())).kill()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    run = on(Cluster(load, nodes.address), out)
    disturber.join()
    assert bytes_of(run.path) == bytes_of(calm / "certify")
    assert verify(run).problems == ()
    deadline = time.monotonic() + 60  # the cluster itself may notice later
    while sum(node["Alive"] for node in ray.nodes()) != 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sum(node["Alive"] for node in ray.nodes()) == 2


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'smoothcert\[cluster\]'"):
        Cluster(LoadPixelSum(28)).open(RunRequest(open_storage("r"), SETTINGS, options=SMALL))
