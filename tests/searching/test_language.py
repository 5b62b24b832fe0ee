"""The prefix code of a search: every candidate has a word, and no word begins another."""

from fractions import Fraction
from itertools import pairwise, product

import pytest

from smoothcert.errors import InvalidInput
from smoothcert.searching.language import (
    EPOCHS,
    FORMATS,
    FRACTIONS,
    LEVELS,
    SHRINKS,
    Candidate,
    Language,
)


def everything(layers: int) -> list[Candidate]:
    """All candidates of a language with so many layers."""
    found = [Candidate(f) for f in FORMATS]
    found += [Candidate("int8", kept=k) for k in range(1, layers + 1)]
    found += [Candidate(levels) for levels in product(LEVELS, repeat=layers)]
    parts = product(FORMATS, SHRINKS, FRACTIONS, (0, *EPOCHS))
    return found + [Candidate(*part) for part in parts]


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_words_are_a_prefix_code_of_all_candidates(layers):
    language = Language(tuple(f"layer{i}" for i in range(layers)))
    candidates = everything(layers)
    words = [language.word(c) for c in candidates]
    assert [language.candidate(word) for word in words] == candidates
    ordered = sorted(words)
    assert not any(b.startswith(a) for a, b in pairwise(ordered))
    assert 0.7 < sum(Fraction(1, 2 ** len(word)) for word in words) <= 1


def test_targets_are_distinct():
    language = Language(("a", "b", "c"))
    targets = [c.target(language.layers) for c in everything(3)]
    assert len(set(targets)) == len(targets) - _SAID_TWICE


# Levels that are the same in all layers are also a format of their own.
_SAID_TWICE = len(LEVELS)


@pytest.mark.parametrize(("layers", "bits"), [(4, 8), (22, 14), (60, 18)])
def test_levels_that_fall_along_the_order_are_short(layers, bits):
    language = Language(tuple(map(str, range(layers))))
    word = language.word(language.falling((1, 2, layers - 1)))
    assert len(word) == bits
    shuffled = Candidate(("int4", *["fp32"] * (layers - 1)))
    assert len(language.word(shuffled)) == 5 + 2 * layers


def test_what_compress_is_asked_for():
    layers = ("conv1", "conv2", "conv3", "fc")
    assert Candidate("int8", "lowrank", 0.5).target(layers) == "lowrank:0.5+onnx+int8"
    tuned = Candidate("int4-weights", "prune-channels", 0.2, 4)
    assert tuned.target(layers) == "prune-channels:0.2+finetune:4+onnx+int4-weights"
    assert Candidate("int8", kept=2).target(layers) == "int8:conv1=fp32,conv2=fp32"
    falling = Language(layers).falling((1, 1, 2))
    assert falling.formats == ("fp32", "int8", "int4", "int4")
    assert falling.target(layers) == "int4-weights:conv1=fp32,conv2=int8"
    assert Candidate(("fp32",) * 4).target(layers) == "onnx"
    assert falling.title == "1 fp32, 1 int8, 2 int4"
    assert Candidate(("int4", "fp32", "int4", "int4")).title == "1 fp32, 3 int4 (mixed)"
    assert Candidate("int8", kept=2).title == "int8, 2 fp32"
    assert tuned.title == "prune-channels:0.2+finetune:4+int4-weights"


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate("int2-weights"),
        Candidate("int8", "lowrank", 0.51),
        Candidate("int8", "distill", 0.5),
        Candidate("int8", epochs=4),
        Candidate(("int8",) * 3),
        Candidate("int4-weights", kept=1),
        Candidate("int8", kept=3),
    ],
)
def test_what_is_in_no_language_has_no_error(candidate):
    with pytest.raises(InvalidInput, match="no error is set aside"):
        Language(("a", "b")).word(candidate)


@pytest.mark.parametrize(
    "word", ["", "1", "01111", "0101", "010000", "1111", "10111111", "11011", "2"]
)
def test_no_words(word):
    with pytest.raises(InvalidInput, match="no word of the language"):
        Language(("a", "b")).candidate(word)
