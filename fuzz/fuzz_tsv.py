"""The reader of published logs: InvalidInput, or a log whose numbers make sense."""

import numpy as np
from seeds import Choices, scratch

from smoothcert.errors import InvalidInput
from smoothcert.simulation import logs

_LOG = (
    b"idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
    b"0\t3\t3\t0.25\t1\t0:00:09.5\n20\t8\t-1\t0.0\t0\t0:00:09.5\n40\t8\t1\t1.75\t0\t\n"
)
_CELLS = (
    b"\t",
    b"\n",
    b"-1",
    b"0",
    b"1e308",
    b"-0.0",
    b"nan",
    b"inf",
    b"1_0",
    b"\xd9\xa3",
    b"",
    b"\x85",
)
_FILE = scratch() / "log_sigma_0.50.tsv"


def seeds() -> list[bytes]:
    """A log, one of another form, a header alone, nothing."""
    other = (
        b"\0\xef\xbb\xbfpred,label,certified_radius,correct,sigma\r\n1,1,.2,1,1\r\n2,1,.1,1,1\r\nx"
    )
    return [b"\0" + _LOG, other, b"\0" + _LOG.splitlines()[0], b"", b"\1\3\0\2\0"]


def target(data: bytes) -> None:
    """First byte: 0 the file as it is, else edits and exchanged cells of a good one."""
    text, choices = data[1:], Choices(data[1:])
    if data[:1] != b"\0":
        cells = _LOG.replace(b"\n", b"\t\n\t").split(b"\t")
        for _ in range(choices.below(8)):
            cells[choices.below(len(cells))] = _CELLS[choices.below(len(_CELLS))]
        text = b"\t".join(cells).replace(b"\t\n\t", b"\n")
        if data[:1] >= b"\2":
            text = choices.edited(text)
    _FILE.write_bytes(text)
    try:
        log = logs.read_log(_FILE)
    except InvalidInput:
        return
    assert log.images == len(log.correct) == len(log.abstained) > 0
    assert np.isfinite(log.p).all(), log.p
    assert ((log.p >= 0) & (log.p <= 1)).all(), log.p
    assert not (log.correct & log.abstained).any()


if __name__ == "__main__":
    import driver

    driver.main(target, seeds(), [logs])
