"""A function is a classifier: certified like any other, refused where it is none."""

import numpy as np
import pytest

import smoothcert
from smoothcert.errors import InvalidInput, ModelError
from support.known_truth import PixelSum


def test_it_gives_what_the_classifier_around_it_gives(tiny_inputs, pixel_sum):
    wrapped = smoothcert.from_function(pixel_sum.logits, "sum", "1")
    a = smoothcert.certify(wrapped, tiny_inputs, 0.25, n0=10, n=100)
    b = smoothcert.certify(pixel_sum, tiny_inputs, 0.25, n0=10, n=100)
    assert a.certificates == b.certificates
    assert (a.model, a.fingerprint) == ("sum", wrapped.fingerprint)


def test_lists_and_whole_numbers_will_do(tiny_inputs):
    def votes(images):
        inside = images.reshape(len(images), -1).sum(1) > 1.75
        return [[0, 1] if yes else [1, 0] for yes in inside]

    found = smoothcert.certify(smoothcert.from_function(votes, "v", "1"), tiny_inputs, 0.25, n=100)
    assert all(c.candidate == 1 for c in found.certificates)


def test_the_fingerprint_says_name_and_version():
    prints = {
        smoothcert.from_function(PixelSum(1).logits, *said).fingerprint
        for said in (("a", "1"), ("a", "2"), ("b", "1"), ("a1", "1"), ("a", "1"))
    }
    assert len(prints) == 4
    assert all(len(p) == 32 and int(p, 16) >= 0 for p in prints)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda x: np.zeros(len(x)), r"shape \(2, classes\) for 2 inputs; got \(2,\)"),
        (lambda x: np.zeros((1, 3)), r"got \(1, 3\)"),
        (lambda x: np.zeros((len(x), 1)), r"got \(2, 1\)"),
        (lambda x: [["a", "b"]] * len(x), r"must return numbers; got <U1"),
        (lambda x: np.full((len(x), 2), 1j), r"must return numbers; got complex128"),
    ],
)
def test_what_returns_no_scores(scores, message):
    with pytest.raises(ModelError, match=message):
        smoothcert.from_function(scores, "f", "1").logits(np.zeros((2, 1), np.float32))


@pytest.mark.parametrize("said", [("", "1"), ("f", ""), ("f", 1), (None, "1")])
def test_what_says_nothing_of_itself(said):
    with pytest.raises(InvalidInput, match="must be a nonempty text; got"):
        smoothcert.from_function(len, *said)
    with pytest.raises(InvalidInput, match="must be a function of a batch; got int"):
        smoothcert.from_function(3, "f", "1")


def test_rows_that_depend_on_each_other_are_refused(tiny_inputs):
    def normalized(images):
        flat = images.reshape(len(images), -1)
        flat = flat - flat.mean()
        return np.stack([-flat.sum(1), flat.sum(1)], axis=1)

    with pytest.raises(ModelError, match="depend"):
        smoothcert.certify(smoothcert.from_function(normalized, "f", "1"), tiny_inputs, 0.25, n=50)
