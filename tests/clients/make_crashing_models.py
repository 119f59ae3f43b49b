"""Makes models that crash ONNX Runtime 1.32.0, each in its way.

    make_crashing_models.py <folder>

`deep_tree.onnx` crashes while it is opened: the recursion that reads a tree so deep overflows the
stack of a thread. `division.onnx` divides one input by the other, and on x86-64 the processor traps
at the least integer divided by -1; `constant_division.onnx` does so while it is opened. A file
appears whole or not at all.
"""

import os
import sys
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

# Each node takes a frame of the stack; threads have 2 MiB of it.
DEPTH = 60_000


def deep_tree() -> ModelProto:
    """`x` [1, 4] to `y`: node i leads to node i + 1, or to a leaf of its own."""
    leaves = DEPTH + 1
    count = DEPTH + leaves
    tree = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_nodeids=list(range(count)),
        nodes_treeids=[0] * count,
        nodes_featureids=[0] * count,
        nodes_modes=["BRANCH_LEQ"] * DEPTH + ["LEAF"] * leaves,
        nodes_values=[0.5] * count,
        nodes_truenodeids=[i + 1 for i in range(DEPTH)] + [0] * leaves,
        nodes_falsenodeids=[leaves + i for i in range(DEPTH)] + [0] * leaves,
        target_ids=[0] * leaves,
        target_nodeids=list(range(DEPTH, count)),
        target_treeids=[0] * leaves,
        target_weights=[1.0] * leaves,
    )
    graph = helper.make_graph(
        [tree],
        "deep_tree",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)]
    made = helper.make_model(graph, opset_imports=opsets)
    made.ir_version = 9
    return made


def division() -> ModelProto:
    """`a` [rows] by `b` [rows] to `y`."""
    taken = [tensor("a"), tensor("b")]
    return model([helper.make_node("Div", ["a", "b"], ["y"])], taken, [])


def constant_division() -> ModelProto:
    """`x` [rows] and the quotient to `y`."""
    least = helper.make_tensor("least", TensorProto.INT64, [1], [-(2**63)])
    minus = helper.make_tensor("minus", TensorProto.INT64, [1], [-1])
    nodes = [
        helper.make_node("Div", ["least", "minus"], ["quotient"]),
        helper.make_node("Add", ["x", "quotient"], ["y"]),
    ]
    return model(nodes, [tensor("x")], [least, minus])


def tensor(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, ["rows"])


def model(
    nodes: list[NodeProto], taken: list[ValueInfoProto], constants: list[TensorProto]
) -> ModelProto:
    graph = helper.make_graph(nodes, "division", taken, [tensor("y")], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 9
    return made


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for make in [deep_tree, division, constant_division]:
        part = folder / f".{make.__name__}.{os.getpid()}"
        part.write_bytes(make().SerializeToString(deterministic=True))
        part.replace(folder / f"{make.__name__}.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
