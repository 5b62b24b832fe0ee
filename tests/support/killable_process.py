"""Real processes that certify into a directory, started in milliseconds, to be killed and stopped.

As a script: imports once, then forks a child per order, which is a line of JSON on standard input.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import SmoothcertError
from smoothcert.execution.runner import RunOptions, run_certify
from support.known_truth import PixelSum
from support.run_files import bytes_of

TESTS = Path(__file__).parents[1]
OPERATIONS = ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir")


class KillableProcesses:
    """The side of the test."""

    def __enter__(self):
        path = os.pathsep.join([str(TESTS), *sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.killable_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        return self

    def __exit__(self, *_):
        self._process.communicate()

    def start(self, out, **options) -> int:
        """Start a run; see `_child` for the options."""
        return self._ask({"out": str(out), **options})

    def wait(self, pid: int) -> int:
        """Its exit code; minus the signal's number if one killed or stopped it."""
        return self._ask({"wait": pid})

    def run(self, out, **options) -> int:
        return self.wait(self.start(out, **options))

    def _ask(self, order) -> int:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def undisturbed(children, tmp_path, **how):
    """What the run leaves when nothing happens to it."""
    assert children.run(tmp_path / "calm", **how) == 0
    return bytes_of(tmp_path / "calm")


class Slow(PixelSum):
    def logits(self, images):
        time.sleep(0.001)
        return super().logits(images)


class Hungry(PixelSum):
    """Needs a quarter of a gigabyte of address space for every row."""

    def logits(self, images):
        np.empty(len(images) << 28, dtype=np.uint8)
        return super().logits(images)


MODELS = {"quick": PixelSum(28), "slow": Slow(28), "hungry": Hungry(28)}


def _child(
    out: str,
    resume: bool = True,
    model: str = "quick",
    inputs: int = 3,
    n: int = 60,
    batch: int | None = 64,
    at: int = 0,
    send: int = 0,
    file_limit: int = 0,
    memory_limit: int = 0,
    err: str | None = None,
) -> None:
    """Certify; before file operation number `at`, `send` a signal to oneself."""
    os.dup2(os.open(err or f"{out}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    if memory_limit:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory_limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if at:
        _count_operations(at, send)
    data = Inputs.from_arrays(np.full((inputs, 1, 2, 2), 0.5), grid=1 / 16)
    how = RunOptions(batch, 2, resume)
    run_certify(out, MODELS[model], data, Settings(0.25, 16, n0=20, n=n), how)


def _count_operations(at: int, send: int) -> None:
    made = []

    def counted(real):
        def operation(*arguments, **options):
            made.append(1)
            if len(made) == at:
                os.kill(os.getpid(), send)
            return real(*arguments, **options)

        return operation

    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))


def _serve() -> None:
    with tempfile.TemporaryDirectory() as folder:  # compiled code is then there for all
        data = Inputs.from_arrays(np.full((1, 1, 2, 2), 0.5), grid=1 / 16)
        run_certify(
            Path(folder) / "r", PixelSum(28), data, Settings(0.25, 16, 20, 60), RunOptions(64)
        )
    assert threading.active_count() == 1, "threads do not survive a fork"
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], os.WUNTRACED)
            stopped = os.WIFSTOPPED(status)
            code = -os.WSTOPSIG(status) if stopped else os.waitstatus_to_exitcode(status)
            print(code, flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            sys.stdin.close()
            code = 0
            try:
                _child(**order)
            except SmoothcertError as error:
                print(f"Error: {error}", file=sys.stderr, flush=True)
                code = 2
            except KeyboardInterrupt as stop:
                code = 128 + (stop.args[0] if stop.args else signal.SIGINT)
            except BaseException as error:  # noqa: BLE001 - never back into the loop
                print(repr(error), file=sys.stderr, flush=True)
                code = 99
            finally:
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    _serve()
