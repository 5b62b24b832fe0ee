"""Watchers that log a certification to a tracking tool, one file each; see `watching.Watcher`."""

from smoothcert.errors import InvalidInput
from smoothcert.loggers.mlflow import Mlflow as Mlflow
from smoothcert.loggers.tensorboard import TensorBoard as TensorBoard
from smoothcert.loggers.wandb import Wandb as Wandb
from smoothcert.watching import Watcher

FORMS = "wandb[:PROJECT], mlflow[:TRACKING_URI] or tensorboard:FOLDER"


def logger(text: str) -> Watcher:
    """The logger that a text names.

    Args:
        text: one of `FORMS`.

    Raises:
        InvalidInput: it does not name a logger.
        MissingExtra: its package is not installed.
    """
    kind, colon, rest = text.partition(":")
    if kind == "wandb" and bool(colon) == bool(rest):
        return Wandb(rest or "smoothcert")
    if kind == "mlflow" and bool(colon) == bool(rest):
        return Mlflow(rest or None)
    if kind == "tensorboard" and rest:
        return TensorBoard(rest)
    raise InvalidInput(f"A logger must be {FORMS}; got {text!r}")
