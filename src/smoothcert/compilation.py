"""Functions compiled by numba, and where the machine code is kept for later processes."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from numba import config, njit

_CONFIG: Any = config  # whose names are made as it is read


def compiled(function: Callable[..., None]) -> Any:
    """Compile a function that releases Python's lock, and keep the code for later processes.

    It is kept beside the function's file, else in the home folder, else, as in a container that
    has neither, in a temporary one.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder can be written
        before = _CONFIG.CACHE_DIR
    try:
        _CONFIG.CACHE_DIR = _temporary_folder()
        return njit(nogil=True, cache=True)(function)
    except (RuntimeError, OSError):
        return njit(nogil=True)(function)
    finally:
        _CONFIG.CACHE_DIR = before


def _temporary_folder() -> str:
    """A folder that nobody else can write to, as its files are executed."""
    if not hasattr(os, "getuid"):
        return tempfile.mkdtemp(prefix="smoothcert-")
    folder = Path(tempfile.gettempdir()) / f"smoothcert-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    mine = S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
    return str(folder) if mine else tempfile.mkdtemp(prefix="smoothcert-")
