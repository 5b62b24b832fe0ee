"""The fuzz targets run, without atheris, on inputs that a fuzzer would begin with."""

import random

import fuzz_codec
import fuzz_run
import fuzz_tsv
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("module", [fuzz_codec, fuzz_tsv, fuzz_run], ids=lambda m: m.__name__)
def test_targets_take_anything(module):
    """No exception but the package's own, which they catch themselves."""
    rng = random.Random(0)
    seeds = module.seeds()
    for seed in seeds:
        module.target(seed)
    for _ in range(300):
        data = bytearray(rng.choice(seeds) + rng.randbytes(rng.randrange(30)))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data) or 1) : 1] = rng.randbytes(1)
        module.target(bytes(data))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [fuzz_run._PARQUET, fuzz_run._VERIFY])
def test_files_on_disk_and_whole_runs_are_mutated_too(kind, monkeypatch):
    """What is rare in fuzzing, every time; each run is afterwards as it was."""
    monkeypatch.setattr(fuzz_run, "_RARE", 1)
    rng, before = random.Random(0), fuzz_run._original()
    used = []
    monkeypatch.setattr(
        fuzz_run, "_use", lambda *facts, use=fuzz_run._use: used.append(use(*facts))
    )
    for _ in range(60):
        fuzz_run.target(bytes([kind]) + rng.randbytes(30))
    assert used
    assert before == fuzz_run._original.__wrapped__()


def test_targets_see_what_is_wrong(monkeypatch):
    """They can fail: a reader that raises something else, or returns nonsense, is found."""
    monkeypatch.setattr(fuzz_codec.codec, "decode", lambda blob, most: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fuzz_codec.target(fuzz_codec.seeds()[0])
    monkeypatch.setattr(fuzz_tsv.logs, "read_log", lambda path: [].pop())
    with pytest.raises(IndexError):
        fuzz_tsv.target(fuzz_tsv.seeds()[0])
    monkeypatch.setattr(fuzz_run.manifest.Manifest, "from_bytes", lambda data, where: {}["x"])
    with pytest.raises(KeyError):
        fuzz_run.target(fuzz_run.seeds()[0])
