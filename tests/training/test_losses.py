"""The losses of training, against their formulas by hand."""

import json
import math
from statistics import NormalDist

import pytest
import torch

import smoothcert
from smoothcert.errors import InvalidInput, OutOfMemory
from smoothcert.training.gaussian import accuracy, train
from smoothcert.training.losses import LOSSES, Loss
from smoothcert.training.recipe import Recipe, recipe
from support.command_line import run_in

SIGMA = 0.5
LABELS = torch.tensor([0, 2, 1, 1])


def softmax(row, factor=1.0):
    high = max(row)
    powers = [math.exp(factor * (value - high)) for value in row]
    return [power / sum(powers) for power in powers]


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def cross_entropy(predictions, label, smoothing):
    """Of probabilities, with the label's share spread over all classes."""
    classes = len(predictions)
    aims = [smoothing / classes + (1 - smoothing) * (c == label) for c in range(classes)]
    return -sum(a * math.log(p) for a, p in zip(aims, predictions, strict=True) if a)


def by_hand(name, logits, labels, weight, smoothing):
    """The mean over images, each with its rows of logits, one for every draw."""
    found = 0.0
    for label, rows in zip(labels, logits, strict=True):
        each = [softmax(row) for row in rows]
        fitted = sum(cross_entropy(p, label, smoothing) for p in each) / len(each)
        middle, term = mean(each), 0.0
        if name == "consistency":
            for p in each:
                term += sum(m * math.log(m / q) for m, q in zip(middle, p, strict=True)) / len(each)
        if name == "macer":
            fitted = cross_entropy(middle, label, smoothing)
            votes = mean([softmax(row, 16.0) for row in rows])
            runner_up = max(p for c, p in enumerate(votes) if c != label)
            if votes[label] > runner_up:
                radius = NormalDist().inv_cdf(votes[label]) - NormalDist().inv_cdf(runner_up)
                term = SIGMA / 2 * max(0.0, 8.0 - radius)
        found += (fitted + weight * term) / len(labels)
    return found


def network_and_draws(draws):
    """A linear network of three classes, and (draws x images, 5) noisy inputs, in float64."""
    torch.manual_seed(3)
    network = torch.nn.Linear(5, 3).double()
    return network, torch.randn(draws * len(LABELS), 5, dtype=torch.float64)


def loss_of(network, inputs, loss, smoothing):
    logits = network(inputs).unflatten(0, (loss.draws, len(LABELS)))
    return loss.value(logits, LABELS, SIGMA, smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "text", ["plain", "plain,draws=3", "consistency,weight=2", "macer,draws=5"]
)
def test_value_and_gradient_by_hand(text, smoothing):
    """The gradient against differences of the value by hand: no part of it is cut off."""
    loss = Loss.parse(text)
    network, inputs = network_and_draws(loss.draws)

    def expected():
        rows = network(inputs).unflatten(0, (loss.draws, len(LABELS))).transpose(0, 1).tolist()
        return by_hand(loss.name, rows, LABELS.tolist(), loss.weight, smoothing)

    value = loss_of(network, inputs, loss, smoothing)
    assert value.item() == pytest.approx(expected(), rel=1e-10)
    if loss.weight:  # the second term does count
        plain = Loss(loss.name, loss.draws)
        assert value.item() > loss_of(network, inputs, plain, smoothing).item() + 0.01
    value.backward()
    step = 1e-6
    with torch.no_grad():
        for parameter in network.parameters():
            for place in range(parameter.numel()):
                entry = parameter.view(-1)[place]
                entry += step
                above = expected()
                entry -= 2 * step
                below = expected()
                entry += step
                slope = (above - below) / (2 * step)
                assert float(parameter.grad.view(-1)[place]) == pytest.approx(slope, abs=1e-6)


def macers_term(logits, label):
    """MACER's second term for one image, from (draws, classes) logits, and its gradient."""
    given = torch.tensor(logits)[:, None].requires_grad_()
    whole, fit = (
        Loss("macer", len(logits), weight).value(given, torch.tensor([label]), SIGMA, 0.0)
        for weight in (1.0, 0.0)
    )
    (whole - fit).backward()
    return float((whole - fit).detach()), given.grad


def test_macer_widens_only_radii_that_are_right_and_short_of_the_target():
    split = [[0.3, 0.0, 0.0], [0.0, 0.1, 0.0], [0.3, 0.1, 0.0], [0.1, 0.0, 0.0]]
    term, gradient = macers_term(split, 0)
    assert term > 0.5
    assert (gradient[:, 0, 0] < 0).all()  # a step against it raises the class
    for logits, label in ((split, 1), ([[1.0, 0.0, 0.0]] * 4, 0)):
        term, gradient = macers_term(logits, label)
        assert abs(term) < 1e-6
        assert abs(gradient).max() < 1e-6


@pytest.mark.parametrize("label", [0, 1])
def test_certain_predictions_have_finite_gradients(label):
    """At probabilities 0 and 1, where the quantile and its slope are infinite."""
    for high in (30.0, 1e4):
        _, gradient = macers_term([[high, 0.0, -high]] * 3, label)
        assert torch.isfinite(gradient).all()
    one_class = Loss("macer", 2, 12.0).value(torch.zeros(2, 4, 1), torch.zeros(4).long(), SIGMA, 0)
    assert float(one_class) == 0.0


def test_names_with_settings():
    assert Loss.parse("macer") == LOSSES["macer"] == Loss("macer", 16, 12.0)
    assert Loss.parse("macer,weight=4,draws=8") == Loss("macer", 8, 4.0)
    assert Loss.parse("consistency") == Loss("consistency", 2, 1.0)
    assert recipe("finetune", 0.5).loss == LOSSES["consistency"]
    assert recipe("finetune", 0.5, loss="plain,draws=2").loss == Loss("plain", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("marcer", r"loss must be one of plain, consistency, macer; got 'marcer'.*macer"),
        ("", "loss must be one of"),
        ("macer,", "as in macer,draws=8; got 'macer,'"),
        ("macer,gamma=8", "by name, weight and draws"),
        ("macer,draws=1.5", "by name, weight and draws"),
        ("macer,draws=4,draws=8", "by name, weight and draws"),
        ("macer,weight=nan", "a finite weight >= 0; got 16 and nan"),
        ("macer,weight=-1", "weight >= 0; got 16 and -1"),
        ("macer,draws=0", "needs draws >= 1"),
        ("consistency,draws=1", "needs draws >= 2 and a finite weight >= 0; got 1 and 1.0"),
        ("plain,weight=2", "plain has no second term; got the weight 2"),
    ],
)
def test_what_is_refused(text, said):
    with pytest.raises(InvalidInput, match=said):
        Loss.parse(text)


def test_macer_needs_noise():
    with pytest.raises(InvalidInput, match="which are 0 without noise; got sigma 0"):
        Recipe("small_cnn", 0.0, loss=LOSSES["macer"])


@pytest.mark.slow
def test_macer_trains_the_digits(tmp_path):
    """From scratch and further; what it learned is recorded, and it learned."""
    common = ("--data", "digits", "--limit", 300, "--sigma", 0.5, "--seed", 1, "--json")
    loss = ("--loss", "macer,draws=4,weight=1", "--epochs", 15)
    out, _ = run_in("train", *common, *loss, "--out", "net.safetensors", cwd=tmp_path)
    found = json.loads(out)
    assert found["recipe"]["loss"] == {"name": "macer", "draws": 4, "weight": 1.0}
    assert found["accuracy"]["noisy"] > 0.5
    more = ("train", "small_cnn@net.safetensors", *common, "--epochs", 1)
    out, _ = run_in(*more, "--loss", "macer,draws=2", "--out", "more.safetensors", cwd=tmp_path)
    assert json.loads(out)["accuracy"]["noisy"] > 0.5
    for extra, said in (
        (("--loss", "macer", "--consistency", 1), "give one"),
        (("--loss", "macr"), "Did you mean 'macer'"),
        (("--consistency", -1), "a finite weight >= 0; got 2 and -1"),
    ):
        _, err = run_in(*more, *extra, "--out", "none.safetensors", cwd=tmp_path, code=2)
        assert said in err
    for extra, name in ((("--consistency", 2), "consistency"), (("--consistency", 0), "plain")):
        out, _ = run_in(*more, *extra, "--out", f"{name}.safetensors", cwd=tmp_path)
        assert json.loads(out)["recipe"]["loss"]["name"] == name


def test_a_step_that_does_not_fit_says_what_to_make_smaller():
    data = smoothcert.load_inputs("digits", "train", limit=64)
    for text, said in (
        (
            "macer,draws=10000000000",
            r"64 images, .*\(--batch 32\), or fewer draws \(--loss macer,d",
        ),
        ("plain,draws=100000000000000", "ran out of memory"),
    ):
        with pytest.raises(OutOfMemory, match=said):
            train(Recipe("small_cnn", 0.25, loss=Loss.parse(text)), data)


@pytest.mark.slow
def test_a_batch_of_more_draws_has_the_labels_of_its_images():
    """Draws of one image beside each other would get other images' labels, and learn nothing."""
    data = smoothcert.load_inputs("digits", "train", limit=300)
    for text in ("plain,draws=4", "consistency", "macer,draws=4,weight=1"):
        network = train(Recipe("small_cnn", 0.25, epochs=8, loss=Loss.parse(text)), data)
        assert accuracy(network, data, 0.25) > 0.6
