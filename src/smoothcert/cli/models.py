"""train, compress and predict: the commands about one model."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.api.predict import predict as predict_item
from smoothcert.classifiers.reference import ModelReference
from smoothcert.cli import display, hints
from smoothcert.cli.machines import Device
from smoothcert.cli.sources import DataSource
from smoothcert.compress import compress as write_compressed
from smoothcert.compress.written import written_whole
from smoothcert.data.images import decode
from smoothcert.data.inputs import Inputs, Item
from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.files import make_folder, require_new_file, similar
from smoothcert.noise.law import RoundedGaussian
from smoothcert.text import level

if TYPE_CHECKING:
    from smoothcert.training.recipe import Recipe


def recipe(
    name: str,
    sigma: float,
    seed: int,
    *,
    architecture: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    consistency: float | None = None,
) -> "Recipe":
    """A recipe by name, with what is given in the place of its own."""
    try:
        from smoothcert.training import recipe as recipes
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "torch") from error
    return recipes.recipe(
        name,
        sigma,
        architecture=architecture,
        epochs=epochs,
        batch=batch,
        rate=rate,
        consistency=consistency,
        seed=seed,
    )


def train(
    source: DataSource,
    recipe: "Recipe",
    out: Path,
    device: str,
    as_json: bool,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train and write weights."""
    from smoothcert.classifiers.pytorch import save_weights
    from smoothcert.training.checkpoint import Checkpoint
    from smoothcert.training.gaussian import accuracy
    from smoothcert.training.gaussian import train as fit

    if out.suffix != ".safetensors":
        raise InvalidInput(f"Weights are written as .safetensors; got {out.name!r}")
    require_new_file(out, overwrite or (resume and out.with_suffix(".checkpoint").exists()))
    with display.waiting("Loading data"):
        inputs = source.told()
        make_folder(out.parent)
        checkpoint = Checkpoint(out.with_suffix(".checkpoint"), recipe, inputs.fingerprint)
    if not resume:
        checkpoint.clear()
    loss = float("nan")
    with display.bar("Training (images)", recipe.epochs * len(inputs)) as tick:

        def progress(epoch: int, mean: float) -> None:
            nonlocal loss
            loss = mean
            tick(len(inputs))
            told = recipe.epochs <= 20 or epoch % (recipe.epochs // 10) == 0
            if told and not display.is_live(display.errors):
                display.say(f"Epoch {epoch} of {recipe.epochs}: loss {mean:.4f}")

        network = fit(recipe, inputs, device, progress, checkpoint)
    with display.waiting("Measuring accuracy"):
        held_out = replace(source, split="test").load() if source.split == "train" else inputs
        found = {s: accuracy(network, held_out, s) for s in (0.0, recipe.sigma)}
    # Weights travel: the data's own name, not where it lay on this machine.
    facts = {"sigma": recipe.sigma, "data": Path(source.data).name, "recipe": asdict(recipe)}
    facts["accuracy"] = {
        "clean": found[0.0],
        "noisy": found[recipe.sigma],
        "inputs": len(held_out),
        "split": "test" if source.split == "train" else source.split,
    }
    with written_whole(out, overwrite=True) as aside:
        save_weights(network, recipe.architecture, aside, **facts)
    checkpoint.remove()
    model = f"{recipe.architecture}@{out}"
    if as_json:
        display.show_json({"weights": str(out), "model": model, "loss": loss} | facts)
        return
    display.say(
        f"Trained {recipe.architecture} on {len(inputs)} images (loss {loss:.3f}; accuracy on "
        f"{len(held_out)} {'test' if source.split == 'train' else 'of these'} images "
        f"{found[0.0]:.1%} clean, {found[recipe.sigma]:.1%} under noise): {model}"
    )


def compress(
    model: str,
    target: str,
    out: Path,
    source: DataSource | None,
    test_split: str,
    sigma: float | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write an approximation, say what changed, and what that cost in accuracy."""
    require_new_file(out, overwrite)
    with display.waiting(f"Compressing to {target}") as tell:

        def progress(epoch: int, mean: float) -> None:
            show = tell if display.is_live(display.errors) else display.say
            show(f"Epoch {epoch}: loss {mean:.4f}")

        inputs = source.told() if source else None
        held_out, reason = None, "it takes --data and --sigma"
        if source and inputs and sigma:
            held_out, reason = _held_out(source, test_split, inputs)
        change = write_compressed(
            *(model, target, out),
            inputs=inputs,
            sigma=sigma,
            seed=seed,
            held_out=held_out,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        facts = asdict(change) | {"path": str(out), "nothing_changed": change.nothing_changed}
        display.show_json(facts | {"accuracy_not_measured": reason or None})
    else:
        lacking = f"; accuracy not measured: {reason}" if reason else ""
        output = ModelReference.parse(model).output if out.suffix == ".onnx" else ""
        written = f"{out}#{output}" if output else str(out)
        display.say(f"{change.describe().rstrip('.')}{lacking}. Written to {written}")


def _held_out(source: DataSource, split: str, inputs: Inputs) -> tuple[Inputs | None, str]:
    """The labelled inputs of another split, or None and why there are none but these."""
    if split == source.split:
        return None, f"the split {split!r} was used to make it; name another with --test-split"
    try:
        found = replace(source, split=split).load()
    except InvalidInput:
        return None, f"{source.data} has no split {split!r} that can be read; see --test-split"
    # A single file has no splits, and gives the same inputs whatever the split is called.
    same = len(found) == len(inputs) and found.item(0).content == inputs.item(0).content
    if same:
        return None, f"{source.data} has only these inputs, which were used to make it"
    return (None, f"the split {split!r} has no labels") if found.labels is None else (found, "")


def predict(
    model: str,
    image: Path,
    device: Device,
    as_json: bool,
    *,
    size: int | None,
    channels: int | None,
    sigma: float,
    n: int,
    alpha: float,
    seed: int,
    batch_size: int | None,
) -> None:
    """Predict one image's class, at a size and with channels as `decode` takes them."""
    if image.is_dir():
        raise InvalidInput(f"{image} is a folder, and predict takes one image. Name a file in it.")
    if not image.exists():
        raise InvalidInput(f"There is no image {image}{similar(image)}")
    noise = RoundedGaussian(sigma, 1 / 255)
    hints.of_sigma(sigma)
    hints.of_alpha(alpha)
    classifier = device.load(model)
    item = Item(0, decode(image, channels, size).astype("int32"))
    found = predict_item(
        classifier, item, noise, n=n, alpha=alpha, seed=seed, batch_size=batch_size
    )
    if as_json:
        display.show_json(asdict(found))
        return
    votes = (
        f"{found.top_votes} of {found.draws} draws, class {found.second} got {found.second_votes}"
    )
    if found.predicted < 0:
        more = "more draws with another seed (--n, --seed) may decide"
        print(f"abstain: class {found.top} got {votes}; {more}")
    else:
        wrong = f"wrong with probability at most {level(alpha)} (docs/theory.md, section 4)"
        print(f"class {found.predicted}: {votes}; {wrong}")
