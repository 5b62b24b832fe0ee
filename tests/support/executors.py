"""Executors without processes, and settings of small runs for executors."""

from smoothcert.certificate import Settings
from smoothcert.execution.runner import RunOptions
from smoothcert.execution.scheduler import BlockQueue, run_workers

SETTINGS = Settings(0.25, 16, n0=20, n=600)
SMALL = RunOptions(batch_size=16, block_inputs=3)


def backwards(work, stop):
    waiting, results = list(work.blocks), {}
    while waiting:
        block = waiting.pop()
        results[block] = work.local.compute(block)
        waiting.extend(work.then(block, results[block]))
    return results


class InThread:
    """A worker in a thread of this process."""

    def __init__(self, task):
        self.task = task

    def compute(self, block, wanted):
        return self.task.compute(block)

    def close(self):
        pass


def threads(work, stop):
    return run_workers(
        [lambda: InThread(work.local)] * 3, BlockQueue(work.blocks, stop, then=work.then)
    )
