"""Asks for answers in every form of both protocols, and compares them with onnxruntime's own.

    parity.py <http address> <grpc address> <models folder>

Every demo version must be ready. Exits with 0 if all answers are equal in every bit.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from reference import Reference, Tensors, array_from, check_same, datatype_of, elements_of
from tritonclient.grpc import service_pb2

VERSIONS = (("iris", "1"), ("iris", "2"), ("digits", "1"), ("wine", "1"), ("topics", "1"))
ROWS = (1, 3, 17)
ID = "request 7, für 水"

CONTENTS = {"FP32": "fp32_contents", "FP64": "fp64_contents", "INT64": "int64_contents"}

# What an answer says of itself beside its outputs, and the outputs.
Answer = tuple[dict[str, Any], Tensors]
# Model, version, inputs, outputs asked for (none: all).
Ask = Callable[[str, str, Tensors, list[str] | None], Answer]


def main(http: str, grpc: str, models: str) -> int:
    http_client = over_http.InferenceServerClient(http)
    grpc_client = over_grpc.InferenceServerClient(grpc)
    ways: dict[str, Ask] = {
        "gRPC, typed contents": partial(by_typed_contents, grpc_client),
        "gRPC, raw contents": partial(by_raw_contents, grpc_client),
    }
    for asked in (False, True):
        for answered in (False, True):
            way = f"HTTP, {form(asked)} in, {form(answered)} out"
            ways[way] = partial(by_http, http_client, asked, answered)
    compared = 0
    for model, version in VERSIONS:
        reference = Reference(Path(models), model, version)
        check_metadata(reference, http_client, grpc_client)
        for way, ask in ways.items():
            compared += compare(reference, way, ask)
    check_default_version(Path(models), ways)
    print(f"{compared} answers of {len(VERSIONS)} versions in {len(ways)} forms are onnxruntime's")
    return 0


def form(binary: bool) -> str:
    return "binary" if binary else "JSON"


def compare(reference: Reference, way: str, ask: Ask) -> int:
    """Asks for every case in one way; returns how many answers there were."""
    cases = reference.golden()
    cases += [(f"{rows} random rows", reference.random(rows, seed=rows)) for rows in ROWS]
    turned = list(reversed(reference.outputs))
    orders = [None, turned, *([name] for name in reference.outputs)]
    for name, inputs in cases:
        for outputs in orders:
            what = f"{reference}, {name}, outputs {outputs}, {way}"
            said, found = ask(reference.model, reference.version, inputs, outputs)
            check_same(what, found, reference.answer(inputs, outputs))
            check_labels(what, said, reference)
    return len(cases) * len(orders)


def check_labels(what: str, said: dict[str, Any], reference: Reference) -> None:
    """Checks what an answer says of itself: who answered, and to which request."""
    expected = {
        "model_name": reference.model,
        "model_version": reference.version,
        "id": ID,
        "tidegate_version": reference.version,
        "tidegate_variant": "default",
        "tidegate_digest": reference.digest(),
    }
    found = {name: said.get(name) for name in expected}
    if found != expected:
        raise AssertionError(f"{what}: answer says {found}, expected {expected}")
    if len(said.get("tidegate_inference_id", "")) != 26:
        raise AssertionError(f"{what}: no inference id in {said}")


def check_default_version(models: Path, ways: dict[str, Ask]) -> None:
    """Checks that a request without a version goes to the highest that serves."""
    reference = Reference(models, "iris", "2")
    inputs = reference.random(2, seed=5)
    for way, ask in ways.items():
        said, found = ask("iris", "", inputs, None)
        check_same(f"iris, {way}", found, reference.answer(inputs))
        check_labels(f"iris, {way}", said, reference)


def by_typed_contents(
    client: over_grpc.InferenceServerClient,
    model: str,
    version: str,
    inputs: Tensors,
    outputs: list[str] | None,
) -> Answer:
    """Sends values in typed fields, which tritonclient itself never does."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version, id=ID)
    for name, array in inputs.items():
        datatype = datatype_of(array)
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if datatype == "BYTES":
            tensor.contents.bytes_contents.extend(elements_of(array))
        else:
            getattr(tensor.contents, CONTENTS[datatype]).extend(array.ravel().tolist())
    for name in outputs or ():
        request.outputs.add(name=name)
    return read_response(client._client_stub.ModelInfer(request))


def by_raw_contents(
    client: over_grpc.InferenceServerClient,
    model: str,
    version: str,
    inputs: Tensors,
    outputs: list[str] | None,
) -> Answer:
    given = []
    for name, array in inputs.items():
        tensor = over_grpc.InferInput(name, list(array.shape), datatype_of(array))
        given.append(tensor.set_data_from_numpy(array))
    asked = [over_grpc.InferRequestedOutput(name) for name in outputs or ()]
    result = client.infer(model, given, version, asked or None, request_id=ID)
    said, answer = read_response(result.get_response())
    # What the client itself makes of it, beside what we make of the bytes.
    check_same("as_numpy", {name: result.as_numpy(name) for name in answer}, answer)
    return said, answer


def read_response(response: service_pb2.ModelInferResponse) -> Answer:
    raw = response.raw_output_contents
    answer = {
        output.name: array_from(output.datatype, list(output.shape), content)
        for output, content in zip(response.outputs, raw, strict=True)
    }
    said = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id,
    }
    said.update((name, value.string_param) for name, value in response.parameters.items())
    return said, answer


def by_http(
    client: over_http.InferenceServerClient,
    binary_in: bool,
    binary_out: bool,
    model: str,
    version: str,
    inputs: Tensors,
    outputs: list[str] | None,
) -> Answer:
    given = []
    for name, array in inputs.items():
        tensor = over_http.InferInput(name, list(array.shape), datatype_of(array))
        given.append(tensor.set_data_from_numpy(array, binary_data=binary_in))
    asked = None
    # Without outputs the client itself asks for all of them as binary data.
    if outputs or not binary_out:
        names = outputs or client.get_model_metadata(model, version)["outputs"]
        names = [name if isinstance(name, str) else name["name"] for name in names]
        asked = [over_http.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    result = client.infer(model, given, version, asked, request_id=ID)
    response = result.get_response()
    for output in response["outputs"]:
        if ("data" in output) == binary_out:
            raise AssertionError(f"output {output} is not {form(binary_out)}")
    said = {name: value for name, value in response.items() if isinstance(value, str)}
    said.update(response["parameters"])
    names = [output["name"] for output in response["outputs"]]
    return said, {name: result.as_numpy(name) for name in names}


def check_metadata(
    reference: Reference,
    http: over_http.InferenceServerClient,
    grpc: over_grpc.InferenceServerClient,
) -> None:
    """Compares both protocols' metadata with the ONNX file."""
    graph = onnx.load(reference.folder / "model.onnx").graph
    expected = {
        "name": reference.model,
        "platform": "onnxruntime_onnx",
        "inputs": [describe(value) for value in graph.input],
        "outputs": [describe(value) for value in graph.output],
    }
    over_wire = http.get_model_metadata(reference.model, reference.version)
    # The Open Inference Protocol's; Triton's client for gRPC does not know the field.
    properties = over_wire.pop("properties")
    nodes = nodes_after_optimisation(reference.folder / "model.onnx")
    if properties != {"providers": "cpu", "active": "cpu", "nodes": f"cpu={nodes}"}:
        raise AssertionError(f"{reference}: properties are {properties}")
    message = grpc.get_model_metadata(reference.model, reference.version, as_json=True)
    for found in (over_wire, message):
        versions = found.pop("versions")
        if reference.version not in versions:
            raise AssertionError(f"{reference}: metadata lists the versions {versions}")
        for tensor in found["inputs"] + found["outputs"]:
            # Protobuf's JSON has 64-bit integers as text.
            tensor["shape"] = [int(size) for size in tensor["shape"]]
        if found != expected:
            raise AssertionError(f"{reference}: metadata is {found}, expected {expected}")


def nodes_after_optimisation(path: Path) -> int:
    """How many nodes ONNX Runtime divides among providers, read from the graph it writes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimised.onnx"
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return len(onnx.load(options.optimized_model_filepath).graph.node)


def describe(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """An input or output of an ONNX file, as the protocol describes it."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return {
        "name": value.name,
        "datatype": datatype_of(np.empty(0, dtype)),
        "shape": [
            size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim
        ],
    }


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
