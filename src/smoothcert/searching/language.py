"""The candidates of a search, and the prefix code whose lengths divide alpha among them.

The code is fixed before any counted draw is evaluated, by the names of the model's layers and their
order. Candidate j has the error alpha * 2^-length(j), and no word is the beginning of another, so
these errors are at most alpha together (Kraft). Whatever a search does by what it sees, all that it
states holds together (docs/theory.md, section 14).
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from math import comb

from smoothcert.errors import InvalidInput
from smoothcert.methods.screening import Screening

FORMATS = (
    *("onnx", "bf16-weights", "fp16-weights", "fp8-weights"),
    *("int8-weights", "int7-weights", "int6-weights", "int5-weights"),
    *("int4-weights", "int3-weights", "int4-weights:64", "int4-weights:32"),
    *("int4-weights:16", "int3-weights:32", "int8"),
)
"""One format for all layers, in 4 bits; `onnx` is float32, `int8` also computes in 8 bits."""

LEVELS = ("fp32", "bf16", "int8", "int4")
"""What a layer's weights may be where layers differ, in 2 bits."""

SHRINKS = ("prune", "lowrank", "prune-channels")
"""What comes before a format, in 2 bits; nothing is the fourth."""

FRACTIONS = (*(k / 20 for k in range(1, 15)), 0.75, 0.8)
"""Of weights, ranks or channels, in 4 bits."""

EPOCHS = (1, 2, 4, 8)
"""Of fine-tuning after a shrink, in 2 bits."""


@dataclass(frozen=True)
class Candidate:
    """A compression of the model.

    Attributes:
        formats: one of `FORMATS`; or one of `LEVELS` for each layer, in the language's order.
        shrink: what comes before it, one of `SHRINKS`; empty for nothing.
        fraction: its argument, one of `FRACTIONS`; 0 without it.
        epochs: of fine-tuning after it, one of `EPOCHS`, or 0.
        kept: in the format `int8`, how many of the most sensitive layers stay float32.
    """

    formats: str | tuple[str, ...]
    shrink: str = ""
    fraction: float = 0.0
    epochs: int = 0
    kept: int = 0

    def target(self, layers: tuple[str, ...]) -> str:
        """What `compress` is asked for, with the layers of the language."""
        steps = [f"{self.shrink}:{self.fraction:g}"] if self.shrink else []
        steps += [f"finetune:{self.epochs}"] if self.epochs else []
        if self.shrink and self.formats != "onnx":
            steps.append("onnx")  # a shrunk network is a torch one; formats are of ONNX files
        if isinstance(self.formats, str):
            rest = ",".join(f"{layer}=fp32" for layer in layers[: self.kept])
            return "+".join([*steps, f"{self.formats}:{rest}" if rest else self.formats])
        if set(self.formats) == {"fp32"}:
            return "onnx"
        usual = max(LEVELS[1:], key=self.formats.count)
        levels = zip(layers, self.formats, strict=True)
        rest = ",".join(f"{layer}={level}" for layer, level in levels if level != usual)
        return f"{usual}-weights:{rest}" if rest else f"{usual}-weights"

    @property
    def title(self) -> str:
        """For tables: `14 int8, 8 int4` counts levels; of falling ones the sensitive come first."""
        if isinstance(self.formats, str):
            kept = f", {self.kept} fp32" if self.kept else ""
            return f"{self.target(()).replace('+onnx+', '+')}{kept}"
        counts = {level: self.formats.count(level) for level in LEVELS}
        shown = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
        order = [LEVELS.index(level) for level in self.formats]
        return shown if order == sorted(order) else f"{shown} (mixed)"


@dataclass(frozen=True)
class Language:
    """What a search may try, as words of a prefix code.

    | word | candidate |
    |---|---|
    | `0`, 4 bits | one format for all layers |
    | `10`, a number | levels by layer that fall along the order |
    | `110`, 2 bits, 4 bits, 4 bits | a shrink, its fraction, a format |
    | `1110`, 2 bits, 2 bits, 4 bits, 4 bits | the same, fine-tuned in between: epochs come first |
    | `11110`, 2 bits for each layer | any levels |
    | `11111`, a number | `int8` with float32 for so many of the first layers |

    The number after `10` counts falling sequences. Numbers have as many bits as the largest takes.

    Attributes:
        layers: names, the most sensitive first, by draws that are never counted.
    """

    layers: tuple[str, ...]

    def word(self, candidate: Candidate) -> str:
        """The code word, the shortest if there are several.

        Raises:
            InvalidInput: the language has no such candidate.
        """
        try:
            return self._word(candidate)
        except ValueError:
            raise InvalidInput(
                f"{candidate} is not in the language of this search: no error is set aside for it."
            ) from None

    def _word(self, candidate: Candidate) -> str:
        formats = candidate.formats
        if not isinstance(formats, str):
            if candidate.shrink or len(formats) != len(self.layers):
                raise ValueError
            levels = [LEVELS.index(level) for level in formats]
            if levels == sorted(levels):
                return "10" + _bits(_rank(levels), self._falling_bits)
            return "11110" + "".join(_bits(level, 2) for level in levels)
        if candidate.kept:
            if formats != "int8" or candidate.shrink or not 0 < candidate.kept <= len(self.layers):
                raise ValueError
            return "11111" + _bits(candidate.kept - 1, self._kept_bits)
        last = _bits(FORMATS.index(formats), 4)
        if not candidate.shrink:
            if candidate.epochs or candidate.fraction:
                raise ValueError
            return "0" + last
        shrink = _bits(SHRINKS.index(candidate.shrink), 2)
        shrink += _bits(FRACTIONS.index(candidate.fraction), 4)
        if not candidate.epochs:
            return "110" + shrink + last
        return "1110" + _bits(EPOCHS.index(candidate.epochs), 2) + shrink + last

    def candidate(self, word: str) -> Candidate:
        """The candidate of a word.

        Raises:
            InvalidInput: not a word of this language.
        """
        try:
            found = self._candidate(word)
            if self._word(found) != word:
                raise ValueError
        except (ValueError, IndexError):
            raise InvalidInput(f"{word!r:.80} is no word of the language of this search.") from None
        return found

    def _candidate(self, word: str) -> Candidate:
        if word.startswith("0"):
            return Candidate(FORMATS[_number(word[1:], 4)])
        if word.startswith("10"):
            return Candidate(self._falling(_number(word[2:], self._falling_bits)))
        if word.startswith("11111"):
            return Candidate("int8", kept=1 + _number(word[5:], self._kept_bits))
        if word.startswith("11110"):
            pairs = [word[i : i + 2] for i in range(5, len(word), 2)]
            return Candidate(tuple(LEVELS[_number(pair, 2)] for pair in pairs))
        tuned = word.startswith("1110")
        rest, epochs = (word[6:], EPOCHS[_number(word[4:6], 2)]) if tuned else (word[3:], 0)
        shrink, fraction = SHRINKS[_number(rest[:2], 2)], FRACTIONS[_number(rest[2:6], 4)]
        return Candidate(FORMATS[_number(rest[6:], 4)], shrink, fraction, epochs)

    def falling(self, cuts: tuple[int, int, int]) -> Candidate:
        """The candidate whose levels end at these numbers of layers, all but the last level."""
        ends = (0, *cuts, len(self.layers))
        return Candidate(
            tuple(LEVELS[i] for i in range(len(LEVELS)) for _ in range(ends[i + 1] - ends[i]))
        )

    @property
    def _falling_bits(self) -> int:
        count = comb(len(self.layers) + len(LEVELS) - 1, len(LEVELS) - 1)
        return max(1, (count - 1).bit_length())

    @property
    def _kept_bits(self) -> int:
        return max(1, (len(self.layers) - 1).bit_length())

    def _falling(self, number: int) -> tuple[str, ...]:
        """The falling sequence of a number; inverse of `_rank`."""
        found, most = [], len(LEVELS) - 1
        for i in range(len(self.layers), 0, -1):
            level = next(v for v in range(most, -1, -1) if comb(v + i - 1, i) <= number)
            number -= comb(level + i - 1, i)
            found.append(level)
            most = level
        if number:
            raise ValueError
        return tuple(LEVELS[level] for level in reversed(found))


def with_word(screening: Screening, word: str) -> Screening:
    """The settings at which a word's candidate is proven: 2^-length of the candidates' part."""
    return replace(screening, candidates=2 ** len(word))


def file_of(word: str) -> str:
    """The name of a candidate's file; long words are hashed, as file systems limit names."""
    return f"{word if len(word) <= 128 else sha256(word.encode()).hexdigest()}.onnx"


def _rank(levels: list[int]) -> int:
    """The number of a sequence that does not fall as integers: a multiset, by its combinations."""
    return sum(comb(level + i, i + 1) for i, level in enumerate(levels))


def _bits(number: int, count: int) -> str:
    return f"{number:0{count}b}"


def _number(bits: str, count: int) -> int:
    if len(bits) != count or set(bits) - {"0", "1"}:
        raise ValueError
    return int(bits, 2)
