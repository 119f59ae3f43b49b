"""Asks for ONNX's own test cases over both protocols, and compares with onnxruntime's answers.

    conformance.py prepare <repository> [<cases>]
    conformance.py compare <http address> <grpc address> <repository>

`prepare` puts every case of the `onnx` package that counts into a model repository, or so many of
them, spread over folders and types. A case counts if the protocol carries its types and
onnxruntime, in this process, gives what the case expects. `compare` asks a server on that
repository for each of them in three ways. An answer must be onnxruntime's own in every bit (NaN is
NaN), and what the case expects within the suite's tolerance. Exits with 0 if all of them are.
"""

import collections
import ctypes
import hashlib
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from onnx import ModelProto, TensorProto, TypeProto, numpy_helper

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FOLDERS = ("node", "simple", "pytorch-converted", "pytorch-operator")

# The suite's own (onnx/backend/test/runner).
RTOL, ATOL = 1e-3, 1e-7

CARRIED = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}

Tensors = dict[str, np.ndarray]
Ask = Callable[[str, Tensors, list[str]], Tensors]


class Skipped(Exception):
    """A case that does not count in this way, and why."""


class Case:
    """One folder of the suite: a model, with requests and the answers expected."""

    def __init__(self, folder: str, name: str) -> None:
        self.path = DATA / folder / name
        # Two folders may have cases of the same name.
        self.model = f"{folder}.{name}"
        self.proto: ModelProto = onnx.load(self.path / "model.onnx", load_external_data=False)

    def types(self) -> tuple[str, ...]:
        """The types of inputs and outputs; fails if the protocol does not carry one."""
        values = [*self.proto.graph.input, *self.proto.graph.output]
        return tuple(sorted({type_of(value.type) for value in values}))

    def session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(
                self.path / "model.onnx", options, providers=["CPUExecutionProvider"]
            )
        except Exception:
            raise Skipped("onnxruntime does not load it") from None

    def answered(self) -> Iterator[tuple[Tensors, Tensors, list[np.ndarray]]]:
        """Each data set's inputs, onnxruntime's answer, and the answer that is expected."""
        session = self.session()
        for folder in sorted(self.path.glob("test_data_set_*")):
            given = read_all(folder, "input")
            names = [value.name for value in session.get_inputs()]
            if len(given) > len(names):
                # Some of them have a default.
                names = [value.name for value in self.proto.graph.input]
            inputs = dict(zip(names, given, strict=True))
            try:
                answer = run(session, inputs)
            except Exception:
                raise Skipped("onnxruntime does not run it") from None
            expected = read_all(folder, "output")
            yield inputs, answer, expected

    def check(self) -> None:
        """Fails if the case does not count."""
        self.types()
        for _, answer, expected in self.answered():
            try:
                check_near(answer, expected)
            except AssertionError:
                raise Skipped("onnxruntime answers something else than expected") from None


def main(command: str, *arguments: str) -> int:
    match command:
        case "prepare":
            return prepare(Path(arguments[0]), int(arguments[1]) if arguments[1:] else None)
        case "compare":
            return compare(*arguments)
    raise SystemExit(__doc__)


def prepare(repository: Path, count: int | None) -> int:
    cases, skipped = [], collections.defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((DATA / folder).iterdir()):
            if not (path / "model.onnx").exists():
                continue
            case = Case(folder, path.name)
            try:
                case.check()
                cases.append(case)
            except Skipped as reason:
                skipped[str(reason)].append(case.model)
    for case in cases if count is None else spread(cases, count):
        version = repository / case.model / "1"
        # With whatever lies beside the model, such as external data.
        shutil.copytree(case.path, version, ignore=shutil.ignore_patterns("test_data_set_*"))
    print(f"{len(cases)} cases of onnx {onnx.__version__} count")
    for reason, models in sorted(skipped.items()):
        print(f"{len(models)} do not, {reason}: {' '.join(models)}")
    return 0


def spread(cases: list[Case], count: int) -> list[Case]:
    """So many cases, the same ones every time: of each folder and combination of types in turn."""
    groups = collections.defaultdict(list)
    for case in sorted(cases, key=lambda case: hashlib.sha256(case.model.encode()).digest()):
        groups[case.path.parent.name, case.types()].append(case)
    turns = [group for _, group in sorted(groups.items())]
    rounds = ([group[at] for group in turns if at < len(group)] for at in range(len(cases)))
    return [case for cases in rounds for case in cases][:count]


def compare(http: str, grpc: str, repository: str) -> int:
    grpc_client = over_grpc.InferenceServerClient(grpc)
    http_client = over_http.InferenceServerClient(http)
    ways: dict[str, Ask] = {
        "gRPC": lambda *asked: by_grpc(grpc_client, *asked),
        "HTTP JSON": lambda *asked: by_http(http_client, False, *asked),
        "HTTP binary": lambda *asked: by_http(http_client, True, *asked),
    }
    passed, failed = collections.Counter(), []
    skipped = collections.defaultdict(list)
    models = sorted(path.name for path in Path(repository).iterdir())
    for model in models:
        case = Case(*model.split(".", 1))
        data_sets = list(case.answered())
        for way, ask in ways.items():
            try:
                for inputs, answer, expected in data_sets:
                    found = ask(model, inputs, list(answer))
                    check_same(found, answer)
                    check_near(found, expected)
                passed[way] += 1
            except Skipped as reason:
                skipped[way, str(reason)].append(model)
            except Exception as error:
                text = " ".join(str(error).split())
                failed.append(f"{model}, {way}: {type(error).__name__}: {text[:400]}")
    for failure in failed:
        print(failure)
    for (way, reason), which in skipped.items():
        print(f"{way}: {len(which)} left out, {reason}: {' '.join(which)}")
    counts = ", ".join(f"{passed[way]} over {way}" for way in ways)
    print(f"of {len(models)} cases pass: {counts}")
    return 1 if failed or not models else 0


def by_grpc(
    client: over_grpc.InferenceServerClient, model: str, inputs: Tensors, outputs: list[str]
) -> Tensors:
    given = [
        over_grpc.InferInput(name, list(array.shape), datatype_of(array)).set_data_from_numpy(array)
        for name, array in inputs.items()
    ]
    result = client.infer(model, given)
    found = [output.name for output in result.get_response().outputs]
    return answer_of(result, found, outputs)


def by_http(
    client: over_http.InferenceServerClient,
    binary: bool,
    model: str,
    inputs: Tensors,
    outputs: list[str],
) -> Tensors:
    if not binary:
        check_has_json(inputs)
    given = []
    for name, array in inputs.items():
        tensor = over_http.InferInput(name, list(array.shape), datatype_of(array))
        given.append(tensor.set_data_from_numpy(array, binary_data=binary))
    asked = [over_http.InferRequestedOutput(name, binary_data=binary) for name in outputs]
    result = client.infer(model, given, outputs=asked)
    found = result.get_response()["outputs"]
    for output in found:
        if ("data" in output) == binary:
            raise AssertionError(f"output {output['name']} came in the other form")
    return answer_of(result, [output["name"] for output in found], outputs)


def check_has_json(inputs: Tensors) -> None:
    for array in inputs.values():
        if array.dtype == ml_dtypes.bfloat16:
            raise Skipped("tritonclient sends BF16 in binary form only")


def answer_of(result: Any, found: list[str], expected: list[str]) -> Tensors:
    if found != expected:
        raise AssertionError(f"outputs are {found}, expected {expected}")
    return {name: result.as_numpy(name) for name in found}


def type_of(kind: TypeProto) -> str:
    what = kind.WhichOneof("value")
    if what != "tensor_type":
        raise Skipped(f"the protocol does not carry {what.removesuffix('_type')}s")
    element = kind.tensor_type.elem_type
    if element not in CARRIED:
        raise Skipped(f"the protocol does not carry {TensorProto.DataType.Name(element)}")
    return CARRIED[element]


def datatype_of(array: np.ndarray) -> str:
    """The protocol's name of an array's type."""
    if array.dtype.kind in "OSU":
        return "BYTES"
    return CARRIED[onnx.helper.np_dtype_to_tensor_dtype(array.dtype)]


def read_all(folder: Path, kind: str) -> list[np.ndarray]:
    paths = [folder / f"{kind}_{index}.pb" for index in range(len(list(folder.glob(f"{kind}_*"))))]
    return [
        numpy_helper.to_array(TensorProto.FromString(path.read_bytes())) for path in paths
    ]


def run(session: onnxruntime.InferenceSession, inputs: Tensors) -> Tensors:
    """What onnxruntime answers in this process."""
    names = [output.name for output in session.get_outputs()]
    types = [value.type for value in [*session.get_inputs(), *session.get_outputs()]]
    if "tensor(bfloat16)" not in types:
        return dict(zip(names, session.run(names, inputs), strict=True))
    # numpy itself has no such type, so onnxruntime's simple call does not take it.
    values = session.run_with_ort_values(
        names, {name: ort_value(array) for name, array in inputs.items()}
    )
    return dict(zip(names, map(array_of, values), strict=True))


def ort_value(array: np.ndarray) -> onnxruntime.OrtValue:
    if array.dtype != ml_dtypes.bfloat16:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
        array.view(np.uint16), TensorProto.BFLOAT16
    )


def array_of(value: onnxruntime.OrtValue) -> np.ndarray:
    if value.element_type() != TensorProto.BFLOAT16:
        return value.numpy()
    shape = value.shape()
    data = ctypes.string_at(value.data_ptr(), 2 * math.prod(shape))
    return np.frombuffer(data, ml_dtypes.bfloat16).reshape(shape)


def check_same(found: Tensors, expected: Tensors) -> None:
    """Fails unless all outputs are equal in every bit, but for bits within a NaN."""
    for name, array in expected.items():
        other = found[name]
        if array.dtype.kind in "OSU":
            if other.shape != array.shape or texts_of(other) != texts_of(array):
                raise AssertionError(f"{name} is {other}, in process {array}")
            continue
        if (other.dtype, other.shape) != (array.dtype, array.shape):
            raise AssertionError(
                f"{name} is {other.dtype}{other.shape}, in process {array.dtype}{array.shape}"
            )
        if bits_of(other) != bits_of(array):
            raise AssertionError(f"{name} is {other}, in process {array}")


def bits_of(array: np.ndarray) -> bytes:
    if array.dtype.kind in "biu":
        return array.tobytes()
    return np.where(np.isnan(array), np.full_like(array, np.nan), array).tobytes()


def check_near(found: Tensors, expected: list[np.ndarray]) -> None:
    for (name, other), array in zip(found.items(), expected, strict=True):
        if other.shape != array.shape:
            raise AssertionError(f"{name} is of shape {other.shape}, expected {array.shape}")
        if array.dtype.kind in "OSU":
            if texts_of(other) != texts_of(array):
                raise AssertionError(f"{name} is {other}, expected {array}")
            continue
        if other.dtype != array.dtype:
            raise AssertionError(f"{name} is {other.dtype}, expected {array.dtype}")
        wide = np.float64 if array.dtype == ml_dtypes.bfloat16 else array.dtype
        np.testing.assert_allclose(other.astype(wide), array.astype(wide), RTOL, ATOL)


def texts_of(array: np.ndarray) -> list[bytes]:
    """The elements of an array of strings, whether it holds text or bytes."""
    return [item if isinstance(item, bytes) else item.encode() for item in array.ravel().tolist()]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
