"""Counts in, limits out, rounded to the safe side. NumPy and SciPy only."""

from smoothcert.bounds import binomial as binomial
from smoothcert.bounds import normal as normal
