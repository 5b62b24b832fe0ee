"""Runs a target under atheris: `python fuzz/fuzz_codec.py -runs=1000000`; libFuzzer's options."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType


def main(
    target: Callable[[bytes], None], seeds: Iterable[bytes], modules: Sequence[ModuleType]
) -> None:
    """Fuzz until a crash, or as long as the options say; never returns.

    Args:
        target: raises if something is wrong.
        seeds: where to begin.
        modules: whose functions are watched for coverage.
    """
    import atheris

    for module in modules:
        for thing in vars(module).values():
            if isinstance(thing, FunctionType) and thing.__module__ == module.__name__:
                atheris.instrument_func(thing)
    corpus = Path(tempfile.mkdtemp(prefix="corpus-"))
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    counts, start = {"executions": 0}, time.monotonic()

    def counted(data: bytes) -> None:
        counts["executions"] += 1
        if counts["executions"] % 100_000 == 0:
            print(f"{counts['executions']} in {time.monotonic() - start:.0f} s", file=sys.stderr)
        target(data)

    options = [f"-artifact_prefix={os.getcwd()}/", "-timeout=20", "-rss_limit_mb=3000"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(corpus)], counted)
    atheris.Fuzz()
