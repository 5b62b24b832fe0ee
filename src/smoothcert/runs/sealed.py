"""A checksum inside every file of a run: over all its bytes, its name and the run it belongs to.

A file to be sealed contains `BLANK` once, after anything else that looks like it. The zeros are
replaced by SHA-256 over the file's name in the run, a line feed, and the file with the zeros. So a
changed bit, a truncated end, another file under this name and a file of another run are all
detected, while a Parquet or JSON file stays valid. docs/store-format.md, section 2.
"""

from hashlib import sha256

from smoothcert.errors import Damaged
from smoothcert.storage.base import MOST_BYTES, Storage

_MARK = b"smoothcert-sha256:"
_DIGITS = 64
BLANK = _MARK.decode() + "0" * _DIGITS
"""What a file holds where its seal will be."""


def seal(data: bytes, name: str) -> bytes:
    """Fill in the seal of a file that holds `BLANK`."""
    start, digits = _digits(data, name)
    return data[:start] + digits + data[start + _DIGITS :]


def is_sealed(data: bytes, name: str) -> bool:
    """Whether the data is, to the last bit, what was sealed under this name."""
    return _MARK in data and len(digest(data)) == _DIGITS and seal(data, name) == data


def why_not(data: bytes, name: str) -> str:
    """What was done to data that differs from what was sealed, as far as can be seen."""
    bare = data.removeprefix(b"\xef\xbb\xbf")
    lines = bare.replace(b"\r\n", b"\n")
    for before in (lines, lines + b"\n", lines.removesuffix(b"\n")):
        if _MARK in before and is_sealed(before, name):
            return (
                "its line ends were changed, or a byte order mark was added, as git, an editor or "
                "an archiver does to text; everything else is as written. Copy runs as binary "
                "files (git: a line `runs/** -text` in .gitattributes, or core.autocrlf false, and "
                "check out again)"
            )
    return (
        "its checksum does not match, so it was changed, truncated, renamed or taken from another "
        "run"
    )


def digest(data: bytes) -> str:
    """The 64 hexadecimal digits of a sealed file."""
    start = data.rindex(_MARK) + len(_MARK)
    return data[start : start + _DIGITS].decode("ascii", "replace")


def _digits(data: bytes, name: str) -> tuple[int, bytes]:
    start = data.rindex(_MARK) + len(_MARK)
    hashed = sha256(name.encode() + b"\n")
    hashed.update(data[:start] + b"0" * _DIGITS + data[start + _DIGITS :])
    return start, hashed.hexdigest().encode()


def read_sealed(place: Storage, name: str, run: str, advice: str) -> bytes:
    """Read a file and check its seal.

    Args:
        place: where it is.
        name: name of the file.
        run: the hash of the run that it was sealed for.
        advice: what to do if it is damaged, for the message.

    Raises:
        Damaged: missing, or changed since it was written.
        StoreError: it cannot be read, which says nothing about its content.
    """
    try:
        data = place.read(name, MOST_BYTES)
    except FileNotFoundError:
        raise Damaged(
            f"{place.uri_of(name)} is missing; the run directory is incomplete. {advice}"
        ) from None
    if not is_sealed(data, f"{run}/{name}"):
        why = why_not(data, f"{run}/{name}")
        raise Damaged(f"{place.uri_of(name)} is damaged: {why}. {advice}")
    return data
