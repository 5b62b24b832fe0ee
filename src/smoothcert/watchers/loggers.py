"""Watchers that log to the usual tools, one file each; see `watchers.base.Watcher`."""

from smoothcert.errors import InvalidInput
from smoothcert.watchers.base import Watcher
from smoothcert.watchers.mlflow import Mlflow
from smoothcert.watchers.tensorboard import TensorBoard
from smoothcert.watchers.wandb import Wandb

__all__ = ["FORMS", "Mlflow", "TensorBoard", "Wandb", "logger"]

FORMS = "wandb[:PROJECT], mlflow[:TRACKING_URI] or tensorboard:FOLDER"


def logger(text: str) -> Watcher:
    """The logger that a text names.

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
