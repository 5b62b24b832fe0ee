"""Run docs/tutorial.ipynb again and keep what its cells give; a test does the same and compares."""

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "tutorial.ipynb"


def executed(folder: str | Path) -> nbformat.NotebookNode:
    """The notebook after running all its cells in a folder, in a kernel of this Python.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=120, resources=where, record_timing=False)
    return client.execute()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(folder), NOTEBOOK)
