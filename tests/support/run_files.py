"""The files of a run directory: compared, and changed as a forger would."""

import json
from pathlib import Path

from smoothcert.runs.sealed import json_bytes, seal


def bytes_of(directory: Path) -> dict[str, bytes]:
    """Everything that must be equal between equal runs."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*.parquet"))
    }


def edit(directory, change):
    """Change run.json as another version or a careful forger would: sealed again."""
    body = json.loads((directory / "run.json").read_text())
    change(body)
    data = json_bytes({key: body[key] for key in body if key != "seal"})
    (directory / "run.json").write_bytes(seal(data, "run.json"))
