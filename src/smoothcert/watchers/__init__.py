"""Callbacks of a certification: what a watcher is, and loggers for W&B, MLflow and TensorBoard."""
