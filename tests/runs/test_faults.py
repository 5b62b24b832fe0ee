"""What can happen to a run besides a kill: afterwards the same bytes, or a clear refusal."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import ModelError, StoreError
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.files import write_whole
from smoothcert.methods import Irs
from smoothcert.runs import ledger
from smoothcert.runs.store import Run
from smoothcert.runs.verify import verify
from support.killable_process import OPERATIONS, TESTS, KillableProcesses, undisturbed
from support.known_truth import PixelSum
from support.run_files import bytes_of

SETTINGS = Settings(0.25, 16, n0=20, n=60)
SMALL = RunOptions(batch_size=64, block_inputs=2)
RESUME = replace(SMALL, resume=True)
NOBODY = 65534  # the user without any rights
DATA = Inputs.from_arrays(np.full((5, 1, 2, 2), 0.5), grid=1 / 16)


def certify(out, how=SMALL, model=None):
    return run_certify(out, model or PixelSum(28), DATA, SETTINGS, how)


@pytest.fixture
def calm(tmp_path):
    return bytes_of(certify(tmp_path / "calm").path)


# Disks


@pytest.mark.slow
def test_every_file_operation_can_fail(tmp_path, calm, monkeypatch):
    """As on a disk that is full from some moment on, at each such moment."""
    real = {name: getattr(os, name) for name in OPERATIONS if name not in ("unlink", "rmdir")}

    def fails(name, made, at):
        def operation(*arguments, **options):
            made.append(1)
            if len(made) >= at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real[name](*arguments, **options)

        return operation

    for at in range(1, 1000):
        made, out = [], tmp_path / f"r{at}"
        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(os, name, fails(name, made, at))
            try:
                certify(out)
                break
            except StoreError as error:
                assert "the disk is full" in str(error)
        assert not list(tmp_path.rglob(".*")), "something was left behind"
        certify(out, RESUME)
        assert bytes_of(out) == calm
    assert at > 40


@pytest.mark.slow
def test_a_limit_on_file_size_set_by_the_kernel(tmp_path):
    """Certificates are larger than 4 KiB, and votes are not: the first block is cut in two."""
    out = tmp_path / "r"
    with KillableProcesses() as children:
        assert children.run(tmp_path / "calm") == 0
        assert children.run(out, file_limit=4096) == 2
        message = (tmp_path / "r.err").read_text()
        assert "00000.parquet: File too large. Free some space or fix the permissions" in message
        assert (out / "votes" / "00000.parquet").exists()
        assert not list(out.rglob("*.tmp"))
        assert children.run(out) == 0
    assert bytes_of(out) == bytes_of(tmp_path / "calm")


# The rest of the disk tests is in a mount namespace of its own, where a small disk can be mounted.
SMALL_DISK = """
import subprocess, sys, warnings
from pathlib import Path
sys.path[:0] = [{tests!r}, {runs!r}]
from test_faults import *

out, disk = Path("disk/r"), ["tmpfs", "disk"]
calm = certify(Path("calm"))
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", *disk], check=True)
try:
    certify(out)
    sys.exit("the disk was never full")
except StoreError as error:
    assert "the disk is full" in str(error), error
kept = len(Run.open(out).finished)
assert 0 < kept < 3, kept
assert verify(Run.open(out)).problems == (f"{{3 - kept}} of 3 blocks are missing",)
try:
    certify(out, RESUME)
    sys.exit("the disk was no longer full")
except StoreError as error:
    assert "the disk is full" in str(error), error
assert len(Run.open(out).finished) == kept

subprocess.run(["mount", "-o", "remount,size=10m,ro", *disk], check=True)
try:
    certify(out, RESUME)
    sys.exit("the disk could be written to")
except StoreError as error:
    assert "Read-only file system. Free some space or fix the permissions" in str(error), error
try:
    certify(Path("disk/other"))
    sys.exit("the disk could be written to")
except StoreError as error:
    assert "Cannot create disk/other: Read-only file system" in str(error), error

subprocess.run(["mount", "-o", "remount,size=10m,rw", *disk], check=True)
certify(out, RESUME)
assert bytes_of(out) == bytes_of(calm.path)
subprocess.run(["mount", "-o", "remount,ro", *disk], check=True)
certify(out, RESUME)
base = Run.open(out)
assert verify(base).problems == ()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    new = run_recertify(Path("new"), base, PixelSum(29), DATA, Irs(30), SMALL)
assert [w.category for w in said] == [ledger.NotEntered]
assert verify(new, base).problems == ()
assert ledger.entries(base) == ()
print("all of it ran")
"""


@pytest.mark.slow
def test_a_small_and_a_read_only_disk(tmp_path):
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("needs user and mount namespaces (unshare) to mount a small disk")
    (tmp_path / "disk").mkdir()
    code = SMALL_DISK.format(tests=str(TESTS), runs=str(TESTS / "runs"))
    done = subprocess.run(
        [*alone, sys.executable, "-c", code],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout) == (0, "all of it ran\n"), done.stderr


@contextmanager
def somebodys_folder():
    """A folder of this user's; of root's, who may write anywhere, a user's without any rights."""
    before = os.geteuid()
    with TemporaryDirectory() as folder:
        os.chown(folder, before or NOBODY, -1)
        os.seteuid(before or NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(before)


def test_a_folder_without_permission(calm):
    """After a first run, as such a user may not read root's modules."""
    with somebodys_folder() as folder:
        assert bytes_of(certify(folder / "r").path) == calm
        for path in (folder / "r").rglob("*.parquet"):
            path.unlink() if path.parent.name == "certificates" else None
        (folder / "r" / "votes").chmod(0o555)
        with pytest.raises(StoreError, match="Permission denied. Free some space or fix the perm"):
            certify(folder / "r", RESUME)
        (folder / "r" / "votes").chmod(0o755)


# Several processes, and copies


@pytest.mark.slow
def test_two_processes_on_one_directory(tmp_path):
    """At once, on a new run and on an unfinished one: both end well, with the same bytes."""
    long = {"model": "slow", "inputs": 20, "n": 300}
    with KillableProcesses() as children:
        calm = undisturbed(children, tmp_path, **long)
        for attempt in range(6):
            out = tmp_path / f"r{attempt}"
            both = [children.start(out, **long) for _ in range(2)]
            assert [children.wait(pid) for pid in both] == [0, 0], Path(f"{out}.err").read_text()
            assert bytes_of(out) == calm
            assert verify(Run.open(out)).problems == ()
            assert not [*out.rglob("*.tmp"), *tmp_path.glob(f".{out.name}.*")]


@pytest.mark.slow
def test_the_second_process_is_refused_without_resume(tmp_path):
    with KillableProcesses() as children:
        assert children.run(tmp_path / "calm") == 0
        stopped = 5  # in the middle of making the folder
        first = children.start(tmp_path / "r", resume=False, at=stopped, send=signal.SIGSTOP)
        assert children.wait(first) == -signal.SIGSTOP
        assert children.run(tmp_path / "r", resume=False) == 0
        os.kill(first, signal.SIGCONT)
        assert children.wait(first) == 2
    assert "already exists and is not empty. Pass --resume" in (tmp_path / "r.err").read_text()
    assert bytes_of(tmp_path / "r") == bytes_of(tmp_path / "calm")


def test_a_worker_killed_while_writing_the_same_file(tmp_path, monkeypatch):
    """One is about to rename its file; another starts on the same one and dies half-way."""
    path, real, handles = tmp_path / "f", os.fsync, []

    def fsync(handle):
        handles.append(handle)
        if len(handles) == 2:
            raise SystemExit
        if len(handles) == 1:
            with pytest.raises(SystemExit):
                write_whole(path, b"ha")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, b"whole")
    assert path.read_bytes() == b"whole"


def test_blocks_that_another_worker_finished_are_not_done_again(tmp_path, calm):
    out, done = tmp_path / "r", []

    def one_elsewhere(work, stop):
        for block in work.blocks:
            if block == 1:
                certify(out, RESUME)
            work.local.compute(block)

    certify(out, replace(SMALL, executor=one_elsewhere, progress=done.append))
    assert sum(done) == 2 * 80
    assert bytes_of(out) == calm


@pytest.mark.slow
def test_a_directory_copied_half_way(tmp_path, calm):
    """Any files missing and any cut: resuming gives the same bytes, or says what is damaged."""
    whole = tmp_path / "calm"
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    rng, ends = random.Random(0), []
    for attempt in range(40):
        out = tmp_path / f"r{attempt}"
        for file in files:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            data = (whole / file).read_bytes()
            fate = rng.choices(("copied", "cut", "missing"), (8, 1, 1))[0]
            if fate == "cut":
                data = data[: rng.randrange(len(data))]
            if fate != "missing":
                (out / file).write_bytes(data)
        for folder in [path for path in out.iterdir() if path.is_dir()]:
            if not any(folder.iterdir()) or rng.random() < 0.1:
                shutil.rmtree(folder)
        try:
            certify(out, RESUME)
            assert bytes_of(out) == calm
            assert verify(Run.open(out)).problems == ()
            ends.append("same")
        except StoreError as error:
            assert any(name in str(error) for name in ("run.json", "inputs.parquet"))
            assert any(words in str(error) for words in ("is damaged", "is missing", "has no"))
            ends.append("refused")
    assert min(ends.count("same"), ends.count("refused")) >= 5


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_block(tmp_path, calm, number, capfd):
    done = []

    def progress(count):
        done.append(count)
        if sum(done) > 160 and len(done) < 100:  # in the second block
            done.extend([0] * 100)
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as stop:
        certify(tmp_path / "r", replace(SMALL, batch_size=8, progress=progress))
    assert stop.value.args == (number,)
    assert Run.open(tmp_path / "r").missing == (2,)
    assert sum(done) == 2 * 160
    assert "Stopping after the current block" in capfd.readouterr().err
    assert signal.getsignal(number) is before
    certify(tmp_path / "r", replace(RESUME, batch_size=8))
    assert verify(Run.open(tmp_path / "r")).problems == ()


def test_a_second_signal_stops_at_once(tmp_path):
    done = []

    def progress(count):
        done.append(count)
        if sum(done) > 160:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        certify(tmp_path / "r", replace(SMALL, batch_size=8, progress=progress))
    assert Run.open(tmp_path / "r").missing == (1, 2)
    assert sum(done) < 2 * 160


def test_a_signal_in_the_last_block_lets_the_run_end(tmp_path, calm):
    def at_the_end(count):
        if len(Run.open(tmp_path / "r").missing) == 1 and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    sent = []
    certify(tmp_path / "r", replace(SMALL, progress=at_the_end))
    assert sent
    assert bytes_of(tmp_path / "r") == calm


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone(tmp_path, calm):
    thread = threading.Thread(target=certify, args=(tmp_path / "r",))
    thread.start()
    thread.join()
    assert bytes_of(tmp_path / "r") == calm


# Clocks


def test_a_clock_that_jumps(tmp_path, calm, monkeypatch):
    """Back a day at every look, and files from 1970 and 2100."""
    looks = []

    def backwards():
        looks.append(1)
        return 1e9 - 86400 * len(looks)

    class Backwards(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2030, 1, 1, tzinfo=UTC) - timedelta(days=len(ledger.entries(base)))

    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr(time, "time_ns", lambda: int(backwards() * 1e9))
    monkeypatch.setattr(ledger, "datetime", Backwards)
    out = tmp_path / "r"
    begun = time.monotonic()
    certify(out)
    (out / "certificates" / "00001.parquet").unlink()
    rng = random.Random(0)
    for path in out.rglob("*"):
        os.utime(path, (when := rng.choice([0, 4102444800]), when))
    base = certify(out, RESUME)
    assert bytes_of(out) == calm
    seconds = base.block_seconds.values()
    assert len(seconds) == 3
    assert all(0 <= s <= time.monotonic() - begun for s in seconds)
    for threshold in (29, 30):
        run_recertify(tmp_path / f"{threshold}", base, PixelSum(threshold), DATA, Irs(30), SMALL)
    assert ledger.tries(base).models == 2
    assert verify(base).problems == ()


# Memory


class Fitting(PixelSum):
    """Batches of more than 32 rows do not fit, or none once `full` is set."""

    def logits(self, images):
        if len(images) > 32 or full:
            np.empty(1 << 60, dtype=np.uint8)  # numpy's own MemoryError
        return super().logits(images)


full: list[int] = []


def test_a_batch_that_does_not_fit_is_halved_and_recorded(tmp_path):
    run = run_certify(tmp_path / "r", Fitting(28), DATA, SETTINGS, RunOptions())
    assert run.identity.batch_size == 32
    assert run.manifest.origin["batches_too_large"] == [256, 128, 64]
    chosen = run_certify(tmp_path / "c", Fitting(28), DATA, SETTINGS, RunOptions(batch_size=32))
    assert bytes_of(tmp_path / "r" / "votes").keys() == bytes_of(tmp_path / "c" / "votes").keys()
    assert list(run.records(range(5))) == list(chosen.records(range(5)))
    assert chosen.identity.hash == run.identity.hash
    assert "batches_too_large" not in chosen.manifest.origin


def test_values_halve_a_batch_as_runs_do():
    base = smoothcert.certify(Fitting(28), DATA, SETTINGS.sigma, n0=10, n=100)
    assert (
        base.records == smoothcert.certify(PixelSum(28), DATA, SETTINGS.sigma, n0=10, n=100).records
    )
    smoothcert.decide(Fitting(28), DATA, SETTINGS.sigma, 0.05, n=200)
    smoothcert.recertify(base, Fitting(29), DATA, per_input=20)
    smoothcert.predict(Fitting(28), DATA.item(0), SETTINGS.noise, n=100)
    labelled = replace(DATA, labels=(1,) * len(DATA))
    smoothcert.screen(base, [Fitting(29)], labelled, per_input=10)


def test_values_say_what_to_do_where_memory_runs_out_later():
    def fill(count):
        full.append(1)

    with pytest.raises(ModelError, match="A batch of 20 .* --batch-size 10 or less"):
        smoothcert.certify(Fitting(28), DATA, SETTINGS.sigma, n=100, batch_size=20, progress=fill)
    full.clear()


def test_resuming_keeps_the_batch_size_that_fitted(tmp_path):
    run = run_certify(tmp_path / "r", Fitting(28), DATA, SETTINGS, RunOptions())
    before = bytes_of(run.path)
    (run.path / "certificates" / "00000.parquet").unlink()
    again = run_certify(tmp_path / "r", PixelSum(28), DATA, SETTINGS, RunOptions(resume=True))
    assert again.identity.batch_size == 32
    assert bytes_of(run.path) == before


def test_a_batch_size_that_was_asked_for_is_not_changed(tmp_path):
    with pytest.raises(ModelError, match="A batch of 64 ran out .* --batch-size 32 or less"):
        certify(tmp_path / "r", model=Fitting(28))
    assert not (tmp_path / "r").exists()


def test_a_single_row_that_does_not_fit(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "full", [1])
    with pytest.raises(ModelError, match="A batch of 1 ran out of memory .* One row is too much"):
        certify(tmp_path / "r", RunOptions(), Fitting(28))


def test_memory_that_runs_out_later_keeps_finished_blocks(tmp_path, monkeypatch):
    def fill(count):
        done.append(count)
        if sum(done) == 160:
            full.append(1)

    done = []
    how = replace(SMALL, batch_size=20, progress=fill)
    with pytest.raises(ModelError, match="A batch of 20 .* --batch-size 10 or less, with a new"):
        certify(tmp_path / "r", how, Fitting(28))
    full.clear()
    assert 0 in Run.open(tmp_path / "r").finished
    assert Run.open(tmp_path / "r").missing
    certify(tmp_path / "r", replace(RESUME, batch_size=20), Fitting(28))
    assert verify(Run.open(tmp_path / "r")).problems == ()


def test_the_ways_in_which_torch_says_it(tmp_path):
    torch = pytest.importorskip("torch")
    from smoothcert.classifiers.pytorch import TorchClassifier

    class Net(torch.nn.Module):
        def __init__(self, how):
            super().__init__()
            self.how = how

        def forward(self, x):
            if len(x) > 16 and self.how == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            if len(x) > 16:
                torch.empty(1 << 60, dtype=torch.uint8)  # the CPU allocator's own words
            total = x.sum(dim=(1, 2, 3))
            return torch.stack([-total, total], dim=1)

    for how in ("cuda", "cpu"):
        classifier = TorchClassifier.of(Net(how), "net")
        run = run_certify(tmp_path / how, classifier, DATA, SETTINGS, RunOptions())
        assert run.identity.batch_size == 16
        with pytest.raises(ModelError, match="A batch of 64 ran out of memory .*--batch-size 32"):
            certify(tmp_path / "asked", model=classifier)


def test_an_error_that_is_not_about_memory_is_not_tried_again(tmp_path):
    calls = []

    class Broken(PixelSum):
        def logits(self, images):
            calls.append(len(images))
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(ModelError, match="mat1"):
        certify(tmp_path / "r", RunOptions(), Broken(28))
    assert calls == [256]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_a_limit_on_memory_set_by_the_kernel(tmp_path):
    """256 MiB a row and 3 GiB to be had: batches of 8 fit, with the probe's two at a time."""
    out = tmp_path / "r"
    with KillableProcesses() as children:
        code = children.run(out, model="hungry", batch=None, memory_limit=3 << 30)
        assert code == 0, (tmp_path / "r.err").read_text()
        about = json.loads((out / "run.json").read_text())
        assert about["identity"]["batch_size"] == 8
        assert about["origin"]["batches_too_large"] == [256, 128, 64, 32, 16]
        assert children.run(tmp_path / "s", model="hungry", batch=64, memory_limit=3 << 30) == 2
    assert "--batch-size 32 or less" in (tmp_path / "s.err").read_text()
