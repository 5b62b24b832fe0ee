"""Base classifiers for smoothing. Separate from the zoo, as it needs torch and data."""
