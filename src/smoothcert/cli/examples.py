"""An example or two of each command, which `--help` shows at its end and tests parse."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("smoothcert demo --quick",),
    "adapt": (
        "smoothcert adapt model.onnx",
        "smoothcert adapt model.onnx --mean imagenet --std imagenet --out new.onnx",
    ),
    "train": (
        "smoothcert train --data digits --sigma 0.25 --out net.safetensors",
        "smoothcert train my_models:net --data images/ --sigma 0.25 --out net.pt2",
    ),
    "check": ("smoothcert check model.onnx --data images/ --sigma 0.25",),
    "certify": (
        "smoothcert certify model.onnx --data images/ --sigma 0.25 --n 10000 \\",
        "    --out runs/base",
    ),
    "extend": ("smoothcert extend model.onnx --base runs/base --n 100000 --out runs/larger",),
    "recertify": (
        "smoothcert recertify int8.onnx --base runs/base --policy budget:0.05 \\",
        "    --accept 'ca@0.25>=base-2%' --out runs/int8",
    ),
    "transfer": ("smoothcert transfer runs/int8 --base runs/base --out runs/here",),
    "plan": (
        "smoothcert plan model.onnx --data images/ --sigma 0.25",
        "smoothcert plan int8.onnx --base runs/base",
    ),
    "screen": ("smoothcert screen int8.onnx pruned.onnx --base runs/base --per-input 100",),
    "search": (
        "smoothcert search model.pt2 --base runs/base --out found \\",
        "    --accept 'ca@0.25>=0.9*base'",
    ),
    "compress": (
        "smoothcert compress model.onnx --to int8 --data images/ --sigma 0.25 \\",
        "    --out int8.onnx",
    ),
    "report": ("smoothcert report runs/base runs/int8 --out report",),
    "model-card": ("smoothcert model-card runs/base runs/int8",),
    "export": ("smoothcert export runs/base runs/int8 --out certificates.csv",),
    "merge": ("smoothcert merge part1 part2 part3 --out runs/base",),
    "verify": (
        "smoothcert verify runs/base",
        "smoothcert verify runs/int8 --replay 1%",
    ),
    "predict": ("smoothcert predict model.onnx photo.png --sigma 0.25",),
    "simulate": ("smoothcert simulate path/to/cohen_0.25.tsv --sigma 0.25",),
    "doctor": ("smoothcert doctor",),
}
"""By the command's name. Lines as they are typed; a line that ends in a backslash goes on."""


def epilog(name: str) -> str:
    """What stands at the end of the command's help; `\\b` keeps click from joining the lines."""
    lines = EXAMPLES[name]
    head = "Example:" if len(lines) == 1 or lines[0].endswith("\\") else "Examples:"
    return "\n".join(("\b", head, *(f"  {line}" for line in lines)))
