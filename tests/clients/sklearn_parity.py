"""Asks exported models for rows, and compares the answers with scikit-learn's and LightGBM's own.

    sklearn_parity.py <http address> <grpc address> <folder of make_sklearn_models.py>

Every model of the folder must be served. Labels must be equal, numbers within `RTOL` and `ATOL`.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from concurrency import REQUESTS, Question, ask_at_once
from reference import Tensors, array_of, datatype_of, wire

RTOL, ATOL = 1e-4, 1e-5
# Rows of a request; the last is all there are.
BATCHES = (1, 4, 32, 64)

# The outputs of an answer, and the labels that it names the columns of some with.
Labels = dict[str, list[Any]]
Answer = tuple[Tensors, Labels]
Ask = Callable[["Case", slice], Answer]


@dataclass(frozen=True)
class Case:
    """A model, rows to ask it for, and what its library answers."""

    model: str
    inputs: Tensors
    outputs: Tensors
    labels: Labels
    axes: dict[str, int]

    def asked(self, rows: slice) -> Tensors:
        return {name: array[rows] for name, array in self.inputs.items()}

    def expected(self, rows: slice) -> Tensors:
        return {
            name: array[(slice(None),) * self.axes[name] + (rows,)]
            for name, array in self.outputs.items()
        }

    def parts(self) -> Iterator[slice]:
        """All rows, once in requests of each size."""
        rows = len(next(iter(self.inputs.values())))
        for batch in BATCHES:
            yield from (slice(first, first + batch) for first in range(0, rows, batch))


class CloseQuestion(Question):
    """A question whose answer may differ by what rounding makes of it."""

    def check(self, found: Tensors) -> None:
        check_close(self.name, found, self.expected)


def main(http: str, grpc: str, folder: str) -> int:
    cases = [read_case(path) for path in sorted(Path(folder, "cases").glob("*.json"))]
    http_client = over_http.InferenceServerClient(http)
    ways: dict[str, Ask] = {
        "gRPC": partial(by_grpc, over_grpc.InferenceServerClient(grpc)),
        "HTTP, JSON": partial(by_http, http_client, False),
        "HTTP, binary": partial(by_http, http_client, True),
    }
    compared = 0
    for case in cases:
        check_metadata(case, http_client)
        for way, ask in ways.items():
            compared += compare(case, way, ask)
    ask_at_once(http, grpc, make_questions(cases))
    print(f"{compared} answers of {len(cases)} models, and {REQUESTS} at once, are the libraries'")
    return 0


def compare(case: Case, way: str, ask: Ask) -> int:
    """Asks for all rows in one way; returns how many answers there were."""
    parts = list(case.parts())
    for rows in parts:
        what = f"{case.model}, rows {rows.start} to {rows.stop}, {way}"
        found, labels = ask(case, rows)
        check_close(what, found, case.expected(rows))
        if labels != case.labels:
            raise AssertionError(f"{what}: labels are {labels}, expected {case.labels}")
    return len(parts)


def make_questions(cases: list[Case]) -> list[CloseQuestion]:
    """Requests of 1 to 5 rows, to every model by every road."""
    questions = []
    for number in range(REQUESTS):
        # Not by the remainder of 3, as in concurrency.py.
        case = cases[number // 3 % len(cases)]
        first = number * 7 % 59
        rows = slice(first, first + 1 + number % 5)
        name = f"request {number} to {case.model}, rows {rows.start} to {rows.stop}"
        asked = case.asked(rows)
        questions.append(CloseQuestion(name, case.model, asked, case.expected(rows)))
    return questions


def by_grpc(client: over_grpc.InferenceServerClient, case: Case, rows: slice) -> Answer:
    given = []
    for name, array in case.asked(rows).items():
        tensor = over_grpc.InferInput(name, list(array.shape), datatype_of(array))
        given.append(tensor.set_data_from_numpy(array))
    result = client.infer(case.model, given)
    names = [output.name for output in result.get_response().outputs]
    # A parameter that is not there reads as an empty one.
    told = {name: result.get_output(name).parameters["labels"].string_param for name in names}
    return {name: result.as_numpy(name) for name in names}, read_labels(told)


def by_http(
    client: over_http.InferenceServerClient, binary: bool, case: Case, rows: slice
) -> Answer:
    given = []
    for name, array in case.asked(rows).items():
        tensor = over_http.InferInput(name, list(array.shape), datatype_of(array))
        given.append(tensor.set_data_from_numpy(array, binary_data=binary))
    # Without outputs the client itself asks for all of them as binary data.
    asked = [over_http.InferRequestedOutput(name, binary_data=False) for name in case.outputs]
    result = client.infer(case.model, given, outputs=None if binary else asked)
    names = [output["name"] for output in result.get_response()["outputs"]]
    told = {name: result.get_output(name).get("parameters", {}).get("labels") for name in names}
    return {name: result.as_numpy(name) for name in names}, read_labels(told)


def read_labels(told: dict[str, str | None]) -> Labels:
    """The labels of the outputs that have some: text that is a list in JSON."""
    return {name: json.loads(text) for name, text in told.items() if text}


def check_close(what: str, found: Tensors, expected: Tensors) -> None:
    """Fails unless both have the same outputs in order, labels equal and numbers close."""
    if list(found) != list(expected):
        raise AssertionError(f"{what}: outputs are {list(found)}, expected {list(expected)}")
    for name, array in expected.items():
        other = found[name]
        if (other.dtype, other.shape) != (array.dtype, array.shape):
            raise AssertionError(
                f"{what}: {name} is {other.dtype}{other.shape}, expected {array.dtype}{array.shape}"
            )
        if array.dtype.kind == "f":
            np.testing.assert_allclose(other, array, RTOL, ATOL, err_msg=f"{what}: {name}")
        elif wire(other) != wire(array):
            raise AssertionError(f"{what}: {name} is\n{other}\nexpected\n{array}")


def check_metadata(case: Case, client: over_http.InferenceServerClient) -> None:
    """Checks that the metadata names what is then taken and given."""
    told = client.get_model_metadata(case.model)
    for kind, tensors in (("inputs", case.inputs), ("outputs", case.outputs)):
        found = {given["name"]: (given["datatype"], len(given["shape"])) for given in told[kind]}
        expected = {name: (datatype_of(array), array.ndim) for name, array in tensors.items()}
        if list(found.items()) != list(expected.items()):
            raise AssertionError(f"{case.model}: {kind} are {found}, expected {expected}")


def read_case(path: Path) -> Case:
    case = json.loads(path.read_text("utf-8"))
    outputs = case["outputs"]
    return Case(
        path.stem,
        {tensor["name"]: array_of(tensor) for tensor in case["inputs"]},
        {tensor["name"]: array_of(tensor) for tensor in outputs},
        {tensor["name"]: tensor["labels"] for tensor in outputs if tensor["labels"] is not None},
        {tensor["name"]: tensor["axis"] for tensor in outputs},
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
