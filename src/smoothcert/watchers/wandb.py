"""Weights & Biases: a run for each certification, with its settings as its config."""

from smoothcert.errors import MissingExtra
from smoothcert.summary import Summary
from smoothcert.watchers.base import SoFar, Start
from smoothcert.watchers.final import final


class Wandb:
    """Logs metrics over the number of inputs; WANDB_MODE=offline keeps them on this machine.

    Args:
        project: the W&B project.

    Raises:
        MissingExtra: wandb is not installed.
    """

    def __init__(self, project: str = "smoothcert") -> None:
        """See the class."""
        try:
            import wandb
        except ImportError as error:
            raise MissingExtra(error.name or "wandb", "wandb") from error
        self._wandb, self._project = wandb, project

    def started(self, start: Start) -> None:
        """See `Watcher`."""
        # The caller's active run stays active.
        self._run = self._wandb.init(
            project=self._project, name=start.name, config=start.facts, reinit="create_new"
        )

    def certified(self, so_far: SoFar) -> None:
        """See `Watcher`."""
        self._run.log(so_far.metrics, step=so_far.inputs)

    def finished(self, summary: Summary | None) -> None:
        """See `Watcher`."""
        if summary is not None:
            self._run.summary.update(final(summary))
        self._run.finish(exit_code=int(summary is None))
