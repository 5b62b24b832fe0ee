"""Does a search claim too much more often than it may? Against a searcher that keeps what is lucky.

Each data set has 64 models with the same, known flip rates, and a language whose words name one of
them, or cross two words: the inputs of a mask behave as in the first, the others as in the second.
All of them are fixed functions of the noise, all have the same mean flip rate, and whoever crosses
the best has one with ever fewer flips. What is claimed is an upper limit of the mean flip rate, on
which all of a dataset certificate rests. A sound search fails with probability at most ERROR.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from smoothcert.bounds import adversary
from smoothcert.methods.screening import Screening
from smoothcert.methods.targets import Target
from smoothcert.searching.language import with_word

ERROR = 1e-6
INPUTS, DRAWS, RATE = 60, 40, 0.05
MODELS, ALIVE = 64, 32
ALPHA = 0.1
ROUNDS = [2000, pytest.param(10_000, marks=pytest.mark.full)]
SETS = 400
_MASKS = np.random.default_rng(5).random((64, INPUTS)) < 0.5
MASK_BITS = 6
LONGEST = 200  # bits; nothing that a word of more claims is false, which is tested


@dataclass(frozen=True)
class Seen:
    """What the search saw: total flips and length of the word, shape (candidates, data sets)."""

    flips: np.ndarray
    length: np.ndarray


def hill_climb(rounds: int, greedy: bool, seed: int) -> Seen:
    """Everything that a searcher tries, on all data sets at once.

    Args:
        rounds: crossings.
        greedy: parents are of the better half; else of all.
        seed: of the searcher and the flips.
    """
    rng = np.random.default_rng(seed)
    flips = rng.binomial(DRAWS, RATE, (SETS, MODELS, INPUTS))
    bits = 1 + 6  # '0' and the model's number
    alive, length = flips[:, :ALIVE].copy(), np.full((SETS, ALIVE), bits)
    seen = [(flips.sum(axis=2).T, np.full((MODELS, SETS), bits))]
    every = np.arange(SETS)
    for _ in range(rounds):
        order = np.argsort(alive.sum(axis=2), axis=1, kind="stable")
        best = order[:, : ALIVE // 2] if greedy else order
        one, two = (best[every, rng.integers(0, best.shape[1], SETS)] for _ in range(2))
        mask = _MASKS[rng.integers(0, len(_MASKS), SETS)]
        child = np.where(mask, alive[every, one], alive[every, two])
        # '1', a mask, and the two words, of which each ends where it ends.
        word = 1 + MASK_BITS + length[every, one] + length[every, two]
        seen.append((child.sum(axis=1)[None], word[None]))
        worst = order[:, -1]
        better = child.sum(axis=1) < alive[every, worst].sum(axis=1)
        alive[every[better], worst[better]] = child[better]
        length[every[better], worst[better]] = word[better]
    return Seen(*(np.concatenate(part) for part in zip(*seen, strict=True)))


def overclaims(seen: Seen, alpha: np.ndarray) -> int:
    """On how many data sets any candidate's limit at its alpha is below the true mean rate."""
    wrong = np.zeros(seen.flips.shape, bool)
    for share in np.unique(alpha):
        bound = [
            adversary.mean_flip_limit(_spread(x), DRAWS, float(share)) for x in range(_MOST + 1)
        ]
        most = sum(limit < RATE for limit in bound)  # limits rise with the flips
        wrong |= (alpha == share) & (seen.flips < most)
    return int(wrong.any(axis=0).sum())


_MOST = int(INPUTS * DRAWS * RATE)


def _spread(total: int) -> np.ndarray:
    return np.bincount(np.arange(total) % INPUTS, minlength=INPUTS)


def share_of_words(seen: Seen) -> np.ndarray:
    """Each candidate's part of alpha; longer words than LONGEST count as that long."""
    return ALPHA * 2.0 ** -np.minimum(seen.length, LONGEST)


def rejected(errors: int) -> bool:
    """Whether so many errors show that their rate is above alpha."""
    return stats.binom.sf(errors - 1, SETS, ALPHA) < ERROR


@pytest.mark.slow
@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("greedy", [True, False])
def test_all_that_a_search_states_holds_together(rounds, greedy):
    seen = hill_climb(rounds, greedy, seed=1)
    assert len(seen.flips) == MODELS + rounds
    assert not rejected(overclaims(seen, share_of_words(seen)))


def test_the_longest_words_claim_nothing_false():
    """Without a flip the limit is above the rate, so it does not matter how long they are."""
    share = ALPHA * 2.0**-LONGEST
    assert adversary.mean_flip_limit(_spread(0), DRAWS, share) > RATE


def test_the_errors_of_all_words_are_at_most_alpha_together():
    # Kraft over words of depth 0 and 1: 64 models at 7 bits, 64 * 64 * 64 crossings at 21.
    assert MODELS * 2.0**-7 + MODELS**2 * 64 * 2.0 ** -(1 + MASK_BITS + 14) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("divided", [False, True])
def test_without_the_lengths_of_words_it_is_caught(divided):
    """At all of alpha, and at alpha divided by what was tried, which is no remedy either."""
    seen = hill_climb(2000, greedy=True, seed=2)
    share = ALPHA / len(seen.flips) if divided else ALPHA
    assert rejected(overclaims(seen, np.full(seen.flips.shape, share)))


def test_a_word_takes_its_part_of_the_candidates_alpha():
    screening = Screening(100, ALPHA, target=Target(0.5, 0.4))
    for bits in (0, 5, 14, 60, 900):
        one = with_word(screening, "0" * bits)
        assert one.alpha_cache == ALPHA / 2
        spent = one.alpha_curve + len(one.named) * one.alpha_radius
        assert spent == pytest.approx(ALPHA / 2 * 2.0**-bits)
        assert sum(dict(one.budget).values()) == pytest.approx(ALPHA)
