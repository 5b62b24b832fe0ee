"""Logits and models at the edges of floating point: what a row votes, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

import smoothcert
from smoothcert.certificate import Outcome
from smoothcert.data.inputs import to_float
from smoothcert.errors import ModelError
from smoothcert.noise.law import Addresses, RoundedGaussian, Stream
from smoothcert.sampling.answers import CONTEST, LABEL, NO_CLASS, answers_of
from smoothcert.sampling.batches import Batch, Request
from smoothcert.sampling.engine import sample
from smoothcert.sampling.gpu import packed, unpacked
from smoothcert.sampling.probe import probe
from support.known_truth import PixelSum

NAN, INF, TINY, HUGE = np.nan, np.inf, 1e-45, 3e38
LAW = RoundedGaussian(0.25, 1 / 16)

ROWS = [
    ([1, NAN, 2], NO_CLASS),
    ([NAN, NAN, NAN], NO_CLASS),
    ([NAN, INF, 1], NO_CLASS),
    ([INF, NAN, 1], NO_CLASS),
    ([9, 1, NAN], NO_CLASS),
    ([INF, INF, 1], NO_CLASS),
    ([INF, 1, INF], NO_CLASS),
    ([-INF, -INF, -INF], NO_CLASS),
    ([1, INF, 2], 1),
    ([-INF, -INF, 5], 2),
    ([5, -INF, -INF], 0),
    ([INF, -INF, -INF], 0),
    ([0.0, -0.0, -1], NO_CLASS),
    ([-0.0, 0.0, -1], NO_CLASS),
    ([-1, -0.0, 0.0], NO_CLASS),
    ([1, 1, 1], NO_CLASS),
    ([1, 2, 2], NO_CLASS),
    ([TINY, 0, -TINY], 0),
    ([0, -TINY, -1], 0),
    ([-TINY, -TINY, -1], NO_CLASS),
    ([HUGE, -HUGE, 0], 0),
    ([1, 1 + 2.0**-23, 1], 1),
]
LOGITS = np.array([row for row, _ in ROWS], np.float32)
LABELS = [label for _, label in ROWS]


def on_device(logits: torch.Tensor, answer: np.dtype) -> np.ndarray:
    return unpacked(packed(logits, answer).numpy(), answer)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_of_hard_rows(dtype):
    logits = LOGITS.astype(dtype)
    assert answers_of(logits, LABEL).tolist() == LABELS
    assert on_device(torch.from_numpy(logits), LABEL).tolist() == LABELS


def test_contests_of_hard_rows_are_the_same_everywhere():
    """Without a warning, which would be an error here; runner-up and gap to the bit."""
    here, there = answers_of(LOGITS, CONTEST), on_device(torch.from_numpy(LOGITS), CONTEST)
    assert here["label"].tolist() == LABELS
    assert here.tobytes() == there.tobytes()
    assert np.isfinite(here["gap"]).all()
    assert (here["gap"] >= 0).all()


def test_permuted_rows_and_classes_give_permuted_labels():
    """No place in a batch and no class is preferred, in a tie neither."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows, classes = rng.permutation(len(LOGITS)), rng.permutation(3)
        found = answers_of(LOGITS[rows][:, classes], LABEL)
        expected = [
            NO_CLASS if x < 0 else classes.tolist().index(x) for x in np.array(LABELS)[rows]
        ]
        assert found.tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16, np.float64])
def test_other_types_of_logits(dtype):
    rows = np.array([[1, 0, 3], [2, 2, 1], [0, 1, 1], [100, 0, 1]], dtype)
    labels, second = [2, NO_CLASS, NO_CLASS, 0], [0, 1, 2, 2]
    for found in (answers_of(rows, CONTEST), on_device(torch.from_numpy(rows), CONTEST)):
        assert found["label"].tolist() == labels
        assert found["second"].tolist() == second
        assert found["gap"].tolist() == [2, 0, 0, 99]


def test_bfloat16_and_float16_logits_are_compared_as_they_are():
    close = torch.tensor([[1.0, 1.0 + 2.0**-7], [1.0, 1.0]])
    assert on_device(close.to(torch.bfloat16), LABEL).tolist() == [1, NO_CLASS]
    assert on_device((1e5 * close).to(torch.float16), LABEL).tolist() == [NO_CLASS, NO_CLASS]  # inf


def test_gaps_beyond_float32_are_the_largest_float():
    found = answers_of(np.array([[1e300, -1e300], [1e39, 0.0]]), CONTEST)
    assert found["label"].tolist() == [0, 0]
    assert (found["gap"] == np.finfo(np.float32).max).all()


class Rows:
    """A classifier made of one function of float32 images."""

    name, fingerprint, device, fixed_batch = "rows", "rows", "cpu", None

    def __init__(self, function):
        self.logits = function


def sums(images):
    return np.rint(images * 16).sum(axis=(1, 2, 3))


@pytest.mark.parametrize("hole", ["nan", "all nan", "infinite tie", "tie", "signed zeros"])
def test_undecided_rows_count_against_the_candidate(hole, tiny_inputs):
    """Rows whose sum is a multiple of 3 are spoilt; the count is that of the other winners."""
    spoilt = {
        "nan": [NAN, 5.0],
        "all nan": [NAN, NAN],
        "infinite tie": [INF, INF],
        "tie": [5.0, 5.0],
        "signed zeros": [0.0, -0.0],
    }[hole]
    whole = PixelSum(threshold=28)

    def logits(images):
        found = whole.logits(images)
        found[sums(images) % 3 == 0] = spoilt
        return found

    n = 400
    found = smoothcert.certify(Rows(logits), tiny_inputs.select(range(3)), 0.25, n0=50, n=n)
    for position, record in enumerate(found.records):
        item = tiny_inputs.item(position)
        noise = LAW.draws(0, item.index, Stream.ESTIMATION, np.arange(n), item.pixels.shape)
        total = (item.pixels + noise).sum(axis=(1, 2, 3))
        assert record.certificate.candidate == 1
        assert record.certificate.k == ((total > 28) & (total % 3 != 0)).sum()
        assert (record.votes.estimation == NO_CLASS).sum() == (total % 3 == 0).sum() > 50


@pytest.mark.parametrize("form", ["binary", "multiclass"])
def test_rows_that_are_all_undecided_abstain(form, tiny_inputs):
    tied = Rows(lambda images: np.repeat(sums(images)[:, None], 3, axis=1))
    found = smoothcert.certify(tied, tiny_inputs.select([0]), 0.25, n0=20, n=100, form=form)
    certificate = found.records[0].certificate
    assert (certificate.k, certificate.radius) == (0, 0)
    assert certificate.outcome is Outcome.UNDECIDED


def look(function, tiny_inputs):
    return probe(Rows(function), tiny_inputs.item(0), LAW, 0, 16)


def two(images):
    return np.stack([sums(images), -sums(images)], axis=1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.column_stack([two(x) + x.max(), np.full(len(x), -INF)]),
        lambda x: np.column_stack([two(x) * x.max(), np.full(len(x), INF)]),
        lambda x: np.where(x.max() > 3, NAN, two(x)),
        lambda x: np.where(x.max() > 3, INF, two(x)),
        lambda x: np.where(x.max() > 3, two(x), np.where(sums(x)[:, None] % 2, two(x), NAN)),
        lambda x: (two(x) + x.max() * 50).astype(np.uint8),
    ],
    ids=["masked class", "infinite class", "to nan", "to inf", "from nan", "unsigned"],
)
def test_dependence_on_the_batch_is_not_hidden_by_what_is_no_number(function, tiny_inputs):
    """An infinite logit made the scale infinite, and a NaN difference was left out."""
    with pytest.raises(ModelError, match="is batch-dependent"):
        look(function, tiny_inputs)


def test_infinities_nan_and_whole_numbers_may_be_logits(tiny_inputs):
    for function in (
        lambda x: np.column_stack([two(x), np.full(len(x), -INF)]),
        lambda x: np.where(sums(x)[:, None] % 2, two(x), NAN),
        lambda x: two(x).astype(np.int64),
        lambda x: np.abs(two(x)).astype(np.uint8) // np.array([1, 2], np.uint8),
    ):
        assert look(function, tiny_inputs).row_exact


@pytest.mark.parametrize("dtype", [np.complex64, object, np.dtype("U9"), bool])
def test_logits_that_are_no_real_numbers_are_refused(dtype, tiny_inputs):
    with pytest.raises(ModelError, match="returns values of type .*; logits are real numbers"):
        look(lambda x: (two(x) > 20).astype(dtype), tiny_inputs)


def saved_onnx(path, kind, nodes, constants=()):
    import onnx
    from onnx import helper

    ends = [("x", ["n", 1, 1, 3]), ("y", ["n", 3])]
    taken, given = (helper.make_tensor_value_info(name, kind, shape) for name, shape in ends)
    graph = helper.make_graph(nodes, "g", [taken], [given], initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", ["UINT8", "INT8", "INT32", "INT64", "BFLOAT16", "BOOL"])
def test_onnx_models_that_take_no_floats_are_refused(kind, tmp_path):
    """A cast to uint8 would turn the values below 0 and above 1 into others."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    path = saved_onnx(tmp_path / "m.onnx", getattr(TensorProto, kind), nodes)
    with pytest.raises(ModelError, match=r"must take one tensor of floats .*; it takes x tensor"):
        smoothcert.load_classifier(path)


def test_an_onnx_model_in_double_sees_the_float32_values_exactly(tmp_path):
    """And its logits are compared in double: a difference of 2^-40 is a decision."""
    from onnx import TensorProto, helper

    near = helper.make_tensor("near", TensorProto.DOUBLE, [3], [1.0, 1.0 + 2.0**-40, 0.5])
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Mul", ["flat", "near"], ["y"]),
    ]
    path = saved_onnx(tmp_path / "m.onnx", TensorProto.DOUBLE, nodes, [near])
    steps = np.arange(-300, 600, dtype=np.int32)
    images = np.repeat(to_float(steps, 255)[:, None, None, None], 3, axis=3)
    logits = smoothcert.load_classifier(path).logits(images)
    assert (logits[:, 0] == images[:, 0, 0, 0].astype(np.float64)).all()
    labels = answers_of(logits, LABEL)
    assert labels[steps > 0].tolist() == [1] * 599
    assert labels[steps == 0].tolist() == [NO_CLASS]


class Linear(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.layer = nn.Linear(4, 3).to(dtype)

    def forward(self, images):
        return self.layer(images.flatten(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_torch_modules_of_other_types_are_refused_by_name(dtype, tiny_inputs):
    with pytest.raises(ModelError, match="Linear failed on a batch of shape .* takes float32"):
        smoothcert.certify(Linear(dtype), tiny_inputs, 0.25, n0=4, n=4)


class Widening(nn.Module):
    """Computes in double, from float32."""

    def forward(self, images):
        total = images.double().flatten(1).sum(dim=1)
        return torch.stack([total, total + 2.0**-45, total - 1], dim=1)


def test_torch_logits_in_double_are_judged_as_float32_on_every_path(tiny_inputs):
    """What float32 cannot tell apart is a tie, on the host and on the device's path."""
    from smoothcert.classifiers.pytorch import TorchClassifier
    from smoothcert.sampling.gpu import on_device as device_labels

    classifier = TorchClassifier.of(Widening(), "widening")
    item = tiny_inputs.item(0)
    addresses = Addresses.of(item.index, Stream.FRESH, np.arange(40))
    (found,) = sample(classifier, [Request(item, Stream.FRESH, range(40))], LAW, 0, 20)
    assert (found == NO_CLASS).mean() > 0.9
    with device_labels(classifier, LAW, 0, LABEL) as labels:
        there = labels.submit(Batch(item.pixels[None], np.zeros(40, int), addresses)).result()
    assert (found == there).all()
