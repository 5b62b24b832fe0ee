"""Every closed list of names, once, for parsing, completion, help and messages. No imports.

It is read before any library, so that `--help` and the Tab key are instant.
"""

from dataclasses import dataclass

MODEL_FORMS = (
    "x.onnx, x.pt2, arch@weights.safetensors, arch@checkpoint.pth, arch@pretrained-NAME, "
    "timm:NAME[@weights.safetensors], torchvision:NAME[@weights], hf:org/name, hf:/folder, "
    "package.module:factory[,width=24] or package.module:Class[,width=24]@weights.pth; "
    "x.onnx#logits names an output; "
    "MODEL+preprocess.json puts preprocessing in front of a torch model or function; "
    "the prefix compiled: or fast: sets a torch model's arithmetic, "
    "fast: or tensorrt: that of an ONNX model on CUDA"
)
"""The forms of MODEL."""

TENSORRT = "tensorrt"

MODES = ("eager", "compiled", "fast", TENSORRT)
"""Arithmetics: of torch models the first three (`classifiers.torch_modes`), of ONNX models on CUDA
all but `compiled` (`classifiers.onnx_providers`). All but the first are prefixes."""

HUBS = {"timm": "from_timm", "torchvision": "from_torchvision", "hf": "from_transformers"}
"""Prefix of a reference, which is also the name of an extra, to the module that loads it."""

DATA_FORMS = (
    "digits, x.npz, x.csv, x.parquet, a folder of Parquet files or images, or a Hugging Face id"
)
"""The forms of DATA."""

FORMS = ("binary", "runner-up", "auto", "multiclass")
"""How the runner-up is bounded; see `Settings`."""

EXACT_FORMS = ("binary", "runner-up", "auto")
"""The forms that `methods.exact` has."""

PRIORS = ("selection", "none")
"""What the bets of a decision of a radius start from; see `methods.sequential`."""

EXACT_METHODS = ("auto", "exact")
"""What `recertify` calls `methods.exact`."""

REPLAY_METHODS = ("joint", "stratified", "fresh")
"""Methods of `methods.replay`. A fresh seed asks for `fresh`."""

METHODS = (*EXACT_METHODS, *REPLAY_METHODS, "irs")
"""Methods of `recertify`."""

METHOD_FORMS = "auto (the exact test), joint, stratified, or irs (Ugare et al. 2024)."
"""The same for help, without `fresh`, which a fresh seed asks for."""

VARIANTS = ("budget-exact", "published")
"""Variants of IRS."""

ACCOUNTINGS = ("all", "published")
"""What `simulate` counts as an evaluation."""

ENGINES = ("torch", "onnx")

# The Tab key offers the following; where a number is needed, a usual one, to be edited.

POLICY_FORMS = (
    "uniform:M evaluations per input, budget:B in total (a count, or a fraction of the "
    "cached draws), minutes:M of time, retain:R of the original's radius, or radius:R to decide."
)
"""The policies, for help."""

SIZE_POLICY_FORMS = (
    "budget:B in total (a count, or a fraction), minutes:M of time, retain:R of the average radius "
    "that n for all "
    "would prove, loss:L of each input's radius at most, or radius:R to prove."
)
"""The policies of a certification from scratch, for help."""

AIMED_POLICIES = ("retain:", "radius:")
"""How those begin that have a radius to reach on each input."""

SIZE_POLICIES = ("budget:0.3", "minutes:10", "retain:0.95", "loss:0.02", "radius:0.25")
OBJECTIVES = ("size", "latency", "energy-proxy")
"""What `search` makes small."""

POLICIES = ("uniform:1000", "budget:0.02", "minutes:10", "retain:0.95", "radius:0.25")
RECIPES = ("quick", "short", "finetune", "cohen2019")
LOSSES = ("plain", "consistency", "macer")
ARCHITECTURES = (
    "small_cnn",
    *(f"cifar_resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)),
    "resnet50",
    "lenet",
)
DEVICES = ("cpu", "cuda")
SPLITS = ("test", "train")
SEEDS = ("random",)


@dataclass(frozen=True)
class ModelFormat:
    """A format of model files.

    Attributes:
        module: module of `classifiers` whose `load_file(path, device, reference)` reads it.
        package: the distribution that runs such models; runs record its version.
        extra: the extra that installs it.
        by_content: whether a file may be another kind that its first bytes tell.
    """

    module: str
    package: str
    extra: str
    by_content: bool = False


CHECKPOINTS = (".pth", ".pt", ".ckpt", ".bin", ".th", ".tar")
"""Suffixes of checkpoints of torch.save; the last for `.pth.tar`."""

MODEL_FORMATS = {
    ".onnx": ModelFormat("onnx", "onnxruntime", "onnx"),
    ".pt2": ModelFormat("pt2", "torch", "torch", by_content=True),
    ".safetensors": ModelFormat("weights", "torch", "torch"),
    **dict.fromkeys(CHECKPOINTS, ModelFormat("weights", "torch", "torch", by_content=True)),
}
"""By suffix."""


@dataclass(frozen=True)
class Writes:
    """The suffixes of what a target can write, by what it reads; empty if it cannot read that.

    Attributes:
        onnx: from an ONNX model.
        zoo: from weights for a network of the zoo.
        torch: from a torch network in code or of a hub.
        program: from an exported program (.pt2).
    """

    onnx: tuple[str, ...] = ()
    zoo: tuple[str, ...] = ()
    torch: tuple[str, ...] = ()
    program: tuple[str, ...] = ()


_ONNX, _PT2, _WEIGHTS = (".onnx",), (".pt2",), (".safetensors",)
_ANY_TO_ONNX = Writes(_ONNX, _ONNX, _ONNX, _ONNX)
_SAME = Writes(_ONNX, (*_WEIGHTS, *_PT2), _PT2, _PT2)
_NETWORK = Writes((), _PT2, _PT2)
_FACTORIZED = Writes((), (*_PT2, *_ONNX), (*_PT2, *_ONNX))
_SAME_IN_TORCH = Writes((), (*_WEIGHTS, *_PT2), _PT2, _PT2)


@dataclass(frozen=True)
class Target:
    """A compression target.

    Attributes:
        module: module of `compress` whose `write(request)` makes it.
        help: one line of help.
        writes: what it reads and writes.
        example: an argument to offer, after a colon; empty if it takes none.
    """

    module: str
    help: str
    writes: Writes = _SAME
    example: str = ""


TARGETS = {
    "int8": Target(
        "int8",
        "static int8 (.onnx); int8:LAYER=int4,LAYER=fp32 sets exceptions by layer",
        _ANY_TO_ONNX,
    ),
    "int8-dynamic": Target(
        "dynamic", "dynamic int8 (.onnx); batch-dependent: certify in batches of 1", _ANY_TO_ONNX
    ),
    "int8-pt2e": Target(
        "pt2e",
        "static int8 by torchao, simulated in float32 (torch models; .pt2)",
        Writes((), _PT2, _PT2, _PT2),
    ),
    "bf16": Target("precision", "bfloat16 weights and arithmetic (torch models; .pt2)", _NETWORK),
    "fp16": Target("precision", "float16 weights and arithmetic (torch models; .pt2)", _NETWORK),
    "bf16-weights": Target("weights_only", "weights rounded to bfloat16, float32 arithmetic"),
    "fp16-weights": Target("weights_only", "weights rounded to float16, float32 arithmetic"),
    "fp8-weights": Target(
        "weights_only", "weights rounded to float8 times a scale per channel, float32 arithmetic"
    ),
    "int8-weights": Target(
        "weights_only",
        "weights on 255 levels per channel, float32 arithmetic; this and the others with -weights "
        "take exceptions as int8 does, also bf16, fp16, fp8 and int3 to int8",
    ),
    "int7-weights": Target("weights_only", "the same with 127 levels"),
    "int6-weights": Target("weights_only", "the same with 63 levels"),
    "int5-weights": Target("weights_only", "the same with 31 levels"),
    "int4-weights": Target(
        "weights_only", "the same with 15 levels; int4-weights:32 has a scale per 32 weights"
    ),
    "int3-weights": Target("weights_only", "the same with 7 levels"),
    "prune": Target(
        "prune", "prune:F sets the fraction F of the weights, the smallest, to zero", _SAME, "0.2"
    ),
    "prune-layers": Target(
        "prune", "prune-layers:F does so in each layer separately", _SAME, "0.2"
    ),
    "prune-channels": Target(
        "channels",
        "prune-channels:F removes the fraction F of inner channels",
        _SAME_IN_TORCH,
        "0.2",
    ),
    "lowrank": Target(
        "lowrank",
        "lowrank:F factorizes layers to the fraction F of their rank",
        _FACTORIZED,
        "0.5",
    ),
    "distill": Target(
        "distill",
        "distill:ARCH or distill:ARCH,EPOCHS trains a student of the zoo",
        Writes(_WEIGHTS, _WEIGHTS, _WEIGHTS, _WEIGHTS),
        "small_cnn",
    ),
    "finetune": Target(
        "finetune",
        "finetune:EPOCHS continues training; zero weights stay zero",
        _SAME_IN_TORCH,
        "4",
    ),
    "onnx": Target(
        "export",
        "no approximation: the same float32 network (.onnx)",
        Writes((), _ONNX, _ONNX, _ONNX),
    ),
}
"""By name. `NAME:ARGUMENT` gives the module an argument."""

TARGET_FORMS = (
    "int8 (or with exceptions, int8:LAYER=int4,LAYER=fp32), int8-dynamic, int8-pt2e, "
    "bf16, fp16 (arithmetic), bf16-weights, fp16-weights, fp8-weights, int8-weights to "
    "int3-weights (weights only; int4-weights:GROUP, and exceptions as for int8), prune:F, "
    "prune-layers:F, "
    "prune-channels:F, lowrank:F, distill:ARCH[,EPOCHS], finetune:EPOCHS or onnx; "
    "A+B does B to the result of A."
)
"""The same with their arguments, for help."""

TARGET_EXAMPLES = tuple(f"{name}:{t.example}" if t.example else name for name, t in TARGETS.items())


@dataclass(frozen=True)
class Result:
    """A value of `Certificate.method`.

    Attributes:
        section: the section of docs/theory.md that proves it.
        reuses: whether it starts from an original's votes.
        fresh: whether it counts fresh draws, and replays none.
        disparity: whether it bounds the disparity, `Certificate.zeta`.
        counts: what the votes say; names of `Certificate.figures` stand in braces.
    """

    section: int
    reuses: bool = False
    fresh: bool = False
    disparity: bool = False
    counts: str = "{k} of {n} draws voted for class {candidate}"

    @property
    def replays(self) -> bool:
        """Whether it counts draws that were replayed."""
        return self.reuses and not self.fresh


_CACHED = "The original voted for class {candidate} on {cached_k} of {cached_n} draws; "

RESULTS = {
    "rs": Result(2),
    "irs": Result(
        3,
        reuses=True,
        disparity=True,
        counts=_CACHED
        + "on {n} of them replayed, the labels differ {flips} times (disparity at most {zeta})",
    ),
    "irs-fresh": Result(3, reuses=True, fresh=True),
    "nothing": Result(7, reuses=True),
    "joint": Result(
        7,
        reuses=True,
        counts=_CACHED + "{n} of these were replayed, and {flips} no longer vote for it",
    ),
    "stratified": Result(
        8,
        reuses=True,
        counts=_CACHED
        + "{n} draws were replayed, of which {k} vote for it now, and {flips} of the original's no "
        "longer do",
    ),
    "fresh": Result(7, reuses=True, fresh=True),
    "exact": Result(
        13,
        reuses=True,
        counts=_CACHED + "{n} draws were replayed, and {flips} that had voted for it no longer do",
    ),
    "exact-fresh": Result(13, reuses=True, fresh=True),
    "sequential": Result(9),
}
"""What certificates say about their method, by its name."""


NORMALIZATIONS: dict[str, dict[str, tuple[float, ...]]] = {
    "cifar10": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)},
    "cifar100": {"mean": (0.5071, 0.4867, 0.4408), "std": (0.2675, 0.2565, 0.2761)},
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "half": {"mean": (0.5,), "std": (0.5,)},
}
"""Published constants for images in [0, 1] with red first, by name. The first three are those with
which Cohen et al. (2019) and their successors trained; `half` takes [0, 1] to [-1, 1]."""

LAYOUTS = ("nchw", "nhwc", "flat")
"""How a network takes images: channels first, channels last, or in one row."""

RESAMPLINGS = {
    "bilinear": ("linear", True),
    "bicubic": ("cubic", True),
    "bilinear-plain": ("linear", False),
    "bicubic-plain": ("cubic", False),
}
"""How images are resized: name to (kernel, whether it is widened where images shrink, against
aliasing). The first two are Pillow's and torchvision's; the others OpenCV's, and torch's with
`antialias=False, align_corners=False`. Pixels are squares with their centres at half coordinates.
"""
