"""Makes two models of 8 MB whose answers differ by a constant.

    make_swap_models.py <folder>

Writes `even.onnx` and `odd.onnx`: `index` INT64 [-1] to `value` FP32 [-1], which is the place
itself modulo `PERIOD`, and `STEP` more in `odd`. A run reads a few of the 2 M weights, so it is
light while loading is not. A file appears whole or not at all.
"""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

WEIGHTS, PERIOD, STEP = 2 << 20, 997, 1000


def swap_model(constant: float) -> ModelProto:
    """Looks places up in a large table, and adds the constant."""
    table = (np.arange(WEIGHTS) % PERIOD).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "index"], ["found"]),
            helper.make_node("Add", ["found", "constant"], ["value"]),
        ],
        "swap",
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["rows"])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["rows"])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([constant], np.float32), "constant"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main(folder: Path) -> None:
    """Writes both."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, constant in [("even", 0), ("odd", STEP)]:
        new = folder / f"{name}.{os.getpid()}.new"
        new.write_bytes(swap_model(constant).SerializeToString())
        new.rename(folder / f"{name}.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
