"""Base classifiers for smoothing. A folder of its own because it needs torch and data."""
