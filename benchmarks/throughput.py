"""Certification against the bare forward pass, and against the loops people use now.

python benchmarks/throughput.py [--seconds 3] [--rounds 7] [--device cpu] [--network cifar_resnet20]
    [--mode eager] [--engine torch]

In one run, on the same network and device, in rounds that are interleaved so that a slow moment of
the machine meets all of them:

- limit: the forward pass alone on a resident batch, in the best arrangement found (all cores on one
  batch, or a batch on each core; several sizes): nothing that also makes noise can be faster;
- ours: `sampling.engine.sample`, n = 10,000 of one input after the other, in the layout and batch
  size that the search at the start of a long run takes;
- mixed: the same with 20 to 1,000 draws of an input, not contiguous (planned runs, screening);
- plain: a loop of 2019: torch, batch 1,000, `randn_like`, one input at a time, counts to the host;
- copied: the same with the noise made by the CPU and copied (on a CPU there is nothing to copy).

Ratios are medians over the rounds of ratios within a round. On an accelerator, `--engine onnx`
takes the network's ONNX twin for limit, ours and mixed (not yet run on a GPU).
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import smoothcert
from smoothcert import zoo
from smoothcert.classifiers.protocol import Classifier, HasMemoryLayouts
from smoothcert.classifiers.pytorch import TorchClassifier
from smoothcert.compress.compress import compress
from smoothcert.data.inputs import Inputs
from smoothcert.noise.law import RoundedGaussian, Stream
from smoothcert.sampling.batches import Request
from smoothcert.sampling.engine import sample
from smoothcert.sampling.tuning import BatchConfig, autotuned, first_size, layout_of
from smoothcert.vocabulary import ENGINES, MODES

SIGMA, LEVELS = 0.5, 255
NOISE = RoundedGaussian(SIGMA, 1 / LEVELS)
SIZES = {32: (16, 32, 64, 256), 224: (1, 4, 16)}

Timed = Callable[[float], float]
"""From seconds to spend to evaluations per second."""


def images(count: int, size: int) -> Inputs:
    """Random pictures: what is in them does not matter to the clock."""
    rng = np.random.default_rng(0)
    return Inputs.from_arrays(rng.integers(0, LEVELS + 1, (count, 3, size, size)) / LEVELS)


def repeated(call: Callable[[], object], rows: int, seconds: float) -> float:
    """Evaluations per second of calls of so many rows each."""
    call()
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        call()
        done += rows
    return done / spent


def bare(classifier, batch: np.ndarray, together: bool) -> Timed:
    """The forward pass alone: all cores on one batch, or a batch on each."""

    def timed(seconds: float) -> float:
        if together:
            return repeated(lambda: classifier.logits(batch), len(batch), seconds)
        with classifier.workers() as workers, ThreadPoolExecutor(len(workers)) as pool:
            parts = pool.map(
                lambda worker: repeated(lambda: worker.logits(batch), len(batch), seconds), workers
            )
            return sum(parts)

    return timed


def bare_on_device(classifier, batch: np.ndarray) -> Timed:
    """The forward pass alone on an accelerator, labels left there."""
    resident = torch.from_numpy(batch).to(classifier.device)

    def call() -> None:
        with torch.inference_mode():
            for _ in range(8):
                labels = classifier.tensor_logits(resident).argmax(1)
            labels.cpu()  # waits

    return lambda seconds: repeated(call, 8 * len(batch), seconds)


def limits(classifier, all_cores, inputs: Inputs, seconds: float) -> tuple[str, Timed]:
    """The fastest way to run the network; on an accelerator if there is nothing for all cores."""
    found = []
    sizes = SIZES[inputs.shape[-1]]
    if all_cores is None:
        largest = first_size(classifier, inputs.shape)
        sizes = (largest // 4, largest) if classifier.mode == "eager" else (largest,)
    for size in sizes:
        batch = np.random.default_rng(0).random((size, *inputs.shape), dtype=np.float32)
        ways = {}
        for layout in (
            classifier.layouts() if isinstance(classifier, HasMemoryLayouts) else [classifier]
        ):
            name = f"{layout_of(layout)} {size} rows"
            if all_cores is None:
                ways[f"resident, {name}"] = bare_on_device(layout, batch)
            else:
                ways[f"a batch on each core, {name}"] = bare(layout, batch, False)
        if all_cores is not None:
            ways[f"all cores on a batch, {size} rows"] = bare(all_cores, batch, True)
        found += [(way(seconds), name, way) for name, way in ways.items()]
    for speed, name, _ in found:
        print(f"    {name}: {speed:,.0f}", flush=True)
    _, name, way = max(found, key=lambda entry: entry[0])
    return name, way


def searched(classifier, inputs: Inputs) -> BatchConfig:
    """What a long run would take."""
    default = BatchConfig(classifier, first_size(classifier, inputs.shape))
    return autotuned(default, inputs.item(0), NOISE, 10**9)


def ours(arrangement: BatchConfig, inputs: Inputs, budgets: Callable[[], np.ndarray]) -> Timed:
    """The engine, one input after the other, until the time is over."""
    classifier, size = arrangement.classifier, arrangement.batch_size

    def timed(seconds: float) -> float:
        done, start = 0, time.perf_counter()

        def requests() -> Iterator[Request]:
            nonlocal done
            while True:
                for item in inputs:
                    draws = budgets()
                    for first in range(0, len(draws), size):  # so that it can stop in time
                        if time.perf_counter() - start > seconds:
                            return
                        part = draws[first : first + size]
                        done += len(part)
                        yield Request(item, Stream.ESTIMATION, part)

        for _ in sample(classifier, requests(), NOISE, 0, size):
            pass
        return done / (time.perf_counter() - start)

    return timed


def plain(module: torch.nn.Module, inputs: Inputs, device: str, batch: int, copied: bool) -> Timed:
    """The loop of 2019."""
    module = module.to(device)

    def timed(seconds: float) -> float:
        done, start, counts = 0, time.perf_counter(), np.zeros(10_000, dtype=int)
        with torch.inference_mode():
            while True:
                for item in inputs:
                    pixels = item.pixels.astype(np.float32) / LEVELS
                    x = torch.from_numpy(pixels).to(device)
                    for _ in range(-(-10_000 // batch)):
                        rows = x.repeat((batch, 1, 1, 1))
                        if copied:
                            noise = torch.randn(rows.shape).to(device) * SIGMA
                        else:
                            noise = torch.randn_like(rows) * SIGMA
                        for label in module(rows + noise).argmax(1).cpu().numpy():
                            counts[label] += 1
                        done += batch
                        if (spent := time.perf_counter() - start) > seconds:
                            return done / spent

    return timed


def mixed_budgets() -> Callable[[], np.ndarray]:
    """Draws of a planned run: 20 to 1,000 of an input, scattered over 100,000."""
    rng = np.random.default_rng(0)
    return lambda: np.sort(rng.choice(100_000, round(20 * 50 ** rng.random()), replace=False))


def compare(name: str, ways: dict[str, Timed], rounds: int, seconds: float) -> dict[str, float]:
    """Rounds of all ways; speeds and ratios to the limit, and ours to the plain loops."""
    speeds = {way: [] for way in ways}
    for _ in range(rounds):
        for way, timed in ways.items():
            speeds[way].append(timed(seconds))
    medians = {way: float(np.median(values)) for way, values in speeds.items()}
    limit = np.array(speeds["limit"])
    print(f"  {name}: medians of {rounds} rounds of {seconds:g} s, evaluations/s")
    for way, values in speeds.items():
        ratio = np.median(np.array(values) / limit)
        print(f"    {way}: {medians[way]:,.0f}, {ratio:.3f} of the limit", flush=True)
    for slow in ("plain", "copied"):
        if slow in speeds:
            ratio = np.median(np.array(speeds["ours"]) / np.array(speeds[slow]))
            print(f"    ours / {slow}: {ratio:.2f}", flush=True)
    return medians


def write_onnx(module: torch.nn.Module, inputs: Inputs, folder: Path) -> Path:
    """The network as f.onnx, for batches of any size."""
    program = torch.export.export(
        module.eval(),
        (torch.zeros(2, *inputs.shape),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, folder / "f.pt2")
    compress(str(folder / "f.pt2"), "onnx", folder / "f.onnx", inputs=inputs)
    return folder / "f.onnx"


def loaded(
    module: torch.nn.Module, inputs: Inputs, device: str, mode: str, engine: str
) -> Classifier:
    """The network on an accelerator, by torch or by ONNX Runtime."""
    if engine == "torch":
        return TorchClassifier.of(module, "torch", device).in_mode(mode)
    with tempfile.TemporaryDirectory() as folder:
        model = write_onnx(module, inputs, Path(folder))
        return smoothcert.load_classifier(model, device=device, mode=mode)


def on_cpu(module: torch.nn.Module, inputs: Inputs, seconds: float, rounds: int) -> None:
    """torch, its ONNX twin and int8, each against its own limit and against the plain loop."""
    import onnxruntime

    original = TorchClassifier.of(module, "torch")
    loop = plain(module, inputs, "cpu", 1000 if inputs.shape[-1] < 64 else 32, False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_onnx(module, inputs, folder)
        compress(str(folder / "f.onnx"), "int8", folder / "int8.onnx", inputs=inputs, sigma=SIGMA)
        for name in ("torch", "f.onnx", "int8.onnx"):
            classifier = original
            together = original
            if name != "torch":
                classifier = smoothcert.load_classifier(folder / name)
                options = onnxruntime.SessionOptions()
                options.log_severity_level = 3
                session = onnxruntime.InferenceSession(
                    str(folder / name), options, providers=["CPUExecutionProvider"]
                )
                together = replace(classifier, session=session)
            print(f"{name}")
            way, limit = limits(classifier, together, inputs, seconds)
            best = searched(classifier, inputs)
            uniform = ours(best, inputs, lambda: np.arange(10_000))
            mixed = ours(best, inputs, mixed_budgets())
            print(f"  limit: {way}; ours: {layout_of(best.classifier)} {best.batch_size} rows")
            ways = {"limit": limit, "ours": uniform, "mixed": mixed, "plain": loop}
            compare(name, ways, rounds, seconds)


def on_device(
    module: torch.nn.Module, classifier: Classifier, inputs: Inputs, seconds: float, rounds: int
) -> None:
    """The same on an accelerator. The plain loops have torch's own settings: there, convolutions
    multiply in TensorFloat-32, which our `eager` does not and our `fast` does."""
    device = classifier.device
    start = time.perf_counter()
    way, limit = limits(classifier, None, inputs, seconds)
    best = searched(classifier, inputs)
    print(f"  limit: {way}; ours: {layout_of(best.classifier)} {best.batch_size} rows")
    print(f"  found in {time.perf_counter() - start:.0f} s, all that is compiled included")
    batch = 1000 if inputs.shape[-1] < 64 else 400
    ways = {
        "limit": limit,
        "ours": ours(best, inputs, lambda: np.arange(10_000)),
        "mixed": ours(best, inputs, mixed_budgets()),
        "plain": plain(module, inputs, device, batch, False),
        "copied": plain(module, inputs, device, batch, True),
    }
    compare(f"{device}, {classifier.name}", ways, rounds, seconds)


def main() -> None:
    """Parse, build, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--network", default="cifar_resnet20", help="of the zoo, or resnet50: its shape, 224 x 224"
    )
    parser.add_argument("--mode", default="eager", choices=MODES, help="on an accelerator")
    parser.add_argument(
        "--tiny", action="store_true", help="rehearse what runs on an accelerator, on a CPU"
    )
    parser.add_argument("--engine", default="torch", choices=ENGINES, help="on an accelerator")
    chosen = parser.parse_args()
    if chosen.tiny:
        network, inputs = zoo.build("cifar_resnet8", 3, 10).eval(), images(2, 32)
        on_device(network, TorchClassifier.of(network, "torch"), inputs, 0.05, 1)
        return
    torch.manual_seed(0)
    if chosen.network == "resnet50":
        from transformers import ResNetConfig, ResNetForImageClassification

        class Logits(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = ResNetForImageClassification(ResNetConfig(num_labels=1000))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.net(x).logits

        module, inputs = Logits().eval(), images(64, 224)
    else:
        module, inputs = zoo.build(chosen.network, 3, 10).eval(), images(64, 32)
    print(f"{chosen.network}, {chosen.device}, {torch.get_num_threads()} threads")
    if chosen.device == "cpu":
        on_cpu(module, inputs, chosen.seconds, chosen.rounds)
    else:
        classifier = loaded(module, inputs, chosen.device, chosen.mode, chosen.engine)
        on_device(module, classifier, inputs, chosen.seconds, chosen.rounds)


if __name__ == "__main__":
    main()
