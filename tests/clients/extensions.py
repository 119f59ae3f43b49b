"""Compression, classification and parameters, as tritonclient asks for them over both protocols.

    extensions.py <http address> <grpc address> <models folder>

Exits with 0 if compressed answers are those of uncompressed calls, and classes are what sorting
onnxruntime's own answer gives.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from reference import Reference, Tensors, check_same, datatype_of

ALGORITHMS = (None, "gzip", "deflate")
OWN = {"trace": "für 水", "weight": 0.5, "count": -3, "dry": True}


def main(http: str, grpc: str, models: str) -> int:
    http_client = over_http.InferenceServerClient(http)
    grpc_client = over_grpc.InferenceServerClient(grpc)
    check_http_compression(http_client, Path(models))
    check_grpc_compression(grpc_client, Path(models))
    check_classes(http_client, grpc_client, Path(models))
    check_parameters(http_client, grpc_client, Path(models))
    return 0


def check_http_compression(client: over_http.InferenceServerClient, models: Path) -> None:
    # Answers of one row are too small to be worth compressing, those of many are not.
    for model, version, rows in (("digits", "1", 2), ("iris", "2", 500), ("topics", "1", 300)):
        reference = Reference(models, model, version)
        inputs = reference.random(rows, seed=3)
        expected = reference.answer(inputs)
        for binary in (False, True):
            for asked in ALGORITHMS:
                for answered in ALGORITHMS:
                    result = client.infer(
                        model,
                        given_http(inputs, binary),
                        version,
                        [over_http.InferRequestedOutput(name, binary) for name in expected],
                        request_compression_algorithm=asked,
                        response_compression_algorithm=answered,
                    )
                    found = {name: result.as_numpy(name) for name in expected}
                    what = f"{reference}, binary {binary}, {asked} in, {answered} out"
                    check_same(what, found, expected)


def check_grpc_compression(client: over_grpc.InferenceServerClient, models: Path) -> None:
    reference = Reference(models, "digits", "1")
    inputs = reference.random(100, seed=4)
    expected = reference.answer(inputs)
    for algorithm in ALGORITHMS:
        result = client.infer("digits", given_grpc(inputs), "1", compression_algorithm=algorithm)
        found = {name: result.as_numpy(name) for name in expected}
        check_same(f"digits over gRPC, {algorithm}", found, expected)


def check_classes(
    http: over_http.InferenceServerClient, grpc: over_grpc.InferenceServerClient, models: Path
) -> None:
    for model, version in (("iris", "2"), ("digits", "1")):
        reference = Reference(models, model, version)
        inputs = reference.random(5, seed=5)
        answer = reference.answer(inputs)
        name = next(name for name, array in answer.items() if array.ndim == 2)
        other = next(other for other in answer if other != name)
        for count in (1, 2, 1000):
            expected = classes_of(answer[name], count)
            results: dict[str, Any] = {}
            for binary in (False, True):
                outputs = [
                    over_http.InferRequestedOutput(other, binary),
                    over_http.InferRequestedOutput(name, binary, class_count=count),
                ]
                given = given_http(inputs, binary)
                results[f"HTTP, binary {binary}"] = http.infer(model, given, version, outputs)
            outputs = [
                over_grpc.InferRequestedOutput(other),
                over_grpc.InferRequestedOutput(name, class_count=count),
            ]
            results["gRPC"] = grpc.infer(model, given_grpc(inputs), version, outputs)
            for way, result in results.items():
                what = f"{reference}, {count} classes, {way}"
                found = {other: result.as_numpy(other), name: result.as_numpy(name)}
                # Over JSON the client makes text of it.
                found[name] = np.vectorize(text, otypes=[np.object_])(found[name])
                check_same(what, found, {other: answer[other], name: expected})


def classes_of(array: np.ndarray, count: int) -> np.ndarray:
    """The best of each row, equal ones in the order of their indices."""
    order = np.argsort(-array, axis=1, kind="stable")[:, :count]
    rows = [
        [f"{float(row[index]):.6f}:{index}" for index in indices]
        for row, indices in zip(array, order, strict=True)
    ]
    return np.array(rows, np.object_)


def text(element: bytes | str) -> str:
    return element.decode() if isinstance(element, bytes) else element


def check_parameters(
    http: over_http.InferenceServerClient, grpc: over_grpc.InferenceServerClient, models: Path
) -> None:
    inputs = Reference(models, "iris", "2").random(1, seed=6)
    sent = {**OWN, "tidegate_version": "77"}
    result = http.infer("iris", given_http(inputs, True), "2", priority=2, parameters=sent)
    check_echo("HTTP", result.get_response()["parameters"])
    result = grpc.infer("iris", given_grpc(inputs), "2", priority=2, parameters=sent)
    parameters = result.get_response().parameters
    check_echo("gRPC", {name: value_of(value) for name, value in parameters.items()})


def value_of(parameter: Any) -> Any:
    return getattr(parameter, parameter.WhichOneof("parameter_choice"))


def check_echo(way: str, found: dict[str, Any]) -> None:
    ours = {name for name in found if name.startswith("tidegate_")}
    own = {name: value for name, value in found.items() if name not in ours}
    if own != OWN or len(ours) != 4 or found["tidegate_version"] != "2":
        raise AssertionError(f"{way}: parameters of the answer are {found}, expected {OWN} in them")


def given_http(inputs: Tensors, binary: bool) -> list[over_http.InferInput]:
    given = []
    for name, array in inputs.items():
        tensor = over_http.InferInput(name, list(array.shape), datatype_of(array))
        given.append(tensor.set_data_from_numpy(array, binary_data=binary))
    return given


def given_grpc(inputs: Tensors) -> list[over_grpc.InferInput]:
    given = []
    for name, array in inputs.items():
        tensor = over_grpc.InferInput(name, list(array.shape), datatype_of(array))
        given.append(tensor.set_data_from_numpy(array))
    return given


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
