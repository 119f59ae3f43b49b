"""Measures what changes of models cost the callers of a model that serves: p99, beside a rest.

    make load-changes    which builds and runs: python3 loadtest/changes.py TARGET [SECONDS [PAIRS]]

gRPC requests for one row come at a steady rate, 40 % of what the server answers at most, from
h2load, whether answers are slow or not (an open loop). In turn, in pairs, the same load runs

    at rest     nothing changes
    small       a new version of the model, 8 MB, is put into its folder every second
    large       a new version of another model, 200 MB, every five seconds
    many        200 other models of 1 kB come at once; counted until all of them serve

Every request must be answered with 200. Server, client and loads share this machine's processors.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cpu import PORTS, ROOT, framed, field, running

CONNECTIONS, STREAMS, SHARE = 8, 64, 0.4
ROW_BYTES = 256
# Before the first change of a run.
WARM_S = 0.5


class Server(NamedTuple):
    """A server that runs, and its folder of models."""

    grpc: str
    http: str
    models: Path


class Run(NamedTuple):
    """When each request was sent, in seconds, and how long its answer took, in microseconds."""

    answers: list[tuple[float, int]]

    def p99(self, first: float = 0.0, last: float = float("inf")) -> float:
        took = sorted(us for sent, us in self.answers if first <= sent <= last)
        if len(took) < 1_000:
            sys.exit(f"load-changes: {len(took)} requests are too few for a p99")
        return took[len(took) * 99 // 100] / 1_000


def main() -> None:
    """Measures and prints a table."""
    told = [*sys.argv[1:], *("target", "20", "5")[len(sys.argv) - 1 :]]
    release, seconds, pairs = Path(told[0]) / "release", int(told[1]), int(told[2])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models = folder / "models"
        put(models / "lookup" / "1", model(8_000_000))
        put(models / "other" / "1", model(1_000))
        ports = [word for port in PORTS for word in (f"--{port}", "127.0.0.1:0")]
        command = [release / "tidegate", "serve", "--models", models, "--ready-fd", "1", *ports]
        with running(command) as process:
            ready = next(line for line in process.stdout if line.startswith("{"))
            # What it says later is nobody's to read.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            addresses = json.loads(ready)
            server = Server(addresses["grpc"], addresses["http"], models)
            measure(server, folder, seconds, pairs)


def measure(server: Server, folder: Path, seconds: int, pairs: int) -> None:
    request = folder / "request"
    request.write_bytes(framed(infer_request()))
    most = capacity(server, request)
    rate = int(most * SHARE)
    print(f"{most} requests a second at most; {rate} a second, {seconds} s each, {pairs} pairs\n")
    print("p99, ms   at rest  with changes  ratio  of the pairs")
    for name, change in CHANGES.items():
        found = []
        for _ in range(pairs):
            rest = drive(server, request, rate, seconds).p99()
            window: list[float] = []
            changing = threading.Thread(target=change(server, folder, seconds, window))
            changing.start()
            run = drive(server, request, rate, seconds)
            changing.join()
            found.append((rest, run.p99(*window)))
        ratios = sorted(changed / rest for rest, changed in found)
        rest, changed = (statistics.median(column) for column in zip(*found))
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        ratio = statistics.median(ratios)
        print(f"{name:8}  {rest:7.2f}  {changed:12.2f}  {ratio:5.2f}  {spread}", flush=True)


# Each makes its files, and gives back what puts them in their places while requests come.
Change = Callable[[], None]


def small(server: Server, folder: Path, seconds: int, _: list[float]) -> Change:
    """A version a second of the model that is asked."""
    return versions(server.models / "lookup", folder / "next", 8_000_000, (seconds, 1))


def large(server: Server, folder: Path, seconds: int, _: list[float]) -> Change:
    """A version of 200 MB every five seconds of one that is not."""
    return versions(server.models / "other", folder / "next", 200_000_000, (seconds, 5))


def many(server: Server, folder: Path, _: int, window: list[float]) -> Change:
    """200 models at once."""
    first = next_number(server.models, "many_")
    names = [f"many_{number}" for number in range(first, first + 200)]
    for name in names:
        put(folder / "next" / name / "1", model(1_000))

    def change() -> None:
        time.sleep(WARM_S)
        begun = time.time()
        for name in names:
            (folder / "next" / name).rename(server.models / name)
        # The last to be asked is not the last to come.
        for name in names:
            while not is_ready(server, name):
                time.sleep(0.02)
        window[:] = [begun, time.time()]
        print(f"{'':8}  200 models after {window[1] - begun:.1f} s", flush=True)

    return change


CHANGES: dict[str, Callable[[Server, Path, int, list[float]], Change]] = {
    "small": small,
    "large": large,
    "many": many,
}


def versions(model_folder: Path, work: Path, size: int, times: tuple[int, int]) -> Change:
    """Puts complete versions there, one each few seconds, and takes away the one before the last."""
    seconds, every = times
    number = max(int(version.name) for version in model_folder.iterdir())
    made = []
    for number in range(number + 1, number + 1 + max(seconds // every, 1)):
        put(work / str(number), model(size))
        made.append(number)

    def change() -> None:
        begun = time.monotonic() + WARM_S
        for turn, number in enumerate(made):
            time.sleep(max(0.0, begun + turn * every - time.monotonic()))
            (work / str(number)).rename(model_folder / str(number))
            shutil.rmtree(model_folder / str(number - 2), ignore_errors=True)

    return change


def capacity(server: Server, request: Path) -> int:
    """Requests a second, when every answer is followed by the next request."""
    h2load(server, request, ["--requests", "20000", "--max-concurrent-streams", "4"])
    told = h2load(server, request, ["--requests", "60000", "--max-concurrent-streams", "4"])
    return int(float(re.search(r"([\d.]+) req/s", told)[1]))


def drive(server: Server, request: Path, rate: int, seconds: int) -> Run:
    """Asks at that rate for so long."""
    with tempfile.NamedTemporaryFile() as log:
        arguments = [*("--duration", str(seconds)), *("--rps", str(rate / CONNECTIONS))]
        arguments += [*("--max-concurrent-streams", str(STREAMS)), f"--log-file={log.name}"]
        h2load(server, request, arguments)
        lines = [line.split("\t") for line in Path(log.name).read_text().splitlines()]
    wrong = [line for line in lines if line[1] != "200"]
    if wrong:
        sys.exit(f"load-changes: {len(wrong)} of {len(lines)} requests failed: {wrong[:3]}")
    return Run([(int(sent) / 1e6, int(took)) for sent, _, took, *_ in lines])


def h2load(server: Server, request: Path, arguments: list[str]) -> str:
    program = shutil.which("h2load") or sys.exit(
        "load-changes: h2load is missing (Debian and Ubuntu: apt-get install nghttp2-client)"
    )
    path = "/inference.GRPCInferenceService/ModelInfer"
    told = subprocess.run(
        [
            *(program, "--clients", str(CONNECTIONS), *arguments, "--data", str(request)),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            f"http://{server.grpc}{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if not re.search(r" 0 failed, 0 errored, 0 timeout", told):
        sys.exit(f"load-changes: not every request was answered:\n{told}")
    return told


def is_ready(server: Server, name: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{server.http}/v2/models/{name}/ready"):
            return True
    except urllib.error.HTTPError:
        return False


def next_number(folder: Path, prefix: str) -> int:
    return 1 + max((int(path.name.removeprefix(prefix)) for path in folder.glob(f"{prefix}*")), default=0)


def put(folder: Path, model: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)


def infer_request() -> bytes:
    """A ModelInferRequest for one row of the table, field by field (proto/inference.proto)."""
    tensor = field(1, b"row") + field(2, b"INT64") + field(3, bytes([1]))
    return field(1, b"lookup") + field(5, tensor) + field(7, (2).to_bytes(8, "little"))


def model(size: int) -> bytes:
    """A model that looks rows up in a table of about `size` bytes; no two are the same file."""
    # The last of several producer's names counts (protobuf), and means nothing to the model.
    return table(size) + field(2, f"table {next(NUMBERS)}".encode())


@functools.cache
def table(size: int) -> bytes:
    command = [ROOT / ".venv/bin/python", ROOT / "loadtest/table.py", str(max(size // ROW_BYTES, 3))]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


NUMBERS = itertools.count()

if __name__ == "__main__":
    main()
