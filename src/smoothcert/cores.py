"""How many cores are available."""

import os


def cores() -> int:
    """The cores that this process may use, if the system can tell; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
