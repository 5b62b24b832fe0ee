"""`smoothcert.watchers.loggers` by its earlier name."""

from smoothcert.watchers.loggers import FORMS, Mlflow, TensorBoard, Wandb, logger

__all__ = ["FORMS", "Mlflow", "TensorBoard", "Wandb", "logger"]
