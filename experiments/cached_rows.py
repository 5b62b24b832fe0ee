"""Slow figures, cached in a file until what they depend on changes."""

import json
import time
from collections.abc import Callable
from pathlib import Path


def cached(file: Path, sizes: dict, title: str, make: Callable[[], dict]) -> dict:
    """What `make` returned, read back if it was made with these sizes."""
    found = json.loads(file.read_text()) if file.exists() else {}
    if found.get("sizes") != sizes:
        start = time.perf_counter()
        found = {"sizes": sizes, "row": make()}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
        print(f"{title}: {time.perf_counter() - start:.0f} s", flush=True)
    return found["row"]
