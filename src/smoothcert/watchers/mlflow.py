"""MLflow: a run for each certification, with its settings as parameters."""

import time

from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.summary import Summary
from smoothcert.watchers.base import SoFar, Start
from smoothcert.watchers.final import final


class Mlflow:
    """Logs metrics over the number of inputs.

    Args:
        tracking_uri: URI of the server or store; by default MLFLOW_TRACKING_URI.
        experiment: name of the experiment, created if it does not exist.

    Raises:
        MissingExtra: mlflow is not installed.
        InvalidInput: the installed mlflow cannot use that store.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str = "smoothcert") -> None:
        """See the class."""
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise MissingExtra(error.name or "mlflow", "mlflow") from error
        try:
            self._client = MlflowClient(tracking_uri)  # the caller's active run is left alone
        except MlflowException as error:
            raise InvalidInput(
                f"This mlflow cannot use its tracking store: {str(error).strip():.200} ... Give a "
                "server (mlflow:http://HOST:5000, or in MLFLOW_TRACKING_URI); or a folder "
                "(mlflow:file:///FOLDER), with MLFLOW_ALLOW_FILE_STORE=true; or install the full "
                "mlflow, for a database: pip install mlflow"
            ) from error
        self._metric, self._param = Metric, Param
        self._experiment, self._run, self._inputs = experiment, "", 0

    def started(self, start: Start) -> None:
        """See `Watcher`."""
        there = self._client.get_experiment_by_name(self._experiment)
        experiment = (
            there.experiment_id if there else self._client.create_experiment(self._experiment)
        )
        self._run = self._client.create_run(experiment, run_name=start.name).info.run_id
        params = [self._param(name, str(value)) for name, value in start.facts.items()]
        self._client.log_batch(self._run, params=params)
        self._inputs = 0

    def certified(self, so_far: SoFar) -> None:
        """See `Watcher`."""
        self._inputs = so_far.inputs
        self._log(so_far.metrics)

    def finished(self, summary: Summary | None) -> None:
        """See `Watcher`."""
        if summary is not None:
            self._log(final(summary))
        self._client.set_terminated(self._run, "FAILED" if summary is None else "FINISHED")

    def _log(self, figures: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(*figure, now, self._inputs) for figure in figures.items()]
        self._client.log_batch(self._run, metrics=metrics)
