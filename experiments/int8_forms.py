"""Forms of int8, and what a processor that clips sums makes of each: for docs/processors.md.

python experiments/int8_forms.py DATA --out FOLDER

DATA is a folder with CIFAR-10 (JPEG), as `load_inputs` reads it. Every form is `compress --to int8`
with some of ONNX Runtime's settings changed. Rows are kept in FOLDER. The processor without VNNI is
emulated (processors.py), on the first draws, so the one that runs this must have VNNI or AMX.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from cached_rows import cached
from markdown import percent, put, table
from networks import file_name
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType
from processors import Emulated, session_options

import smoothcert
from smoothcert.classifiers.integer_products import can_saturate, saturates
from smoothcert.classifiers.pytorch import save_weights
from smoothcert.compress import compress, int8
from smoothcert.training.gaussian import train
from smoothcert.training.recipe import Recipe

PAGE = Path(__file__).parents[1] / "docs" / "processors.md"
MARK = "table by experiments/int8_forms.py"
HEADS = [
    *("weights", "network", "labels differ from float32 %", "between processors %"),
    *("can clip", "evaluations/s per core"),
]
FULL: dict[str, Any] = {"extra_options": {}}
FORMS: dict[str, dict[str, Any]] = {
    "`int8`": {},
    "7 bits": FULL | {"reduce_range": True},
    "8 bits": FULL,
    "8 bits, x64quantprecision": FULL,
    "uint8": {"weight_type": QuantType.QUInt8, "extra_options": {"WeightSymmetric": True}},
    "8 bits, int8 activations": FULL | {"activation_type": QuantType.QInt8},
}
IMAGES, SEED, BATCH, ENOUGH = 100, 0, 256, 20


@dataclass(frozen=True)
class Network:
    """A network, its data and noise, and how many draws of each image are labelled and emulated."""

    name: str
    reference: str
    data: str
    sigma: float
    draws: int
    emulated: int

    @cached_property
    def pixels(self) -> NDArray[np.float64]:
        """The first test images, in [0, 1]."""
        inputs = smoothcert.load_inputs(self.data, "test", limit=IMAGES)
        return np.stack([item.pixels for item in inputs]) / (inputs.levels - 1)

    def noisy(self, draws: int) -> Iterator[NDArray[np.float32]]:
        """A noisy copy of every image, so many times."""
        rng = np.random.default_rng(SEED)
        for _ in range(draws):
            noise = rng.normal(0, self.sigma, self.pixels.shape)
            yield (self.pixels + noise).astype(np.float32)

    def made(self, form: str, file: Path) -> Path:
        """The network as ONNX, in a form of int8 or, without one, in float32."""
        training = smoothcert.load_inputs(self.data, "train", limit=1000)
        plain = int8.quantize_static
        changed = FORMS.get(form, {})
        int8.quantize_static = lambda *a, **k: plain(*a, **(k | changed))
        try:
            compress(
                *(self.reference, "int8" if form else "onnx", file),
                inputs=training,
                sigma=self.sigma,
                overwrite=True,
            )
        finally:
            int8.quantize_static = plain
        return file

    def row(self, form: str, folder: Path) -> dict[str, Any]:
        """All figures of a form."""
        precise = "x64quantprecision" in form
        path = self.made(form, folder / "model.onnx")
        here = labels(path, precise)
        real = labels(self.made("", folder / "float.onnx"), precise=False)
        other = Emulated(path, saturating=True, precise=precise)
        return {
            "differ": share(here, real, self.noisy(self.draws)),
            "between": share(
                here, lambda x: other.logits(x).argmax(axis=1), self.noisy(self.emulated)
            ),
            "can": can_saturate(path) and not precise,
            "speed": speed(here, next(self.noisy(1))),
        }


def labels(path: Path, precise: bool) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """A function from images to classes, on one core."""
    options = session_options(precise)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.float32]) -> NDArray[np.int64]:
        logits: Any = session.run(None, {name: images})[0]
        return logits.argmax(axis=1)

    return run


def share(one: Callable, two: Callable, batches: Iterator[NDArray[np.float32]]) -> float:
    """How often two classifiers differ."""
    return float(np.mean([one(batch) != two(batch) for batch in batches]))


def speed(run: Callable, images: NDArray[np.float32]) -> float:
    """Evaluations per second by the processor time of the median batch."""
    batch, seconds = np.resize(images, (BATCH, *images.shape[1:])), []
    run(batch)
    for _ in range(ENOUGH):
        start = time.process_time()
        run(batch)
        seconds.append(time.process_time() - start)
    return BATCH / float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder with CIFAR-10 (JPEG)")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and rows")
    parser.add_argument("--page", type=Path, default=PAGE, help="file with the marked block")
    given = parser.parse_args()
    assert not saturates(), "this processor clips sums, and would be compared with itself"
    given.out.mkdir(parents=True, exist_ok=True)
    digits = given.out / "digits.safetensors"
    if not digits.exists():
        recipe = Recipe("small_cnn", 0.25, epochs=40)
        save_weights(train(recipe, smoothcert.load_inputs("digits", "train")), "small_cnn", digits)
    lines = []
    for network in (
        Network("digits", f"small_cnn@{digits}", "digits", 0.25, 1000, 200),
        Network("ResNet-20", "cifar_resnet20@pretrained-0.50", given.data, 0.5, 200, 50),
    ):
        for form in FORMS:
            folder = given.out / file_name(f"{network.name}-{form}")
            folder.mkdir(exist_ok=True)
            sizes = {"draws": network.draws, "emulated": network.emulated, "form": form}
            row = cached(
                *(folder / "row.json", sizes, f"{network.name}, {form}"),
                lambda: network.row(form, folder),  # noqa: B023 - called at once
            )
            figures = [percent(row[key], 2) for key in ("differ", "between")]
            figures += ["yes" if row["can"] else "no", f"{row['speed']:,.0f}"]
            lines.append([form, network.name, *figures])
    put(given.page, MARK, f"\n{table(HEADS, lines)}\n")


if __name__ == "__main__":
    main()
