"""Makes the models that no demo needs and tests do: heavy, endless, odd ones.

    make_odd_models.py <folder>

Writes `<name>.onnx` for each; the same bytes every time. A file appears whole or not at all.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

FLOAT, INT64, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING

# Width and layers of `heavy`: a run reads 4 MiB of weights 200 times, which takes milliseconds on
# any machine, also with a batch of one.
WIDTH, LAYERS = 1024, 200

# Rounds that `loop` always takes, so that it is heavy also with the zeros of a warm-up run.
ROUNDS = 20_000


def heavy() -> ModelProto:
    """`x` [-1, 4] to `y` [-1, 4] through many dense layers that share their weights."""
    random = np.random.RandomState(7)
    weights = [
        ("first", random.standard_normal((4, WIDTH))),
        ("middle", random.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)),
        ("last", random.standard_normal((WIDTH, 4)) / np.sqrt(WIDTH)),
    ]
    nodes, value = [node("MatMul", ["x", "first"], ["h0"])], "h0"
    for layer in range(LAYERS):
        nodes.append(node("MatMul", [value, "middle"], [f"m{layer}"]))
        nodes.append(node("Tanh", [f"m{layer}"], [f"h{layer + 1}"]))
        value = f"h{layer + 1}"
    nodes.append(node("MatMul", [value, "last"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "heavy",
        [tensor("x", FLOAT, ["rows", 4])],
        [tensor("y", FLOAT, ["rows", 4])],
        [onnx.numpy_helper.from_array(part.astype(np.float32), name) for name, part in weights],
    )
    return model(graph)


def loop() -> ModelProto:
    """Counts to `n` [1], and `ROUNDS` more, in `total` [1]; a great `n` never ends by itself."""
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["go_on"]),
            node("Add", ["total_in", "one_inside"], ["total_out"]),
        ],
        "body",
        [
            tensor("round", INT64, []),
            tensor("go", TensorProto.BOOL, []),
            tensor("total_in", INT64, [1]),
        ],
        [tensor("go_on", TensorProto.BOOL, []), tensor("total_out", INT64, [1])],
        [helper.make_tensor("one_inside", INT64, [1], [1])],
    )
    nodes = [
        node("Add", ["n", "always"], ["rounds_1"]),
        node("Squeeze", ["rounds_1", "axis"], ["rounds"]),
        node("Sub", ["n", "n"], ["zero"]),
        node("Loop", ["rounds", "yes", "zero"], ["total"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "loop",
        [tensor("n", INT64, [1])],
        [tensor("total", INT64, [1])],
        [
            helper.make_tensor("always", INT64, [1], [ROUNDS]),
            helper.make_tensor("axis", INT64, [1], [0]),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        ],
    )
    return model(graph)


def sequence() -> ModelProto:
    """Answers with a sequence of tensors, which the protocol cannot carry."""
    value = helper.make_tensor_sequence_value_info("y", FLOAT, ["rows", 4])
    made = node("SequenceConstruct", ["x"], ["y"])
    return model(helper.make_graph([made], "sequence", [tensor("x", FLOAT, ["rows", 4])], [value]))


def float8() -> ModelProto:
    """Takes eight-bit floats, which the protocol has no name for."""
    taken = [tensor("x", TensorProto.FLOAT8E4M3FN, ["rows"])]
    given = [tensor("y", FLOAT, ["rows"])]
    made = node("DequantizeLinear", ["x", "scale"], ["y"])
    scale = helper.make_tensor("scale", FLOAT, [], [1.0])
    return model(helper.make_graph([made], "float8", taken, given, [scale]))


def text() -> ModelProto:
    """Gives back the strings it gets."""
    taken, given = tensor("x", TEXT, ["rows"]), tensor("y", TEXT, ["rows"])
    return model(helper.make_graph([node("Identity", ["x"], ["y"])], "text", [taken], [given]))


def half_plus_two() -> ModelProto:
    """The model of TensorFlow Serving's pages: `y` = `x` / 2 + 2."""
    nodes = [node("Mul", ["x", "half"], ["halved"]), node("Add", ["halved", "two"], ["y"])]
    numbers = [helper.make_tensor(name, FLOAT, [], [value]) for name, value in (("half", 0.5), ("two", 2.0))]
    taken, given = tensor("x", FLOAT, ["rows"]), tensor("y", FLOAT, ["rows"])
    return model(helper.make_graph(nodes, "half_plus_two", [taken], [given], numbers))


def signals() -> ModelProto:
    """The inputs of TensorFlow Serving's page on encoding, given back as they came."""
    kinds = {"tag": (TEXT, []), "signal": (FLOAT, [5]), "sensor": (FLOAT, [2, 2])}
    taken = [tensor(name, kind, ["rows", *shape]) for name, (kind, shape) in kinds.items()]
    given = [tensor(f"same_{name}", kind, ["rows", *shape]) for name, (kind, shape) in kinds.items()]
    nodes = [node("Identity", [name], [f"same_{name}"]) for name in kinds]
    return model(helper.make_graph(nodes, "signals", taken, given))


def batches() -> ModelProto:
    """`x` [-1, 4] to `y` [-1, 4]: microseconds for a row, a long time for many rows."""
    random = np.random.RandomState(7)
    shapes = {"first": (4, 128), "middle": (128, 128), "last": (128, 4)}
    weights = [
        helper.make_tensor(name, FLOAT, shape, random.standard_normal(shape).ravel() / 12)
        for name, shape in shapes.items()
    ]
    nodes = [node("MatMul", ["x", "first"], ["h0"])]
    nodes += [node("MatMul", [f"h{layer}", "middle"], [f"h{layer + 1}"]) for layer in range(16)]
    nodes.append(node("MatMul", ["h16", "last"], ["y"]))
    taken, given = tensor("x", FLOAT, ["rows", 4]), tensor("y", FLOAT, ["rows", 4])
    return model(helper.make_graph(nodes, "batches", [taken], [given], weights))


def dynamic() -> ModelProto:
    """`x` [-1, 4] to `y` [-1, 4] by way of 8 bits, whose steps depend on all rows of a run."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["quantized", "scale", "zero"]),
        node("DequantizeLinear", ["quantized", "scale", "zero"], ["y"]),
    ]
    taken, given = tensor("x", FLOAT, ["rows", 4]), tensor("y", FLOAT, ["rows", 4])
    return model(helper.make_graph(nodes, "dynamic", [taken], [given]))


def fixed() -> ModelProto:
    """`x` [1, 4] to `y` [1, 4]: no dimension counts rows."""
    taken, given = tensor("x", FLOAT, [1, 4]), tensor("y", FLOAT, [1, 4])
    return model(helper.make_graph([node("Neg", ["x"], ["y"])], "fixed", [taken], [given]))


def summed() -> ModelProto:
    """`x` [-1, 4] to `y` [-1, 4], where each row gets the largest value of all added."""
    nodes = [node("ReduceMax", ["x"], ["largest"], keepdims=0), node("Add", ["x", "largest"], ["y"])]
    taken, given = tensor("x", FLOAT, ["rows", 4]), tensor("y", FLOAT, ["rows", 4])
    return model(helper.make_graph(nodes, "summed", [taken], [given]))


def external() -> ModelProto:
    """Keeps its weights in a file that nobody brings along."""
    weights = helper.make_tensor("weights", FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    taken, given = tensor("x", FLOAT, ["rows", 4]), tensor("y", FLOAT, ["rows", 4])
    made = node("Mul", ["x", "weights"], ["y"])
    whole = model(helper.make_graph([made], "external", [taken], [given], [weights]))
    part = whole.graph.initializer[0]
    part.raw_data = bytes(16)
    del part.float_data[:]
    onnx.external_data_helper.set_external_data(part, "weights.bin")
    part.ClearField("raw_data")
    return whole


def zipmaps() -> ModelProto:
    """Gives scores of three classes as two lists of maps, as converters of classifiers do."""
    scores = helper.make_tensor_value_info("scores", FLOAT, ["rows", 3])
    nodes = [
        node("MatMul", ["x", "weights"], ["scores"]),
        node("ZipMap", ["scores"], ["by_name"], classlabels_strings=["ja", "nein", 'so "so"']),
        node("ZipMap", ["scores"], ["by_number"], classlabels_int64s=[7, -1, 0]),
    ]
    for zipmap in nodes[1:]:
        zipmap.domain = "ai.onnx.ml"
    keys = {"by_name": TEXT, "by_number": INT64}
    given = [ValueInfoProto(name=name, type=maps(key)) for name, key in keys.items()]
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    initial = [onnx.numpy_helper.from_array(weights, "weights")]
    taken = [tensor("x", FLOAT, ["rows", 4])]
    return model(helper.make_graph(nodes, "zipmaps", taken, [*given, scores], initial))


def zipmaps_external() -> ModelProto:
    """The same, with its weights in `weights.bin`: 12 floats that the test brings along."""
    whole = zipmaps()
    part = whole.graph.initializer[0]
    onnx.external_data_helper.set_external_data(part, "weights.bin")
    part.ClearField("raw_data")
    return whole


def left_out() -> ModelProto:
    """Answers with a tensor, and with a sequence that the protocol cannot carry."""
    parts = helper.make_tensor_sequence_value_info("parts", FLOAT, ["rows", 4])
    nodes = [node("SequenceConstruct", ["x"], ["parts"]), node("Neg", ["x"], ["y"])]
    taken, given = tensor("x", FLOAT, ["rows", 4]), tensor("y", FLOAT, ["rows", 4])
    return model(helper.make_graph(nodes, "left_out", [taken], [parts, given]))


def takes_sequence() -> ModelProto:
    """Takes a sequence of tensors, which nobody can send."""
    taken = helper.make_tensor_sequence_value_info("x", FLOAT, ["rows"])
    made = [node("ConcatFromSequence", ["x"], ["y"], axis=0)]
    return model(helper.make_graph(made, "takes", [taken], [tensor("y", FLOAT, ["rows"])]))


def lower() -> ModelProto:
    """Makes letters small, in the main graph and in a branch, by rules that no machine has."""

    def small(taken: str, given: str) -> NodeProto:
        return node(
            "StringNormalizer", [taken], [given], case_change_action="LOWER", locale="xx_NOWHERE"
        )

    inner = tensor("z", TEXT, ["some"])
    branches = {
        "then_branch": helper.make_graph([small("x", "z")], "then", [], [inner]),
        "else_branch": helper.make_graph([node("Identity", ["x"], ["z"])], "else", [], [inner]),
    }
    nodes = [small("x", "y"), node("If", ["yes"], ["z"], **branches)]
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    given = [tensor("y", TEXT, ["some"]), tensor("z", TEXT, ["some"])]
    return model(helper.make_graph(nodes, "lower", [tensor("x", TEXT, ["rows"])], given, [yes]))


def defaults() -> ModelProto:
    """Adds a bias that has a default."""
    taken = [tensor("bias", FLOAT, [2]), tensor("x", FLOAT, ["rows", 2])]
    given = [tensor("y", FLOAT, ["rows", 2])]
    bias = helper.make_tensor("bias", FLOAT, [2], [10.0, 20.0])
    made = [node("Add", ["x", "bias"], ["y"])]
    return model(helper.make_graph(made, "defaults", taken, given, [bias]))


def optional() -> ModelProto:
    """Takes a tensor or none, says whether it came, and gives it back."""
    floats = helper.make_tensor_type_proto(FLOAT, ["rows"])
    some = helper.make_optional_type_proto(floats)
    taken = ValueInfoProto(name="x", type=some)
    given = [tensor("came", TensorProto.BOOL, []), ValueInfoProto(name="y", type=some)]
    nodes = [node("OptionalHasElement", ["x"], ["came"]), node("Identity", ["x"], ["y"])]
    return model(helper.make_graph(nodes, "optional", [taken], given))


def shapeless() -> ModelProto:
    """Gives back a tensor of any shape, and says of none what it is."""
    taken, given = tensor("x", FLOAT, []), tensor("y", FLOAT, [])
    made = [node("Identity", ["x"], ["y"])]
    whole = model(helper.make_graph(made, "shapeless", [taken], [given]))
    for value in (whole.graph.input[0], whole.graph.output[0]):
        value.type.tensor_type.ClearField("shape")
    return whole


def constant() -> ModelProto:
    """Takes nothing, and answers 42, a scalar."""
    answer = helper.make_tensor("answer", INT64, [], [42])
    made = [node("Constant", [], ["y"], value=answer)]
    return model(helper.make_graph(made, "constant", [], [tensor("y", INT64, [])]))


def halves() -> ModelProto:
    """Gives back floats of two bytes, of both kinds."""
    kinds = {"h": TensorProto.FLOAT16, "b": TensorProto.BFLOAT16}
    taken = [tensor(name, kind, ["rows"]) for name, kind in kinds.items()]
    given = [tensor(f"{name}_out", kind, ["rows"]) for name, kind in kinds.items()]
    nodes = [node("Identity", [name], [f"{name}_out"]) for name in kinds]
    return model(helper.make_graph(nodes, "halves", taken, given))


def maps(key: int) -> onnx.TypeProto:
    """The type of what a ZipMap makes: a list of maps from classes to scores."""
    element = helper.make_map_type_proto(key, helper.make_tensor_type_proto(FLOAT, []))
    return helper.make_sequence_type_proto(element)


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, outputs, **attributes)


def tensor(name: str, kind: int, shape: list[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(graph: GraphProto) -> ModelProto:
    domains = {node.domain for node in graph.node} - {""}
    opsets = [("", 19), *((domain, 3) for domain in sorted(domains))]
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid(*opset) for opset in opsets])
    made.ir_version = 9
    onnx.checker.check_model(made)
    return made


def main(folder: Path) -> None:
    makers: list[Callable[[], ModelProto]] = [
        heavy,
        loop,
        sequence,
        float8,
        text,
        external,
        batches,
        dynamic,
        fixed,
        summed,
        zipmaps,
        zipmaps_external,
        left_out,
        takes_sequence,
        lower,
        defaults,
        optional,
        shapeless,
        constant,
        halves,
        half_plus_two,
        signals,
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for make in makers:
        part = folder / f".{make.__name__}.{os.getpid()}"
        part.write_bytes(make().SerializeToString(deterministic=True))
        part.replace(folder / f"{make.__name__}.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
