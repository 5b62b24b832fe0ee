"""From a reference (a file, an architecture, a hub's name, a factory, a module) to a classifier."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from smoothcert import zoo
from smoothcert.classifiers import from_function
from smoothcert.classifiers.denoising import Denoising
from smoothcert.classifiers.factories import Factory, likely, refuse_others, refuse_random
from smoothcert.classifiers.fitting import adapting
from smoothcert.classifiers.from_function import FunctionClassifier
from smoothcert.classifiers.preprocessing_files import denoiser_in, given
from smoothcert.classifiers.protocol import Classifier, ThreadReplicable
from smoothcert.classifiers.quiet import quiet
from smoothcert.classifiers.recognized import named_for
from smoothcert.classifiers.reference import ModelReference
from smoothcert.errors import InvalidInput, MissingExtra, ModelError
from smoothcert.files import require_regular, similar
from smoothcert.vocabulary import CHECKPOINTS, HUBS, MODEL_FORMATS, MODEL_FORMS, MODES

if TYPE_CHECKING:
    import torch

    from smoothcert.classifiers.pytorch import TorchClassifier


def load_classifier(
    model: "str | Path | torch.nn.Module | Classifier",
    device: str = "cpu",
    threads: int | None = None,
    mode: str = MODES[0],
) -> Classifier:
    """Make a classifier of a model.

    Args:
        model: `x.onnx`, or `x.onnx#logits` to name the output; `x.pt2` (torch.export);
            `arch@weights.safetensors` or `arch@checkpoint.pth`, read as weights only, with
            `arch+WORD` for what normalizes before it (`zoo.names.NORMALIZATIONS`) and `#ENTRY`
            for one of several networks in the file; the file alone if it records its
            architecture; `arch@pretrained-NAME`, weights that come with this package; `timm:NAME`,
            `torchvision:NAME` (with `@weights.safetensors` for weights other than the published)
            or `hf:org/name` and `hf:/folder`, whose published normalization is put inside;
            `package.module:factory`, a function that returns a module or a classifier, the same in
            every call, called with the arguments in `package.module:factory,width=24`, or a module
            itself; `package.module:Class@weights.pth`, the same with the weights of a file; a
            `torch.nn.Module`; or an object that already is a `Classifier`. `MODEL+preprocess.json`
            puts what the file says in front of a torch model or of a `from_function` (see
            `preprocessing_files.given`).
        device: `cpu`, or for torch and ONNX models also `cuda`, `cuda:1`, ...
        threads: batches computed at once on the CPU, each on one core; one per core by default.
            It does not change any logit.
        mode: the arithmetic of a torch model: `eager`, strict float32; `compiled`, strict float32
            by torch.compile; `fast`, compiled, and on CUDA with TensorFloat-32 and convolution
            algorithms found by trial. An ONNX model on CUDA is `eager`, `fast` likewise, or
            `tensorrt`. It is part of the fingerprint, and of a reference that begins with it:
            `compiled:arch@weights.safetensors`.

    Returns:
        A classifier; a `Classifier` is returned unchanged unless threads are given.

    Raises:
        InvalidInput: threads below 1, or no such mode.
        ModelError: the file is missing, damaged, in another format, or would run code when
            loaded.
        MissingExtra: the model needs a package that is not installed.
    """
    if threads is not None and threads < 1:
        raise InvalidInput(f"threads must be at least 1; got {threads}")
    loaded = _in_mode(_loaded(model, device), mode)
    if threads is not None and isinstance(loaded, ThreadReplicable):
        return replace(loaded, threads=threads)  # type: ignore[type-var]
    return loaded


def _loaded(model: "str | Path | torch.nn.Module | Classifier", device: str) -> Classifier:
    if isinstance(model, str | Path):
        reference = ModelReference.parse(str(model))
        _require_preprocessable(reference)
        loaded = _from_reference(reference, device)
        if reference.preprocessing:
            loaded = _preprocessed(loaded, Path(reference.preprocessing), device)
        return _in_mode(loaded, reference.mode)
    if _is_module(model):
        return _pytorch().TorchClassifier.of(model, type(model).__name__, device)  # type: ignore[arg-type]
    if hasattr(model, "logits") and hasattr(model, "fingerprint"):
        return model  # type: ignore[return-value]
    raise ModelError(
        f"A model must be a reference ({MODEL_FORMS}), a torch.nn.Module or a Classifier; "
        f"got {type(model).__name__}{_of_callable(model)}"
    )


def _of_callable(model: object) -> str:
    if not callable(model):
        return ""
    return ". If it makes the model, call it; if it takes a batch, use smoothcert.from_function"


def checked_file(path: Path) -> Path:
    """The path, if it is a model file that can be read without running code in it.

    Raises:
        ModelError: a pickle, or the file does not exist.
    """
    found = MODEL_FORMATS.get(path.suffix)
    plain = found is not None and not found.by_content and not path.is_dir()
    if not plain and (what := named_for(path)):
        raise ModelError(what)
    if found is not None:
        if not path.exists():
            raise ModelError(f"There is no model file {path}{similar(path)}")
        require_regular(path, sys.maxsize, ModelError)
    return path


def _in_mode(classifier: Classifier, mode: str) -> Classifier:
    if mode == MODES[0]:
        return classifier
    if not hasattr(classifier, "in_mode"):
        raise ModelError(
            f"Only torch models, and ONNX models on CUDA, can be {mode!r}; got {classifier.name}"
        )
    return classifier.in_mode(mode)  # type: ignore[attr-defined]


def _require_preprocessable(reference: ModelReference) -> None:
    """Refuse a file of preprocessing where there is a better place for it."""
    file = reference.preprocessing
    if file and reference.hub and (given(Path(file), {})[0] or not denoiser_in(Path(file))):
        raise ModelError(
            f"{reference.hub}: models have their published preprocessing inside, so nothing but a "
            f"denoiser is put in front. Leave out +{file}, or all but its keys denoiser_..."
        )
    if file and Path(reference.file).suffix == ".onnx":
        asked = adapting(reference.text.removesuffix(f"+{file}"), f"--preprocess {quote(file)}")
        raise ModelError(f"An ONNX model gets what is in front of it inside of its file: {asked}")


def _preprocessed(classifier: Classifier, file: Path, device: str) -> Classifier:
    """The classifier behind what a JSON file says, and that behind its denoiser, if it has one."""
    wanted, _ = given(file, {})
    denoiser = denoiser_in(file)
    if isinstance(classifier, FunctionClassifier) and denoiser is None:
        return from_function.behind(wanted, classifier, file)
    if not isinstance(classifier, _pytorch().TorchClassifier):
        raise ModelError(
            f"Only torch models{'' if denoiser else ' and functions'} can have +{file} in front; "
            f"got {classifier.name}"
        )
    preprocessed = import_module("smoothcert.classifiers.preprocessed")
    found = preprocessed.behind(wanted, classifier, file)
    return found if denoiser is None else behind_denoiser(denoiser, found, device)


def behind_denoiser(
    wanted: Denoising, classifier: "TorchClassifier", device: str
) -> "TorchClassifier":
    """A torch classifier with a denoiser in front, which is part of it.

    Raises:
        ModelError: the denoiser is missing or no torch model, or takes only some batch sizes.
    """
    try:
        denoiser = _denoiser(wanted, device)
    except ModelError as error:
        raise ModelError(f"The denoiser {wanted.model}: {error}") from error
    if not isinstance(denoiser, _pytorch().TorchClassifier):
        raise ModelError(
            f"A denoiser must be a torch model (x.pt2, arch@weights, package.module:factory or "
            f"package.module:Class@weights.pth); got {denoiser.name}"
        )
    return import_module("smoothcert.classifiers.denoised").denoised(wanted, denoiser, classifier)


def _denoiser(wanted: Denoising, device: str) -> Classifier:
    reference = ModelReference.parse(wanted.model)
    if reference.hub or reference.preprocessing or reference.mode != MODES[0]:
        raise ModelError(
            "a denoiser is a file of weights or a program, or package.module:factory, without "
            f"{', '.join(f'{prefix}:' for prefix in (*HUBS, *MODES[1:]))} or +FILE.json."
        )
    if Path(reference.file).suffix == ".onnx":
        raise ModelError(
            "an ONNX denoiser is put in front of an ONNX classifier only. Write that by "
            "`smoothcert compress MODEL --to onnx --data D --out net.onnx`, then both by "
            f"`smoothcert adapt net.onnx --denoiser {quote(reference.text)} --out whole.onnx`."
        )
    if wanted.second is not None and Path(reference.file).suffix == ".pt2":
        path = checked_file(Path(reference.file))
        return import_module("smoothcert.classifiers.pt2").load_timed(path, device)
    return _from_reference(reference, device)


def _from_reference(reference: ModelReference, device: str) -> Classifier:
    if reference.hub:
        return _from_hub(reference.hub, reference.name, device)
    if reference.is_code:
        return _from_factory(reference, device)
    path, name = reference.path or Path(reference.file), reference.name
    suffix = checked_file(path).suffix
    if suffix in MODEL_FORMATS:
        return _from_file(path, device, reference)
    if suffix == "" and name in zoo.ARCHITECTURES:
        raise ModelError(
            f"{name!r} is an architecture without weights: give "
            f"{name}@weights.safetensors{_pretrained(name)}."
        )
    advice = likely(name) or f" Give {MODEL_FORMS}."
    raise ModelError(f"{name!r} is not a model reference.{advice}")


def _pretrained(architecture: str) -> str:
    found = sorted(zoo.PRETRAINED.glob(f"{architecture}-*.safetensors"))
    names = [path.stem.removeprefix(f"{architecture}-") for path in found]
    return "".join(f" or {architecture}@pretrained-{name}" for name in names)


def _from_hub(hub: str, name: str, device: str) -> Classifier:
    if not name:
        raise ModelError(f"'{hub}:' does not name a model: give {MODEL_FORMS}")
    try:
        with quiet():  # what these packages say when imported is not about the user's model
            source = import_module(f"smoothcert.classifiers.{HUBS[hub]}")
    except ImportError as error:
        raise MissingExtra(error.name or hub, hub) from error
    except (RuntimeError, OSError) as error:  # how a torchvision built for another torch fails
        raise ModelError(
            f"A package that {hub}: models need cannot be imported: {error}. "
            "Install matching builds of torch and torchvision."
        ) from error
    return source.load(name, device)


def _from_file(path: Path, device: str, reference: ModelReference) -> Classifier:
    found = MODEL_FORMATS[path.suffix]
    try:
        reader = import_module(f"smoothcert.classifiers.{found.module}")
    except ImportError as error:
        raise MissingExtra(error.name or found.package, found.extra) from error
    return reader.load_file(path, device, reference)


def _pytorch() -> Any:
    try:
        from smoothcert.classifiers import pytorch
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "torch") from error
    return pytorch


def _from_factory(reference: ModelReference, device: str) -> Classifier:
    """Import and call it, and call it again to check that every process gets the same model."""
    weights = _own_weights(reference) if reference.file else None
    finish = weights.into if weights else None
    factory = Factory(reference.code, reference.arguments, finish)
    made = factory.made() if _is_model(factory.target) else factory()
    if isinstance(made, str | Path) and not ModelReference.parse(str(made)).is_code:
        return load_classifier(made, device)
    if not _is_model(made):
        refuse_others(made, factory.reference)
    name = weights.name if weights else reference.name
    classifier = _made(made, name, device)
    if reference.arguments and isinstance(classifier, FunctionClassifier):
        # Its author's version need not say them, and other arguments are another function.
        version = f"{classifier.version}\0{reference.arguments.text}"
        classifier = replace(classifier, version=version)
    if (module := _module_of(made)) is not None:
        _check_repeats(factory, module, device)
    return replace(classifier, front=weights.front) if weights else classifier  # type: ignore[type-var]


def _own_weights(reference: ModelReference) -> Any:
    path = checked_file(Path(reference.file))
    if path.suffix not in (".safetensors", *CHECKPOINTS):
        raise ModelError(
            f"The weights of {reference.architecture} must be in a checkpoint (x.safetensors, "
            f"x.pth, ...); got {path.name!r}"
        )
    try:
        from smoothcert.classifiers.own_weights import OwnWeights
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "torch") from error
    return OwnWeights(reference)


def _check_repeats(factory: Factory, module: Any, device: str) -> None:
    """Refuse a module that another process would not get, as with random weights.

    Its factory is called twice. If the two results differ, or are one object of its file, the file
    is run again: it may seed its random numbers, or not.
    """
    wanted = _made(module, factory.reference, device).fingerprint

    def same(other: Any) -> bool:  # on the CPU, where there is room for two
        return other is None or _made(other, factory.reference, "cpu").fingerprint == wanted

    again = _module_of(factory.again()) if factory.target is not module else None
    if again is None or again is module:
        if factory.seeds_torch:  # perhaps in a file that it imports, which is not run again
            return
        again = _module_of(factory.afresh())
        wrong = not same(again)
    elif wrong := not same(again):
        fresh = _module_of(factory.afresh())
        wrong = fresh is None or not same(fresh)
    if wrong:
        refuse_random(factory.reference, _pytorch().differing(module, again))


def _module_of(made: Any) -> Any:
    """The torch module that a factory returned, alone or inside a classifier."""
    found = getattr(made, "module", None) if not _is_module(made) else made
    return found if _is_module(found) else None


def _made(model: Any, reference: str, device: str) -> Classifier:
    if _is_module(model):
        return _pytorch().TorchClassifier.of(model, reference, device)
    return load_classifier(model, device)


def _is_model(value: object) -> bool:
    """Whether it is a module or a classifier, and not a class."""
    is_classifier = hasattr(value, "logits") and hasattr(value, "fingerprint")
    return not isinstance(value, type) and (_is_module(value) or is_classifier)


def _is_module(model: object) -> bool:
    """Whether it is a torch module, without importing torch if it is not installed."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)
