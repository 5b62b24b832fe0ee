"""The demo: from real images to certificates of compressed models, all computed in this run."""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from smoothcert.api.screen import screen
from smoothcert.certificate import Settings
from smoothcert.cli import console
from smoothcert.cli.commands.train import make_recipe, train_to_file
from smoothcert.cli.data_source import DataSource
from smoothcert.cli.resources import Device
from smoothcert.cli.screening_table import screen_table
from smoothcert.compress import compress
from smoothcert.data.inputs import Inputs
from smoothcert.errors import InvalidInput
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Exact, Irs, Sized
from smoothcert.methods.dataset import DatasetCertificate
from smoothcert.report.page import report
from smoothcert.report.tables import evaluations_for, filled, summarize_run
from smoothcert.runs.store import Run
from smoothcert.summary import Summary
from smoothcert.text import ceil_to, floor_to, percent

SIGMA = 0.5
ALPHA = 0.001
RADII = (0.25, 0.5, 0.75)
POLICY = "retain:0.9"  # of the original that is certified by plan
PER_IMAGE = 50  # evaluations per image for the dataset certificates
TARGETS = {"int8": "int8.onnx", "bf16": "bf16.pt2", "prune:0.2": "prune20.safetensors"}


@dataclass(frozen=True)
class Size:
    """How much the demo does, and where.

    Attributes:
        epochs: of training; 0 takes the weights that come with the package.
        images: of the test split, the first ones.
        n: estimation draws per image from scratch.
        per_input: evaluations per image of the published method; the default gets half.
        device: where classifiers run.
    """

    epochs: int
    images: int
    n: int
    per_input: int
    device: Device = field(default_factory=Device)


FULL = Size(epochs=40, images=200, n=10_000, per_input=1_000)
QUICK = Size(epochs=20, images=100, n=2_000, per_input=500)
# A ResNet-20 costs a hundred times what the digits' network does.
CIFAR = Size(epochs=0, images=50, n=1_000, per_input=250)
CIFAR_QUICK = Size(epochs=0, images=20, n=500, per_input=125)
CIFAR_MODEL = f"cifar_resnet20@pretrained-{SIGMA:.2f}"


@dataclass(frozen=True)
class Line:
    """One compressed model recertified in one way, and from scratch for comparison.

    Attributes:
        recertified: with part of the evaluations.
        from_scratch: the same model on all n draws, at the same total alpha.
        needed: evaluations that from scratch needs for the ACR that was recertified; None if
            its whole run does not reach it.
    """

    recertified: Summary
    from_scratch: Summary
    needed: float | None

    @property
    def saving(self) -> float | None:
        """Evaluations from scratch over those of the recertification, at the same ACR."""
        return None if self.needed is None else self.needed / self.recertified.evaluations


@dataclass(frozen=True)
class Result:
    """What the demo found.

    Attributes:
        original: certified with n draws for every image.
        lines: the models made from it.
        by_plan: the original with planned draws, and int8 recertified on it.
        screened: the models on the data set as a whole.
    """

    original: Summary
    lines: tuple[Line, ...]
    by_plan: tuple[Summary, Summary]
    screened: tuple[DatasetCertificate, ...]


def run_demo(data: str, out: Path, quick: bool, device: Device, as_json: bool) -> None:
    """Run every step into a new folder and print the table."""
    start, out = time.perf_counter(), _unused(out)
    small, large = (QUICK, FULL) if data == "digits" else (CIFAR_QUICK, CIFAR)
    size = replace(small if quick else large, device=device)
    test = DataSource(data, "test", None, size.images, 1)
    with console.waiting("Loading data"):
        inputs = test.load_and_describe()
    if size.epochs == 0 and inputs.shape != (3, 32, 32):
        raise InvalidInput(
            f"The demo runs on digits, or on CIFAR-10 with the weights that come with it; {data} "
            f"has inputs of shape {inputs.shape}. For other data use train, certify, compress "
            "and recertify."
        )
    model = _train(out, size) if size.epochs else CIFAR_MODEL
    original = _certify(model, test, inputs, size, ALPHA, out / "runs" / "original")
    lines = [
        line
        for target, file in TARGETS.items()
        for line in _candidate(model, target, file, original, test, inputs, size, out)
    ]
    by_plan = _by_plan(model, original, test, inputs, size, out)
    with console.waiting("Screening all models"):
        candidates = [device.load(str(out / "models" / file)) for file in TARGETS.values()]
        screened = screen(original.certification(), candidates, inputs, per_input=PER_IMAGE)
    runs = [original, *(Run.open(out / "runs" / Path(file).stem) for file in TARGETS.values())]
    with console.waiting("Writing the report"):
        report(runs, out / "report", RADII, screened, [inputs])
    result = Result(summarize_run(original, RADII), tuple(lines), by_plan, screened)
    _show(result, size, as_json, time.perf_counter() - start, out)


def _unused(out: Path) -> Path:
    """The folder, or the first of folder-2, folder-3, ... that is not there yet."""
    number, path = 1, out
    while path.exists():
        number += 1
        path = out.with_name(f"{out.name}-{number}")
    return path


def _train(out: Path, size: Size) -> str:
    """Train on the digits."""
    weights = out / "models" / "original.safetensors"
    source = DataSource("digits", "train", None, None, 1)
    recipe = make_recipe("quick", SIGMA, seed=0, epochs=size.epochs)
    train_to_file(source, recipe, weights, "cpu", False)
    return f"small_cnn@{weights}"


def _certify(
    model: str, test: DataSource, inputs: Inputs, size: Size, alpha: float, out: Path
) -> Run:
    settings = Settings(SIGMA, inputs.levels, n=size.n, alpha=alpha)
    origin = {"model": model, "data": test.to_json()}
    title = f"Certifying {out.name} ({len(inputs)} images, n = {size.n:,})"
    with console.bar(title, len(inputs) * (settings.n0 + settings.n)) as tick:
        options = RunOptions(progress=tick, origin=origin)
        return run_certify(out, size.device.load(model), inputs, settings, options)


def _candidate(
    model: str,
    target: str,
    file: str,
    original: Run,
    test: DataSource,
    inputs: Inputs,
    size: Size,
    out: Path,
) -> list[Line]:
    path = out / "models" / file
    with console.waiting(f"Compressing to {target}"):
        train = replace(test, split="train", limit=None).load()
        change = compress(model, target, path, inputs=train, sigma=SIGMA)
    console.say(f"Compressed: {change.describe()}")
    folder = out / "runs" / path.stem
    classifier = size.device.load(str(path))
    origin = {"model": str(path), "data": test.to_json()}
    alpha = 2 * ALPHA
    scratch = _certify(
        str(path), test, inputs, size, alpha, folder.with_name(f"{path.stem}-from-scratch")
    )
    votes = [record.votes for record in scratch.records(range(len(inputs)))]
    proven = sum(c.predicted >= 0 for c in original.certificates)
    half = proven * size.per_input // 2
    lines = []
    for place, method in (
        (folder.with_name(f"{path.stem}-irs"), Irs(size.per_input, alpha)),
        (folder, Exact(f"budget:{half}", alpha)),
    ):
        with console.bar(f"Recertifying {place.name}", proven * size.per_input) as tick:
            options = RunOptions(progress=tick, origin={**origin, "base": str(original.path)})
            run = run_recertify(place, original, classifier, inputs, method, options)
        found = summarize_run(run, RADII)
        settings = scratch.identity.settings
        each = evaluations_for(found.acr, votes, scratch.labels, settings, inputs.shape)
        needed = None if each is None else each * len(inputs)
        lines.append(Line(found, summarize_run(scratch, RADII), needed))
    return lines


def _by_plan(
    model: str, original: Run, test: DataSource, inputs: Inputs, size: Size, out: Path
) -> tuple[Summary, Summary]:
    """The original with draws by image, and int8 on it with as many evaluations as before."""
    settings = replace(original.identity.settings, form="auto", seed=1)  # draws of its own
    folder, int8 = out / "runs", out / "models" / TARGETS["int8"]
    origin = {"model": model, "data": test.to_json()}
    with console.waiting(f"Certifying the original by plan ({POLICY})"):
        place, options = folder / "original-by-plan", RunOptions(origin=origin)
        loaded = size.device.load(model)
        base = run_certify(place, loaded, inputs, settings, options, Sized(POLICY))
    spent = summarize_run(Run.open(folder / int8.stem), RADII).evaluations
    with console.waiting("Recertifying int8 on it"):
        options = RunOptions(origin={**origin, "model": str(int8), "base": str(base.path)})
        method = Exact(f"budget:{spent}", 2 * ALPHA, "auto")
        place = folder / f"{int8.stem}-by-plan"
        run = run_recertify(place, base, size.device.load(str(int8)), inputs, method, options)
    return summarize_run(base, RADII), summarize_run(run, RADII)


def _show(result: Result, size: Size, as_json: bool, seconds: float, out: Path) -> None:
    original, lines = result.original, result.lines
    if as_json:
        rows = [asdict(line) | {"saving": line.saving} for line in lines]
        whole = {"out": str(out), "seconds": round(seconds, 1), "original": asdict(original)}
        whole["by_plan"] = [asdict(one) for one in result.by_plan]
        screened = [c.to_json() for c in result.screened]
        console.show_json(whole | {"recertified": rows, "screened": screened})
        return
    heads = ["model", "ACR", *(f"CA@{r:g}" for r in RADII), "mean ζ ≤", "evaluations", "seconds"]
    heads += ["from scratch needs", "saving"]
    rows = [[*_cells(original), "", ""]]
    for line in lines:
        missed = line.needed is None or line.saving is None
        needs = f"over {line.from_scratch.evaluations:,}" if missed else f"{line.needed:,.0f}"
        rows.append([*_cells(line.recertified), needs, "" if missed else f"{line.saving:.2f}x"])
    rows += [[*_cells(one), "", ""] for one in result.by_plan]
    title = f"{original.inputs} images, σ = {SIGMA:g}: certificates of every image"
    console.show_table(*filled(heads, rows), title)
    console.show_table(
        *screen_table(result.screened, RADII),
        f"The same models, the data set as a whole: {PER_IMAGE} evaluations per image",
    )
    console.say(_saved(result))
    console.say(
        f"The original is certified from scratch (n = {size.n:,}, α = {ALPHA:g}). The others reuse "
        f"its votes at a total α = {2 * ALPHA:g} per image: cached and new draws together.\n"
        f"-irs: Ugare et al. (2024) with {size.per_input} evaluations each. The default is "
        "planned, with half of that in all.\n"
        "From scratch needs: the evaluations for the same ACR and α without reuse. It is read off "
        "a full run made for the comparison.\n"
        f"Everything took {seconds:.0f} s. Runs: {out / 'runs'}; "
        f"report: {out / 'report' / 'index.html'}"
    )


def _saved(result: Result) -> str:
    """What a plan for the original saves in all, and what is compared."""
    (base, int8), before = result.by_plan, result.lines[1].recertified
    whole, planned = (
        one.evaluations + two.evaluations for one, two in ((result.original, before), (base, int8))
    )
    return (
        f"By plan: certify --form auto --policy {POLICY}. The original and int8 together take "
        f"{planned:,} evaluations instead of {whole:,} ({whole / planned:.1f} times fewer). "
        f"int8's ACR is {floor_to(int8.acr, 4)} instead of {floor_to(before.acr, 4)}. Draws go "
        "where they count, and the runner-up bounds the other classes where that proves more."
    )


def _cells(s: Summary) -> list[str]:
    accuracy = [percent(share, s.inputs) for _, share in s.accuracy]
    zeta = "" if s.zeta is None else ceil_to(s.zeta, 4)
    return [s.name, floor_to(s.acr, 4), *accuracy, zeta, f"{s.evaluations:,}", f"{s.seconds:.1f}"]
