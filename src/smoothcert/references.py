"""How models and data are named, in the words of every help text and error."""

MODEL_FORMS = (
    "x.onnx, x.pt2, arch@weights.safetensors, arch@pretrained-NAME, "
    "timm:NAME[@weights.safetensors], torchvision:NAME[@weights], hf:org/name, hf:/folder "
    "or package.module:factory; x.onnx#logits names an output; "
    "with compiled: or fast: before it for a torch model's arithmetic"
)
"""What MODEL can be."""

MODES = ("eager", "compiled", "fast")
"""The arithmetics of torch models; see `classifiers.arithmetic`. All but the first are prefixes."""

DATA_FORMS = "digits, x.npz, x.parquet, a folder of Parquet files or images, or a Hugging Face id"
"""What DATA can be."""
