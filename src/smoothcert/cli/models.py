"""train, compress and predict: the commands about one model."""

from dataclasses import asdict
from pathlib import Path

from smoothcert.classifiers.loading import load_classifier
from smoothcert.cli import display
from smoothcert.cli.sources import DataSource
from smoothcert.compress import compress as write_compressed
from smoothcert.errors import InvalidInput, MissingExtra
from smoothcert.sampling.datasets import decode
from smoothcert.sampling.inputs import Item
from smoothcert.sampling.noise import RoundedGaussian
from smoothcert.verbs.predict import predict as predict_item


def train(
    source: DataSource,
    arch: str,
    sigma: float,
    out: Path,
    schedule: tuple[int, int, float, int],
    device: str,
    as_json: bool,
) -> None:
    """Train and write weights."""
    try:
        from smoothcert.classifiers.pytorch import save_weights
        from smoothcert.training.gaussian import Recipe
        from smoothcert.training.gaussian import train as fit
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "torch") from error
    if out.suffix != ".safetensors":
        raise InvalidInput(f"Weights are written as .safetensors; got {out.name!r}")
    epochs, batch, rate, seed = schedule
    recipe = Recipe(arch, sigma, epochs, batch, rate, seed)
    with display.waiting("Loading data"):
        inputs = source.load()
    loss = 0.0
    with display.bar("Training (images)", epochs * len(inputs)) as tick:

        def progress(_epoch: int, mean: float) -> None:
            nonlocal loss
            loss = mean
            tick(len(inputs))

        network = fit(recipe, inputs, device, progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(network, arch, out, sigma=sigma, data=source.data, recipe=asdict(recipe))
    if as_json:
        display.show_json({"weights": str(out), "model": f"{arch}@{out}", "loss": loss})
    else:
        display.say(f"Trained {arch} on {len(inputs)} images (loss {loss:.3f}): {arch}@{out}")


def compress(
    model: str,
    target: str,
    out: Path,
    source: DataSource | None,
    sigma: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Write an approximation and say what changed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with display.waiting(f"Compressing to {target}"):
        inputs = source.load() if source else None
        change = write_compressed(model, target, out, inputs=inputs, sigma=sigma, seed=seed)
    if as_json:
        facts = asdict(change) | {"path": str(out), "nothing_changed": change.nothing_changed}
        display.show_json(facts)
    else:
        display.say(f"{change.describe().rstrip('.')}. Written to {out}")


def predict(
    model: str,
    image: Path,
    sigma: float,
    n: int,
    alpha: float,
    seed: int,
    device: str,
    batch_size: int | None,
    as_json: bool,
) -> None:
    """Predict one image's class."""
    if not image.is_file():
        raise InvalidInput(f"There is no image {image}")
    noise = RoundedGaussian(sigma, 1 / 255)
    classifier = load_classifier(model, device)
    item = Item(0, decode(image).astype("int32"))
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
        print(f"abstain: class {found.top} got {votes}; more draws (--n) may decide")
    else:
        print(f"class {found.predicted}: {votes}; wrong with probability at most {alpha:g}")
