"""What the Tab key offers for options whose values have names; imports nothing, so it is instant.

The names are written out here, as the modules that own them take half a second to import. A test
holds that they are theirs. Where a number follows, a usual one is offered, to be edited.
"""

from collections.abc import Callable

TARGETS = (
    *("int8", "int8-dynamic", "int8-pt2e", "bf16", "fp16", "bf16-weights", "fp16-weights"),
    *("int8-weights", "int7-weights", "int6-weights", "int5-weights", "int4-weights"),
    *("int3-weights", "prune:0.2", "prune-layers:0.2", "prune-channels:0.2", "lowrank:0.5"),
    *("distill:small_cnn", "finetune:4", "onnx"),
)
POLICIES = ("uniform:1000", "budget:0.02", "retain:0.95", "radius:0.25")
METHODS = ("auto", "joint", "stratified", "irs")
FORMS = ("binary", "multiclass")
VARIANTS = ("budget-exact", "published")
ACCOUNTINGS = ("all", "published")
RECIPES = ("quick", "short", "cohen2019")
ARCHITECTURES = (
    "small_cnn",
    *(f"cifar_resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)),
)
DEVICES = ("cpu", "cuda")
ENGINES = ("torch", "onnx")
SPLITS = ("test", "train")
SEEDS = ("random",)


def among(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """For `typer.Option(autocompletion=...)`: those names that begin with what is written."""

    def offered(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return offered
