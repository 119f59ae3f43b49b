"""Writes an ONNX model to stdout that looks rows of 64 numbers up in a table of so many.

    .venv/bin/python loadtest/table.py ROWS
"""

import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

table = np.random.default_rng(1).random((int(sys.argv[1]), 64), np.float32)
graph = helper.make_graph(
    [helper.make_node("Gather", ["table", "row"], ["values"])],
    "table",
    [helper.make_tensor_value_info("row", TensorProto.INT64, ["rows"])],
    [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["rows", 64])],
    [numpy_helper.from_array(table, "table")],
)
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
sys.stdout.buffer.write(made.SerializeToString())
