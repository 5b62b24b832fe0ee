"""The layers of any model by name."""

from pathlib import Path

from smoothcert.classifiers.loading import load_classifier
from smoothcert.classifiers.reference import ModelReference
from smoothcert.compress.layers import Layer


def model_layers(model: str | Path) -> tuple[Layer, ...]:
    """The layers of a model that exceptions can name, in its order.

    Args:
        model: a reference, as `compress` takes. A torch network's layers have the names that they
            have in it; exported to ONNX, a weight keeps its name.

    Raises:
        ModelError: there is no such model, or it has no float32 weights of layers.
    """
    classifier, reference = load_classifier(model), ModelReference.parse(str(model))
    if reference.path is not None and reference.path.suffix == ".onnx":
        from smoothcert.compress.onnx_graph import read
        from smoothcert.compress.onnx_layers import layers

        return tuple(layers(read(reference.path)))
    from smoothcert.compress.torch_weights import layers_of

    return tuple(layers_of(classifier))
