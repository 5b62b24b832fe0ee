"""Packing never changes a vote: order, batches, blocks, threads."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from smoothcert.data.inputs import Item
from smoothcert.noise.law import Addresses, RoundedGaussian, Stream
from smoothcert.sampling.answers import CONTEST, LABEL, NO_CLASS, contests_of, labels_of
from smoothcert.sampling.batches import Batch, Request
from smoothcert.sampling.cpu import on_host
from smoothcert.sampling.engine import default_batch_size, sample

LAW = RoundedGaussian(0.25, 1 / 16)


def labels(classifier, requests, batch_size=8, seed=0):
    return list(sample(classifier, requests, LAW, seed, batch_size))


def requests(tiny_inputs, count=12, draws=37):
    return [Request(item, Stream.ESTIMATION, range(draws)) for item in tiny_inputs][:count]


def by_hand(classifier, request, seed=0):
    """One draw at a time, straight from the definitions."""
    out = []
    for draw in request.draws:
        shape = request.item.pixels.shape
        steps = LAW.draws(seed, request.item.index, request.stream, [draw], shape)
        image = (request.item.pixels + steps).astype(np.float32) * np.float32(1 / 16)
        out.append(int(classifier.logits(image).argmax()))
    return out


def test_labels_are_those_of_one_draw_at_a_time(tiny_inputs, pixel_sum):
    wanted = requests(tiny_inputs)
    for request, found in zip(wanted, labels(pixel_sum, wanted), strict=True):
        assert found.tolist() == by_hand(pixel_sum, request)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64, 1000])
def test_batch_size_changes_nothing(tiny_inputs, pixel_sum, batch_size):
    wanted = requests(tiny_inputs)
    expected = labels(pixel_sum, wanted)
    for a, b in zip(expected, labels(pixel_sum, wanted, batch_size), strict=True):
        assert (a == b).all()


def test_order_of_inputs_and_of_draws_changes_nothing(tiny_inputs, pixel_sum):
    wanted = requests(tiny_inputs)
    expected = labels(pixel_sum, wanted)
    order = np.random.default_rng(0).permutation(len(wanted))
    for place, found in zip(order, labels(pixel_sum, [wanted[i] for i in order]), strict=True):
        assert (found == expected[place]).all()
    some = np.array([30, 2, 17, 5])
    request = Request(wanted[3].item, Stream.ESTIMATION, some)
    assert (labels(pixel_sum, [request])[0] == expected[3][some]).all()


def test_mixed_streams_share_batches(tiny_inputs, pixel_sum):
    item = tiny_inputs.item(0)
    wanted = [Request(item, stream, range(5)) for stream in (Stream.SELECTION, Stream.FRESH)]
    for request, found in zip(wanted, labels(pixel_sum, wanted), strict=True):
        assert found.tolist() == by_hand(pixel_sum, request)


def test_every_batch_has_the_fixed_shape_and_none_is_wasted(tiny_inputs, pixel_sum):
    seen = []

    class Spy:
        name, fingerprint, device, fixed_batch = "spy", "spy", "cpu", None

        def logits(self, images):
            seen.append(images.shape)
            return pixel_sum.logits(images)

    done = []
    wanted = requests(tiny_inputs, count=10, draws=13)
    list(sample(Spy(), wanted, LAW, 0, 32, done.append))
    assert seen == [(32, 1, 2, 2)] * -(-130 // 32)
    assert sum(done) == 130


def test_requests_are_read_only_as_needed(tiny_inputs, pixel_sum):
    read = []

    def stream():
        for request in requests(tiny_inputs, count=20, draws=8):
            read.append(request.item.index)
            yield request

    found = sample(pixel_sum, stream(), LAW, 0, 8)
    next(found)
    assert len(read) <= 8  # the batches under way


def test_requests_for_nothing_get_nothing(tiny_inputs, pixel_sum):
    item = tiny_inputs.item(0)
    empty, some = Request(item, Stream.FRESH, range(0)), Request(item, Stream.FRESH, range(3))
    assert [len(x) for x in labels(pixel_sum, [empty, some, empty])] == [0, 3, 0]
    assert [len(x) for x in labels(pixel_sum, [empty, empty])] == [0, 0]


def test_ties_and_nan_vote_for_no_class():
    nan, inf = np.nan, np.inf
    logits = np.array([[1, 2], [2, 2], [nan, 0], [0, nan], [-inf, inf], [inf, inf], [-0.0, 0.0]])
    assert labels_of(logits).tolist() == [1, NO_CLASS, NO_CLASS, NO_CLASS, 1, NO_CLASS, NO_CLASS]


def test_votes_do_not_depend_on_threads(digits, models):
    """The real network, ONNX Runtime and torch: 1 to 3 batches at once, and two runs at once."""
    import torch

    import smoothcert

    law = RoundedGaussian(0.25, 1 / 256)
    wanted = [Request(item, Stream.ESTIMATION, range(300)) for item in digits]
    before = torch.get_num_threads()

    def votes(classifier, some):
        return np.concatenate(list(sample(classifier, some, law, 0, 128)))

    for model in (f"small_cnn@{models / 'net.safetensors'}", models / "net.onnx"):
        first = votes(smoothcert.load_classifier(model, threads=1), wanted)
        for threads in (2, 3):
            assert (
                votes(smoothcert.load_classifier(model, threads=threads), wanted) == first
            ).all()
        loaded = smoothcert.load_classifier(model)
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(partial(votes, loaded), [wanted[:5], wanted[5:]]))
        assert (np.concatenate(both) == first).all()
    assert torch.get_num_threads() == before


def test_workers_share_parameters_and_nothing_else():
    """A module that keeps its input while it works, as many do, gives each thread its own."""
    import time

    import torch

    from smoothcert.classifiers.pytorch import TorchClassifier

    class Keeping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, images):
            self.kept = images
            time.sleep(0.002)
            return self.kept.flatten(1)[:, :3] * self.scale

    classifier = TorchClassifier.of(Keeping(), "keeping")
    one, many = (replace(classifier, threads=threads) for threads in (1, 4))
    item = Item(0, np.arange(12, dtype=np.int32).reshape(3, 2, 2))
    wanted = [Request(item, Stream.ESTIMATION, range(400))]
    assert (labels(one, wanted)[0] == labels(many, wanted)[0]).all()
    with many.workers() as workers, many.workers() as others:
        assert len({id(worker.module.scale) for worker in workers}) == 1
        assert len({id(worker.module) for worker in [*workers, *others]}) == 8
    with many.workers() as again:  # copied, and compiled, once and not for every block
        assert {id(w) for w in again} <= {id(w) for w in [*workers, *others]}


def test_a_failing_batch_stops_the_run(tiny_inputs):
    class Failing:
        name, fingerprint, device, fixed_batch = "failing", "failing", "cpu", None
        calls = 0

        def logits(self, images):
            self.calls += 1
            if self.calls == 5:
                raise ZeroDivisionError("here")
            return images.reshape(len(images), -1)

    failing = Failing()
    with pytest.raises(ZeroDivisionError, match="here"):
        labels(failing, requests(tiny_inputs, count=30, draws=100))
    assert failing.calls < 20


def test_noise_is_made_while_a_serial_classifier_works(tiny_inputs, pixel_sum):
    """One that is not `ThreadReplicable` is never called by two threads at once."""
    import threading

    class Serial:
        name, fingerprint, device, fixed_batch = "serial", "serial", "cpu", None
        lock = threading.Lock()

        def logits(self, images):
            assert self.lock.acquire(blocking=False)
            try:
                return pixel_sum.logits(images)
            finally:
                self.lock.release()

    wanted = requests(tiny_inputs)
    for a, b in zip(labels(Serial(), wanted), labels(pixel_sum, wanted), strict=True):
        assert (a == b).all()


def one_batch(items, addresses):
    return Batch(np.stack([i.pixels for i in items]), np.arange(len(items)), addresses)


def test_the_device_path_gives_the_same_votes(digits, network):
    """What runs on CUDA, run here on torch's CPU device."""
    import torch

    from smoothcert.classifiers.pytorch import TorchClassifier
    from smoothcert.sampling.gpu import on_device

    law, classifier = RoundedGaussian(0.25, 1 / 256), TorchClassifier.of(network, "net")
    batch = one_batch(digits, Addresses(np.arange(12), np.full(12, 1), np.arange(12) * 7))
    for answer in (LABEL, CONTEST):
        with (
            on_host(classifier, law, 3, answer) as host,
            on_device(classifier, law, 3, answer) as device,
        ):
            here, there = host.submit(batch).result(), device.submit(batch).result()
        assert (here == there).all()
    assert (here["label"] != here["second"]).all()
    assert torch.is_inference_mode_enabled() is False


def test_device_labels_count_ties_as_no_class(digits):
    from torch import nn

    from smoothcert.classifiers.pytorch import TorchClassifier
    from smoothcert.sampling.gpu import on_device

    class Tied(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :1].repeat(1, 3)

    zero = np.zeros(1, dtype=np.int64)
    batch = one_batch([digits.item(0)], Addresses(zero, zero, zero))
    law = RoundedGaussian(0.25, 1 / 256)
    for answer in (LABEL, CONTEST):
        with on_device(TorchClassifier.of(Tied(), "tied"), law, 0, answer) as labels:
            found = labels.submit(batch).result()
        assert (found if answer == LABEL else found["label"]).tolist() == [NO_CLASS]
    assert found["gap"].tolist() == [0.0]


def test_contests_by_hand():
    logits = np.array([[1.0, 3.0, 2.5], [4.0, 0.0, 4.0], [np.nan, 1.0, 2.0]], np.float32)
    found = contests_of(logits)
    assert found["label"].tolist() == [1, NO_CLASS, NO_CLASS]
    assert found["second"][0] == 2
    assert found["gap"].tolist() == [0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 8, 8), 256), ((3, 32, 32), 256), ((3, 224, 224), 16)]
)
def test_default_batch_sizes(shape, size):
    assert default_batch_size(shape) == size


def test_an_item_knows_its_content():
    a, b = Item(0, np.zeros((1, 2, 2), np.int32)), Item(5, np.zeros((1, 2, 2), np.int32))
    assert a.content == b.content
    assert a.content != Item(0, np.ones((1, 2, 2), np.int32)).content
    assert a.content != Item(0, np.zeros((1, 4, 1), np.int32)).content
