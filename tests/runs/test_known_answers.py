"""Two networks under one fingerprint: a run gets votes of one of them alone."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from smoothcert.certificate import Settings
from smoothcert.errors import Damaged, Mismatch
from smoothcert.execution.block_tasks import RunTaskSpec, Shard
from smoothcert.execution.runner import RunOptions, run_certify
from smoothcert.runs.merging import merge
from smoothcert.runs.store import Run
from smoothcert.runs.verify import evaluate_again
from smoothcert.sampling import known_answers
from support.known_truth import PixelSum

SETTINGS = Settings(0.25, 16, n0=20, n=100)
SMALL = RunOptions(batch_size=16, block_inputs=7)


@dataclass(frozen=True)
class Edited(PixelSum):
    """What a factory returns after the file behind it was edited: the same name and hash."""

    @property
    def fingerprint(self) -> str:
        return "edited"


@pytest.fixture
def started(tmp_path, tiny_inputs):
    run = run_certify(tmp_path / "run", Edited(28), tiny_inputs, SETTINGS, SMALL)
    (run.path / "certificates" / "00001.parquet").unlink()
    return run


def test_another_network_does_not_go_on(started, tiny_inputs):
    how = replace(SMALL, resume=True)
    with pytest.raises(
        Mismatch, match="different logits than when .* although its fingerprint is the"
    ):
        run_certify(started.path, Edited(31), tiny_inputs, SETTINGS, how)
    assert run_certify(started.path, Edited(28), tiny_inputs, SETTINGS, how).missing == ()


def test_another_network_is_no_worker(started, tiny_inputs):
    spec = RunTaskSpec(str(started.path), None)
    with pytest.raises(Mismatch, match="different logits"):
        spec.start(Edited(31), tiny_inputs, lambda count: None)
    spec.start(Edited(28), tiny_inputs, lambda count: None)


def test_another_network_is_named_when_replayed(tmp_path, tiny_inputs):
    run = run_certify(tmp_path / "run", Edited(28), tiny_inputs, SETTINGS, SMALL)
    assert evaluate_again(run, Edited(28), tiny_inputs, 0.01).problems == ()
    assert any(
        "different logits" in p for p in evaluate_again(run, Edited(29), tiny_inputs, 0.01).problems
    )


def test_shards_of_two_networks_do_not_merge(tmp_path, tiny_inputs):
    def shard(number: int, threshold: int) -> Run:
        how = replace(SMALL, shard=Shard(number, 2))
        folder = tmp_path / f"{number}-{threshold}"
        return run_certify(folder, Edited(threshold), tiny_inputs, SETTINGS, how)

    one, other, same = shard(1, 28), shard(2, 31), shard(2, 28)
    with pytest.raises(Mismatch, match="different logits"):
        merge([one, other], tmp_path / "wrong")
    assert merge([one, same], tmp_path / "right").missing == ()


def test_what_is_kept_is_read_back():
    logits = np.array([[1.5, -2, np.inf], [0, np.nan, 3]])
    text = known_answers.kept(logits)
    assert np.array_equal(known_answers.read(text), logits.astype(np.float32), equal_nan=True)
    assert known_answers.agree(text, text)
    assert known_answers.agree(text, known_answers.kept(logits * (1 + 1e-5)))
    assert known_answers.agree(text, known_answers.kept(logits[:1]))  # batches of one row
    for other in (logits * 1.01, logits[:, :2], np.nan_to_num(logits), -logits):
        assert not known_answers.agree(text, known_answers.kept(other))


@pytest.mark.parametrize("text", ["", "2x3", "2x3:AAAA", "0x3:", "9x1:AAAA", "1x1:!!!!", "1x1:AA"])
def test_what_nobody_kept_is_refused(text, started):
    with pytest.raises(ValueError):
        known_answers.read(text)
    from support.run_files import edit

    edit(started.path, lambda body: body["origin"].update(probe_answers=text))
    with pytest.raises(Damaged, match=r"run\.json is damaged"):
        Run.open(started.path)
