"""The run directory: evidence and certificates on disk, block by block."""
