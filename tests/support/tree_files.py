"""Forests of scikit-learn as ONNX files, in the forms that skl2onnx and onnxmltools write."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper


def forest_file(forest: Any, maps: bool, labels: list[Any]) -> bytes:
    """A file with the outputs `output_label` and `output_probability`.

    Args:
        forest: a fitted RandomForestClassifier of float32 rows.
        maps: whether probabilities are a map per row (ZipMap), else a tensor (B, K).
        labels: the classes' names, or their numbers.
    """
    names = isinstance(labels[0], str)
    key = "strings" if names else "int64s"
    tree = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["output_label", "probabilities" if maps else "output_probability"],
        domain="ai.onnx.ml",
        post_transform="NONE",
        **{f"classlabels_{key}": labels},
        **_trees(forest),
    )
    nodes, kind = [tree], helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", len(labels)])
    label_type = TensorProto.STRING if names else TensorProto.INT64
    if maps:
        nodes.append(
            helper.make_node(
                "ZipMap",
                ["probabilities"],
                ["output_probability"],
                domain="ai.onnx.ml",
                **{f"classlabels_{key}": labels},
            )
        )
        inside = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        kind = helper.make_sequence_type_proto(helper.make_map_type_proto(label_type, inside))
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", forest.n_features_in_])
    outputs = [
        helper.make_tensor_value_info("output_label", label_type, ["N"]),
        helper.make_value_info("output_probability", kind),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    graph = helper.make_graph(nodes, "forest", [rows], outputs)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _trees(forest: Any) -> dict[str, list[Any]]:
    """The attributes of the nodes and leaves of all trees; a leaf has a weight per class."""
    found: dict[str, list[Any]] = {
        f"nodes_{name}": [] for name in ("treeids", "nodeids", "featureids", "values", "modes")
    }
    found |= {f"nodes_{name}": [] for name in ("truenodeids", "falsenodeids")}
    found |= {f"class_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, estimator in enumerate(forest.estimators_):
        tree = estimator.tree_
        for node in range(tree.node_count):
            leaf = tree.children_left[node] < 0
            for name, value in (
                ("treeids", number),
                ("nodeids", node),
                ("featureids", 0 if leaf else int(tree.feature[node])),
                ("values", 0.0 if leaf else _below(tree.threshold[node])),
                ("modes", "LEAF" if leaf else "BRANCH_LEQ"),
                ("truenodeids", 0 if leaf else int(tree.children_left[node])),
                ("falsenodeids", 0 if leaf else int(tree.children_right[node])),
            ):
                found[f"nodes_{name}"].append(value)
            shares = tree.value[node][0] / tree.value[node][0].sum() / len(forest.estimators_)
            for index, share in enumerate(shares if leaf else ()):
                for name, value in zip(
                    ("treeids", "nodeids", "ids", "weights"),
                    (number, node, index, float(share)),
                    strict=True,
                ):
                    found[f"class_{name}"].append(value)
    return found


def _below(threshold: float) -> float:
    """The largest float32 up to a threshold: float32 values are on the same side of both."""
    rounded = np.float32(threshold)
    return float(rounded if rounded <= threshold else np.nextafter(rounded, np.float32(-np.inf)))
