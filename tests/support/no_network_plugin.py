"""The whole session without a network: an attempt fails the test that makes it.

A pytest plugin, which `conftest.py` imports.
"""

import os
import tempfile
from pathlib import Path

import pytest

from support.no_network import NOTES, refuse


def begin() -> None:
    """Refuse the network here, and in every Python that is started from here."""
    handle, os.environ[NOTES] = tempfile.mkstemp(prefix="attempts-")
    os.close(handle)
    before = [p for p in [os.environ.get("PYTHONPATH")] if p]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *before])
    refuse()


def attempts() -> str:
    """What was attempted since this was last asked, here and in processes started from here."""
    notes = Path(os.environ[NOTES])
    found = notes.read_text()
    if found:
        notes.write_text("")
    return found


@pytest.fixture(autouse=True)
def no_network(request):
    """Fails too where the refusal was swallowed, as by libraries that can do without.

    `@pytest.mark.refused(HOST, ...)` lets a test's libraries try these, in vain.
    """
    yield
    mark = request.node.get_closest_marker("refused")
    allowed = [repr(host) for host in mark.args] if mark else []
    found = [line for line in attempts().splitlines() if not line.endswith(tuple(allowed))]
    if found:
        pytest.fail("\n".join(found))


begin()
