"""The loggers with the real libraries, offline: what they write is read back."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import smoothcert
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.report.tables import summarize_run
from smoothcert.watchers import base, loggers
from smoothcert.watchers.base import RADII, WatcherFailed
from smoothcert.watchers.final import final
from smoothcert.watchers.tensorboard import _UPPER, single
from support.known_truth import PixelSum

LIVE = {"acr", "certified", "abstained", "evaluations", "evaluations_per_second"}


def inputs() -> Inputs:
    return Inputs.from_arrays(np.full((6, 1, 2, 2), 0.5), [1] * 5 + [0], 1 / 16)


@pytest.fixture
def certified(monkeypatch, tmp_path):
    """Certifies three blocks with a logger, which is called for each."""
    monkeypatch.setattr(base, "_MIN_INTERVAL", 0.0)

    def certify(logger):
        how = RunOptions(8, 2, watchers=[logger])
        return run_certify(
            tmp_path / "run", PixelSum(28), inputs(), Settings(0.25, 16, n0=5, n=40), how
        )

    return certify


def test_tensorboard(certified, tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    run = certified(loggers.TensorBoard(tmp_path / "logs"))
    events = EventAccumulator(str(tmp_path / "logs" / "run"))
    events.Reload()
    summary = summarize_run(run, RADII)
    figures = final(summary)
    assert set(events.Tags()["tensors"]) == LIVE | set(figures)
    for name, value in figures.items():
        (event,) = events.Tensors(name)
        written = float(make_ndarray(event.tensor_proto))
        assert written >= value if name in _UPPER else written <= value, name
        assert (written, event.step) == (pytest.approx(value, rel=1e-6), 6)
    steps = [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors("evaluations")]
    assert steps == [(2, 90.0), (4, 180.0), (6, 270.0)]


def test_tensorboard_needs_no_torch(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    import subprocess

    code = (
        "import sys; from smoothcert.watchers.loggers import TensorBoard; TensorBoard('x'); "
        "print([m for m in ('torch', 'tensorflow', 'mlflow', 'wandb') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.5, 16_777_217.0, 0.0])
def test_a_float32_is_on_the_safe_side(value):
    below, above = single(value, up=False), single(value, up=True)
    assert float(below) <= value <= float(above)
    assert above in (below, np.nextafter(below, np.float32(np.inf)))


@pytest.mark.filterwarnings("ignore::FutureWarning:mlflow.*", "ignore::DeprecationWarning:mlflow.*")
def test_mlflow(certified, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    for _ in range(2):  # the experiment is made once
        logger = loggers.Mlflow(uri)
        run = certified(logger)
        run.path.rename(tmp_path / f"moved{_}")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("smoothcert")
    first, second = client.search_runs([experiment.experiment_id])
    assert first.info.run_id != second.info.run_id
    assert (first.info.run_name, first.info.status) == ("run", "FINISHED")
    assert first.data.params["sigma"] == "0.25"
    assert first.data.params["fingerprint"] == run.identity.model
    history = client.get_metric_history(first.info.run_id, "evaluations")
    assert [(m.step, m.value) for m in history] == [(2, 90), (4, 180), (6, 270)]
    moved = summarize_run(smoothcert.Run.open(tmp_path / "moved1"), RADII)
    figures = final(moved)
    assert set(first.data.metrics) == LIVE | set(figures)
    for name in figures.keys() - {"final/seconds"}:
        assert first.data.metrics[name] == figures[name]


@pytest.mark.filterwarnings("ignore::FutureWarning:mlflow.*", "ignore::DeprecationWarning:mlflow.*")
def test_a_server_that_is_away_costs_a_warning(certified, monkeypatch):
    pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    import socket

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as bound:  # of this machine, and nobody listens
        bound.bind(("127.0.0.1", 0))
        logger = loggers.Mlflow(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.warns(WatcherFailed, match="Mlflow failed and is no longer called for run"):
            run = certified(logger)
    assert not run.missing


@pytest.mark.slow
def test_wandb_offline(certified, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs wandb")

    for name, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    logger = loggers.Wandb("mine")
    try:
        run = certified(logger)
    except WatcherFailed as failed:
        if "ervice" not in str(failed):
            raise
        pytest.skip(f"W&B's own service does not start here: {failed}")
    wandb.teardown()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    records = records_of(file.read_bytes())
    (config,) = (r.run for r in records if r.WhichOneof("record_type") == "run")
    assert (config.project, config.display_name) == ("mine", "run")
    history = [items(r.history.item) for r in records if r.HasField("history")]
    assert [row["evaluations"] for row in history] == ["90", "180", "270"]
    assert [row["_step"] for row in history] == ["2", "4", "6"]
    found = {}
    for record in records:
        if record.HasField("summary"):
            found |= items(record.summary.update)
    assert float(found["final/acr"]) == summarize_run(run, RADII).acr


def records_of(data: bytes) -> list:
    """The records of a .wandb file: seven bytes, then blocks of 32 KiB in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, part, found = 7, b"", []
    while at < len(data):
        if (left := 2**15 - at % 2**15) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part of one
            found.append(Record())
            found[-1].ParseFromString(part)
            part = b""
    return found


def items(rows) -> dict[str, str]:
    return {item.key or "/".join(item.nested_key): item.value_json for item in rows}


@pytest.mark.filterwarnings("ignore::FutureWarning:mlflow.*", "ignore::DeprecationWarning:mlflow.*")
def test_a_store_that_mlflow_cannot_use_is_refused_before_any_work(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="cannot use its tracking store: .* Give a server"):
        loggers.logger(f"mlflow:unheard-of://{tmp_path}")


def test_a_run_that_breaks_off_is_closed(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()

    class Broken(PixelSum):
        calls = 0

        def logits(self, images):
            self.calls += 1
            if self.calls > 5:
                raise KeyboardInterrupt
            return super().logits(images)

    with pytest.raises(KeyboardInterrupt):
        smoothcert.certify(
            Broken(28), inputs(), 0.25, n=40, batch_size=8, watchers=[loggers.Mlflow(uri)]
        )
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("smoothcert").experiment_id])
    assert run.info.status == "FAILED"


@pytest.mark.parametrize(
    "text", ["", "tensorboard", "tensorboard:", "wandb:", "mlflow:", "comet", "Wandb"]
)
def test_a_name_of_no_logger(text):
    forms = (
        r"A logger must be wandb\[:PROJECT\], mlflow\[:TRACKING_URI\] or tensorboard:FOLDER; got"
    )
    with pytest.raises(InvalidInput, match=forms):
        loggers.logger(text)


@pytest.mark.parametrize("text", ["wandb", "mlflow", "tensorboard:x"])
def test_a_missing_extra_names_the_line_that_installs_it(text, monkeypatch):
    package = text.partition(":")[0]
    for name in [package, *(m for m in sys.modules if m.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'smoothcert\[{package}\]'"):
        loggers.logger(text)


def test_names_of_loggers(monkeypatch):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    board = loggers.logger("tensorboard:C:/logs")
    assert isinstance(board, loggers.TensorBoard)
    assert board._folder == Path("C:/logs")


def test_the_earlier_import_path():
    from smoothcert import loggers as earlier

    for name in ("FORMS", "Mlflow", "TensorBoard", "Wandb", "logger"):
        assert getattr(earlier, name) is getattr(loggers, name)
