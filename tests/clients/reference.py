"""What the clients' answers are compared with: onnxruntime in this process, bit for bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Tensors = dict[str, np.ndarray]

DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": np.object_}
DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(int64)": "INT64",
    "tensor(string)": "BYTES",
}

# Pieces of text that a tokenizer, a wire format or a C string may trip over.
PLAIN = ("cell", "nuclei", "blood", "pressure", "petal", "alcohol", "pixel", "digit")
TRAPS = ("naïve", "水", "😀", "e\u0301", "\0", '"', "back\\slash", "line\nbreak", "\u2028", "")
WORDS = PLAIN + TRAPS


class Reference:
    """One version of a model, run in this process."""

    def __init__(self, models: Path, model: str, version: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self.model, self.version = model, version
        self.folder = models / model / version
        self.session = onnxruntime.InferenceSession(
            self.folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __str__(self) -> str:
        return f"{self.model}/{self.version}"

    def answer(self, inputs: Tensors, outputs: list[str] | None = None) -> Tensors:
        """Outputs in the order asked for; all of them where none is named."""
        names = outputs or self.outputs
        answer = dict(zip(names, self.session.run(names, inputs), strict=True))
        for name, array in answer.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise AssertionError(f"{self}: {name} of {inputs} is not finite: choose others")
        return answer

    def golden(self) -> list[tuple[str, Tensors]]:
        """Inputs of the golden cases, by the cases' names."""
        cases = json.loads((self.folder / "golden.json").read_text())
        return [
            (case["name"], {tensor["name"]: array_of(tensor) for tensor in case["inputs"]})
            for case in cases
        ]

    def random(self, rows: int, seed: int) -> Tensors:
        """Inputs of so many rows, the same for the same seed."""
        rng = np.random.default_rng(seed)
        return {spec.name: self._values(spec, rows, rng) for spec in self.session.get_inputs()}

    def digest(self) -> str:
        """The version's digest as the contract defines it, cut as answers show it."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        names = sorted((str(path.relative_to(self.folder)) for path in files), key=str.encode)
        lines = "".join(
            f"{hashlib.sha256((self.folder / name).read_bytes()).hexdigest()}  {name}\n"
            for name in names
        )
        return hashlib.sha256(lines.encode()).hexdigest()[:12]

    def _values(self, spec: Any, rows: int, rng: np.random.Generator) -> np.ndarray:
        shape = [rows, *spec.shape[1:]]
        match DATATYPES[spec.type]:
            case "BYTES":
                # Indices, because an array of text would lose a NUL at an end.
                picks = [rng.integers(0, len(WORDS), size) for size in rng.integers(1, 9, rows)]
                texts = [" ".join(WORDS[pick] for pick in row) for row in picks]
                # An empty text among others, and one that ends with a NUL.
                texts[1:3] = ["", "a\0"][: rows - 1]
                return np.array(texts, np.object_).reshape(shape)
            case "INT64":
                return rng.integers(0, 2000, shape)
            case datatype:
                return rng.normal(3, 2, shape).astype(DTYPES[datatype])


def datatype_of(array: np.ndarray) -> str:
    """The protocol's name of an array's type."""
    return next(name for name, dtype in DTYPES.items() if array.dtype == dtype)


def array_of(tensor: dict[str, Any]) -> np.ndarray:
    """The array that a tensor in the protocol's JSON means."""
    return np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])


def array_from(datatype: str, shape: list[int], wire_form: bytes) -> np.ndarray:
    """The array that bytes in wire form mean."""
    if datatype != "BYTES":
        return np.frombuffer(wire_form, DTYPES[datatype]).reshape(shape)
    elements, at = [], 0
    while at < len(wire_form):
        end = at + 4 + int.from_bytes(wire_form[at : at + 4], "little")
        elements.append(wire_form[at + 4 : end])
        at = end
    return np.array(elements, np.object_).reshape(shape)


def elements_of(array: np.ndarray) -> list[bytes]:
    """The elements of an array of strings, whether it holds text or bytes."""
    return [item if isinstance(item, bytes) else item.encode() for item in array.flat]


def wire(array: np.ndarray) -> bytes:
    """An array's bytes as they travel: what is compared, so that no tolerance hides anything."""
    if array.dtype == np.object_:
        elements = elements_of(array)
        return b"".join(len(item).to_bytes(4, "little") + item for item in elements)
    return array.tobytes()


def check_same(what: str, found: Tensors, expected: Tensors) -> None:
    """Fails unless both have the same outputs in the same order, equal in every bit."""
    if list(found) != list(expected):
        raise AssertionError(f"{what}: outputs are {list(found)}, expected {list(expected)}")
    for name, array in expected.items():
        other = found[name]
        if (other.dtype, other.shape) != (array.dtype, array.shape):
            raise AssertionError(
                f"{what}: {name} is {other.dtype}{other.shape}, expected {array.dtype}{array.shape}"
            )
        if wire(other) != wire(array):
            raise AssertionError(f"{what}: {name} is\n{other}\nexpected\n{array}")
