"""train: a network of the zoo with Gaussian augmentation, or any torch network further."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smoothcert import vocabulary
from smoothcert.cli import options

if TYPE_CHECKING:
    from torch.nn import Module

    from smoothcert.cli.data_source import DataSource
    from smoothcert.data.inputs import Inputs
    from smoothcert.training.recipe import Recipe


_Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A torch network to train further; without it one of the zoo is trained.",
        show_default=False,
    ),
]
_Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="quick (digits), short (CIFAR-10 on a CPU), cohen2019, or finetune.",
        show_default="finetune for a MODEL, else quick",
        autocompletion=options.complete(vocabulary.RECIPES),
    ),
]
_Architecture = Annotated[
    str | None,
    typer.Option(
        "--arch",
        help="small_cnn or cifar_resnet20 (also 8, 14, 32, 44, 56, 110).",
        autocompletion=options.complete(vocabulary.ARCHITECTURES),
    ),
]
_Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="plain, consistency, or macer (16 draws of noise per image and step), with "
        "settings as in macer,weight=4,draws=8.",
        show_default="the recipe's",
        autocompletion=options.complete(vocabulary.LOSSES),
    ),
]
_Augment = Annotated[
    bool | None,
    typer.Option(
        "--augment/--no-augment",
        help="Crop images at random and mirror half of them.",
        show_default="the recipe's; not for a MODEL",
    ),
]


def train(
    model: _Model = None,
    *,
    data: options.Data,
    sigma: options.Sigma,
    out: options.Out,
    overwrite: options.Overwrite = False,
    recipe: _Recipe = None,
    arch: _Architecture = None,
    split: options.Split = "train",
    grid: options.Grid = None,
    limit: options.Limit = None,
    every: options.Every = 1,
    size: options.Size = None,
    channels: options.Channels = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    loss: _Loss = None,
    consistency: Annotated[
        float | None,
        typer.Option(help="W for --loss consistency,weight=W; 0 for --loss plain."),
    ] = None,
    augment: _Augment = None,
    seed: options.Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint next to --out.")
    ] = False,
    device: options.DeviceName = "cpu",
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a network with Gaussian noise.

    One of the zoo from scratch, or a MODEL further. Of the zoo, .safetensors weights are written;
    of any other MODEL, a .pt2 program.
    """
    from smoothcert.cli.data_source import DataSource
    from smoothcert.errors import InvalidInput

    if model is not None and arch is not None:
        raise InvalidInput("--arch names a network of the zoo to train from scratch; MODEL has one")
    source = DataSource(data, split, grid, limit, every, size, channels)
    if consistency is not None and loss is not None:
        raise InvalidInput("--consistency is short for --loss consistency,weight=W: give one")
    if consistency is not None:
        loss = f"consistency,weight={consistency}" if consistency else "plain"
    given = {"epochs": epochs, "batch": batch, "rate": rate, "loss": loss}
    name = recipe or ("quick" if model is None else "finetune")
    chosen = make_recipe(name, sigma, architecture=arch, crop_and_flip=augment, seed=seed, **given)
    how = {"resume": resume, "overwrite": overwrite}
    train_to_file(source, chosen, out, device, json, model=model, **how)


def make_recipe(name: str, sigma: float, **changes: Any) -> "Recipe":
    """A recipe by name, with the given values in place of its own; see `training.recipe`."""
    from smoothcert.errors import MissingExtra

    try:
        from smoothcert.training.recipe import recipe
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "torch", "torch") from error
    return recipe(name, sigma, **changes)


def train_to_file(
    source: "DataSource",
    recipe: "Recipe",
    out: Path,
    device: str,
    as_json: bool,
    *,
    model: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train and write weights or, of a model that is not of the zoo, a program."""
    from smoothcert.cli import console
    from smoothcert.compress.trainee import Trainee
    from smoothcert.compress.written import written_whole
    from smoothcert.files import make_folder, require_new_file
    from smoothcert.training.checkpoint import Checkpoint
    from smoothcert.training.gaussian import train as fit

    trainee = Trainee(model, recipe.architecture)
    trainee.check_suffix(out)
    require_new_file(out, overwrite or (resume and out.with_suffix(".checkpoint").exists()))
    with console.waiting("Loading data"):
        inputs = source.load_and_describe()
        make_folder(out.parent)
        network = trainee.network(inputs)
        recipe = replace(recipe, architecture=trainee.architecture)
        belongs_to = inputs.fingerprint + trainee.fingerprint
        checkpoint = Checkpoint(out.with_suffix(".checkpoint"), recipe, belongs_to)
    if not resume:
        checkpoint.clear()
    loss = float("nan")
    with console.bar("Training (images)", recipe.epochs * len(inputs)) as tick:

        def progress(epoch: int, mean: float) -> None:
            nonlocal loss
            loss = mean
            tick(len(inputs))
            shown = recipe.epochs <= 20 or epoch % (recipe.epochs // 10) == 0
            if shown and not console.is_live(console.errors):
                console.say(f"Epoch {epoch} of {recipe.epochs}: loss {mean:.4f}")

        network = fit(recipe, inputs, device, progress, checkpoint, network=network)
    recorded = _measured(network, recipe, source, inputs)
    with written_whole(out, overwrite=True) as aside:
        trainee.save(network, inputs.shape, aside, recorded)
    checkpoint.remove()
    _show(source, trainee.name, recorded, loss, len(inputs), out, as_json)


def _measured(
    network: "Module", recipe: "Recipe", source: "DataSource", inputs: "Inputs"
) -> dict[str, Any]:
    """What the weights' file says of them: accuracy on the test split, if they are of another."""
    from smoothcert.cli import console
    from smoothcert.training.gaussian import accuracy

    split = "test" if source.split == "train" else source.split
    with console.waiting("Measuring accuracy"):
        held_out = replace(source, split=split).load() if split != source.split else inputs
        clean, noisy = (accuracy(network, held_out, s) for s in (0.0, recipe.sigma))
    found = {"clean": clean, "noisy": noisy, "inputs": len(held_out), "split": split}
    # Weights travel: the data's own name, not where it lay on this machine.
    name = Path(source.data).name
    return {"sigma": recipe.sigma, "data": name, "recipe": asdict(recipe), "accuracy": found}


def _show(
    source: "DataSource",
    name: str,
    recorded: dict[str, Any],
    loss: float,
    images: int,
    out: Path,
    as_json: bool,
) -> None:
    from smoothcert.cli import console

    found = recorded["accuracy"]
    model = str(out) if out.suffix == ".pt2" else f"{name}@{out}"
    if as_json:
        console.show_json({"weights": str(out), "model": model, "loss": loss} | recorded)
        return
    measured_on = "test" if source.split == "train" else "of these"
    console.say(
        f"Trained {name} on {images} images (loss {loss:.3f}; accuracy on "
        f"{found['inputs']} {measured_on} images "
        f"{found['clean']:.1%} clean, {found['noisy']:.1%} under noise): {model}"
    )
