"""Classifiers and data as other processes load them; some die, hang or fail there."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

import numpy as np

from smoothcert.data.inputs import Inputs
from smoothcert.errors import ModelError
from support.known_truth import PixelSum


def thirty_inputs(value: int = 8) -> Inputs:
    """The inputs of the fixture `tiny_inputs`."""
    return Inputs.from_arrays(np.full((30, 1, 2, 2), value / 16), np.ones(30, int), 1 / 16)


class FaultyPixelSum(PixelSum):
    """Fails in the middle of a block, once or always, but never in the first process."""

    def __init__(self, threshold: int, fault: str, once: Path | None = None) -> None:
        super().__init__(threshold)
        self.fault, self.once, self.calls = fault, once, 0

    def logits(self, images):
        self.calls += 1
        if self.fault == "slow":
            time.sleep(0.02)
        if ray_worker():
            self._trigger_once()
        elif parent_process() is None:
            time.sleep(0.01)  # the others are to get something to do
        else:
            self._trigger_once()
        return super().logits(images)

    def _trigger_once(self):
        if self.calls == 30 and (self.once is None or not self.once.exists()):
            if self.once is not None:
                self.once.touch()
            trigger(self.fault)


def ray_worker() -> bool:
    return "default_worker.py" in " ".join(sys.orig_argv)


def trigger(fault: str) -> None:
    if fault == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    elif fault == "hangs":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "refuses":
        raise ModelError("the model says no")
    elif fault == "raises":
        raise Unpicklable(1, 2)


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@dataclass(frozen=True)
class LoadPixelSum:
    """What a worker loads."""

    threshold: int = 28
    value: int = 8
    fault: str = ""
    once: Path | None = None

    def __call__(self, worker: int):
        return self.classifier(), thirty_inputs(self.value)

    def classifier(self):
        if self.fault:
            return FaultyPixelSum(self.threshold, self.fault, self.once)
        return PixelSum(self.threshold)


def missing_weights(worker: int):
    raise FileNotFoundError("the weights are on another machine")
