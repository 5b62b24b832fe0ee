"""Batches on a device: the same votes as the host's, many under way, and errors that say what."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.errors import InvalidInput, Mismatch, OutOfMemory
from smoothcert.noise.law import Addresses, RoundedGaussian, Stream
from smoothcert.sampling.answers import CONTEST, LABEL, answers_of
from smoothcert.sampling.batch_size import _most_rows, fitting_batch
from smoothcert.sampling.batches import Batch, Request
from smoothcert.sampling.cpu import on_host
from smoothcert.sampling.engine import sample
from smoothcert.sampling.gpu import on_device, packed, unpacked
from support.device_batches import answers, batches

LAW = RoundedGaussian(0.25, 1 / 256)


@pytest.mark.parametrize("answer", [LABEL, CONTEST])
def test_many_batches_under_way_keep_their_answers(digits, network, answer):
    classifier, some = TorchClassifier.of(network, "net"), list(batches(digits, 12))
    with (
        on_host(classifier, LAW, 2**64 - 1, answer) as host,
        on_device(classifier, LAW, 2**64 - 1, answer) as device,
    ):
        for here, there in zip(answers(host, some), answers(device, some), strict=True):
            assert (here == there).all() if answer == LABEL else _same(here, there)


def _same(a, b):
    """The same contests: bits of a gap may differ with the way a batch is summed."""
    named = all((a[name] == b[name]).all() for name in ("label", "second"))
    return named and np.allclose(a["gap"], b["gap"], atol=1e-4)


@pytest.mark.parametrize("answer", [LABEL, CONTEST])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_answers_on_the_device_are_those_of_the_host(answer, dtype):
    """Ties, infinities, NaN, and what is a tie only in a narrower type."""
    nan, inf = torch.nan, torch.inf
    hard = [[1, 2, 0], [2, 2, 1], [nan, 0, 1], [0, nan, 1], [-inf, inf, 0], [-0.0, 0.0, -1]]
    close = [[1, 1 + 2.0**-40, 0], [1, 1 + 2.0**-20, 0]]
    logits = torch.tensor(hard + close, dtype=torch.float64).to(dtype)
    found = unpacked(packed(logits, answer).numpy(), answer)
    expected = answers_of(logits.numpy(), answer)
    assert found.dtype == expected.dtype
    if answer == LABEL:
        assert (found == expected).all()
        return
    decided = expected["label"] >= 0
    for name in answer.names:
        assert (found[name] == expected[name])[decided].all()
    assert (found["label"] == expected["label"]).all()


@pytest.mark.slow
def test_compiled_noise_gives_the_same_votes(digits, network):
    classifier, some = TorchClassifier.of(network, "net"), list(batches(digits, 4))
    with (
        on_device(classifier, LAW, 3, LABEL) as eager,
        on_device(classifier, LAW, 3, LABEL, compile_noise=True) as compiled,
    ):
        for a, b in zip(answers(eager, some), answers(compiled, some), strict=True):
            assert (a == b).all()


def test_what_is_no_address_is_refused_in_every_batch(digits, network):
    classifier = TorchClassifier.of(network, "net")
    first, later = batches(digits, 2)
    with on_device(classifier, LAW, 3, LABEL) as labels:
        labels.submit(first)
        later.addresses.draws[5] = -1
        with pytest.raises(InvalidInput, match="draw indices must be >= 0"):
            labels.submit(later)
    with on_device(classifier, LAW, -1, LABEL) as labels, pytest.raises(InvalidInput, match="seed"):
        labels.submit(first)


def test_other_noise_than_the_definitions_is_refused(digits, network):
    """The control: a device that makes one wrong value in a batch."""
    classifier = TorchClassifier.of(network, "net")
    with on_device(classifier, LAW, 3, LABEL) as labels:
        right = labels.maker.images

        def wrong(*arguments):
            images = right(*arguments)
            images[-1, 0, 0, 0] += 1 / 256
            return images

        labels.maker.images = wrong
        with pytest.raises(Mismatch, match=r"not the run's: 1 of 2048 values .* device='cpu'"):
            labels.submit(next(batches(digits, 1)))


class Small(nn.Module):
    """Has memory for so many rows, as a device would."""

    def __init__(self, room):
        super().__init__()
        self.room, self.tried = room, []

    def forward(self, images):
        self.tried.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return images.flatten(1)[:, :2]


@pytest.mark.parametrize(("room", "size"), [(10**6, 4096), (4096, 4096), (100, 64), (1, 1)])
def test_the_largest_batch_that_fits(room, size):
    classifier = TorchClassifier.of(Small(room), "small")
    assert fitting_batch(classifier, (1, 4, 4)) == size
    tried = classifier.module.tried
    assert tried == [4096 >> i for i in range(len(tried))]
    assert tried[-1] == size


def test_large_inputs_start_from_smaller_batches_and_fixed_ones_are_not_tried():
    assert _most_rows((3, 32, 32)) == 4096
    assert _most_rows((3, 224, 224)) == 512
    assert _most_rows((3, 10**5, 10**5)) == 1
    fixed = replace(TorchClassifier.of(Small(0), "small"), fixed_batch=24)
    assert fitting_batch(fixed, (3, 32, 32)) == 24


def test_too_little_memory_says_to_take_smaller_batches(digits):
    classifier = TorchClassifier.of(Small(31), "small")
    told = r"cpu has too little memory for small on batches of 32 rows. .* --batch-size .* 16\."
    with on_device(classifier, LAW, 0, LABEL) as labels, pytest.raises(OutOfMemory, match=told):
        labels.submit(next(batches(digits, 1)))
    wanted = [Request(digits.item(0), Stream.ESTIMATION, range(100))]
    with pytest.raises(OutOfMemory, match=told):  # also where the host makes the noise
        list(sample(classifier, wanted, LAW, 0, 32))
    with pytest.raises(OutOfMemory, match=r"A batch of 1 ran out of memory .* One row is too much"):
        fitting_batch(TorchClassifier.of(Small(0), "small"), (1, 4, 4))


def test_channels_last_networks_get_channels_last_images(digits):
    class Seeing(nn.Conv2d):
        def forward(self, images):
            self.last = images.is_contiguous(memory_format=torch.channels_last)
            return super().forward(images).flatten(1)[:, :3]

    colours = Batch(
        np.zeros((1, 3, 8, 8), np.int32), np.zeros(4, np.int64), Addresses.of(0, 1, np.arange(4))
    )
    for layout in (torch.contiguous_format, torch.channels_last):
        module = Seeing(3, 5, 3).to(memory_format=layout)
        with on_device(TorchClassifier.of(module, "seeing"), LAW, 0, LABEL) as labels:
            labels.submit(colours).result()
        assert module.last == (layout == torch.channels_last)
