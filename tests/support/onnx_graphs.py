"""ONNX classifiers of 8x8 images with odd ends: one linear layer of fixed random weights."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
WEIGHTS = np.random.default_rng(5).normal(size=(64, 10)).astype(np.float32)
WEIGHTS -= WEIGHTS.mean(axis=0)  # no class wins on all images


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


IMAGES = value("x", ["batch", 1, 8, 8])
LOGITS = value("logits", ["batch", 10])
BODY = (node("Flatten", "x", "f"), node("MatMul", "f w", "logits"))


def model(*tail, outputs=(LOGITS,), inputs=(IMAGES,), constants=None, body=BODY, opset=13, ml=0):
    """The linear layer, what follows it, and what of both is given out."""
    kept = {"w": WEIGHTS} | (constants or {})
    graph = helper.make_graph(
        [*body, *tail],
        "g",
        list(inputs),
        list(outputs),
        [numpy_helper.from_array(np.asarray(array), name) for name, array in kept.items()],
    )
    sets = [helper.make_opsetid("", opset), *([helper.make_opsetid("ai.onnx.ml", ml)] * bool(ml))]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def scikit(zipmap=False, classes=tuple(range(10)), only=False):
    """As skl2onnx writes a classifier: the label, then probabilities, perhaps as maps."""
    linear = helper.make_node(
        "LinearClassifier",
        ["f"],
        ["label", "prob"],
        domain="ai.onnx.ml",
        coefficients=WEIGHTS.T.ravel().tolist(),
        intercepts=[0.0] * 10,
        classlabels_ints=list(classes),
        post_transform="SOFTMAX",
    )
    tail = [linear]
    scores = value("prob", ["batch", 10])
    if zipmap:
        tail.append(
            helper.make_node(
                *("ZipMap", ["prob"], ["maps"]),
                domain="ai.onnx.ml",
                classlabels_int64s=list(classes),
            )
        )
        scores = onnx.ValueInfoProto(name="maps")
        kind = scores.type.sequence_type.elem_type.map_type
        kind.key_type = TensorProto.INT64
        kind.value_type.tensor_type.elem_type = FLOAT
    label = value("label", ["batch"], TensorProto.INT64)
    outputs = [scores] if only else [label, scores]
    return model(*tail, body=BODY[:1], outputs=outputs, ml=3)


def cast(kind, numpy_kind):
    """The layer in another element type from end to end."""
    return model(
        inputs=[value("x", ["batch", 1, 8, 8], kind)],
        outputs=[value("logits", ["batch", 10], kind)],
        constants={"w": WEIGHTS.astype(numpy_kind)},
    )


def reshaped(*shape):
    return model(
        node("Reshape", "logits s", "r"),
        outputs=[value("r", ["batch", *shape[1:]])],
        constants={"s": np.array(shape, np.int64)},
    )


FEATURES = value("f", ["batch", 64])
LOSS = node("ReduceMean", "logits", "loss", keepdims=0)
TOP = node("TopK", "logits k", "v i", axis=1)
FIVE = {"k": np.array([5], np.int64)}


def whole(name, *shape):
    return value(name, ["batch", *shape], TensorProto.INT64)
