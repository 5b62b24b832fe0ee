"""The noise law, under the name that scripts for earlier versions import."""

from smoothcert.noise.law import (
    LAW,
    Addresses,
    RoundedGaussian,
    Stream,
    grid_levels,
    words,
)

__all__ = ["LAW", "Addresses", "RoundedGaussian", "Stream", "grid_levels", "words"]
