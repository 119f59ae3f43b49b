"""Measures the server's processor time a request, and that of a bare HTTP/2 echo beside it.

    make load-cpu        which builds both and runs: python3 loadtest/cpu.py TARGET

Both get the same ModelInfer request for `iris` from h2load, in turn, in five pairs at each number
of callers. The echo answers with the very bytes that the server answers with, so the ratio is what
the server costs beyond HTTP/2. Time is what the scheduler counted over all threads.

Starts both itself, on free ports of 127.0.0.1. Every request must be answered with 200 and a
message of the full size, which a gRPC error does not have; and one is checked with Triton's
client. Takes about half a minute.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAIRS = 5
LIMIT_S = 60


class Level(NamedTuple):
    """Callers at once, as connections times streams on each, and how often they ask together."""

    connections: int
    streams: int
    requests: int


LEVELS = [Level(1, 1, 4_000), Level(4, 2, 16_000), Level(8, 4, 32_000), Level(8, 16, 48_000)]


class Server(NamedTuple):
    """A server that runs."""

    pid: int
    address: str


def main() -> None:
    """Measures and prints a table."""
    h2load = shutil.which("h2load") or sys.exit(
        "load-cpu: h2load is missing (Debian and Ubuntu: apt-get install nghttp2-client)"
    )
    release = Path(sys.argv[1] if len(sys.argv) > 1 else "target") / "release"
    with tempfile.TemporaryDirectory() as folder, tidegate(release / "tidegate") as served:
        request, answer = Path(folder) / "request", Path(folder) / "answer"
        request.write_bytes(framed(infer_request()))
        answer.write_bytes(framed(checked_answer(served.address)))
        with echo(release / "echo", answer) as bare:
            sizes = request.stat().st_size, answer.stat().st_size
            print(f"request {sizes[0]} bytes, answer {sizes[1]} bytes, {PAIRS} pairs, medians\n")
            print("callers  tidegate, CPU us  echo, CPU us  ratio  of the five pairs")
            for level in LEVELS:
                pairs = list(measure(h2load, request, sizes[1], level, (served, bare)))
                print(line(level, pairs), flush=True)


def measure(
    h2load: str, request: Path, size: int, level: Level, servers: tuple[Server, Server]
) -> Iterator[tuple[float, float]]:
    """Yields microseconds a request of both servers, pair by pair."""
    for server in servers:
        drive(h2load, request, size, level._replace(requests=1_000), server)
    for pair in range(PAIRS):
        # Who comes first changes from pair to pair, so that neither gains by it.
        order = servers if pair % 2 == 0 else servers[::-1]
        took = {server: drive(h2load, request, size, level, server) for server in order}
        yield took[servers[0]], took[servers[1]]


def drive(h2load: str, request: Path, size: int, level: Level, server: Server) -> float:
    """Puts the level on a server; microseconds of its processor time a request."""
    before = cpu_ns(server.pid)
    told = subprocess.run(
        [
            *(h2load, "--clients", str(level.connections), "--requests", str(level.requests)),
            *("--max-concurrent-streams", str(level.streams), "--data", str(request)),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            f"http://{server.address}/inference.GRPCInferenceService/ModelInfer",
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    took = cpu_ns(server.pid) - before
    good = re.search(r"status codes: (\d+) 2xx", told.stdout)
    data = re.search(r"\((\d+)\) data", told.stdout)
    if not good or not data or int(good[1]) != level.requests:
        sys.exit(f"load-cpu: not every request was answered:\n{told.stdout}{told.stderr}")
    if int(data[1]) != level.requests * size:
        sys.exit(f"load-cpu: not every answer had {size} bytes:\n{told.stdout}")
    return took / level.requests / 1_000


def line(level: Level, pairs: list[tuple[float, float]]) -> str:
    """A line of the table."""
    ratios = sorted(served / bare for served, bare in pairs)
    served, bare = (statistics.median(column) for column in zip(*pairs))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    callers = level.connections * level.streams
    ratio = statistics.median(ratios)
    return f"{callers:7}  {served:16.1f}  {bare:12.1f}  {ratio:5.2f}  {spread}"


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a processor, of all threads of a process (proc_pid_schedstat(5))."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


@contextmanager
def tidegate(program: Path) -> Iterator[Server]:
    """The server with the demo models, until it is no longer needed."""
    ports = [word for port in PORTS for word in (f"--{port}", "127.0.0.1:0")]
    command = [program, "serve", "--models", ROOT / "models", "--ready-fd", "1", *ports]
    with running(command) as process:
        for told in process.stdout:
            if told.startswith("{"):
                yield Server(process.pid, json.loads(told)["grpc"])
                return
        sys.exit("load-cpu: the server did not start")


@contextmanager
def echo(program: Path, answer: Path) -> Iterator[Server]:
    """The echo, until it is no longer needed."""
    with running([program, "127.0.0.1:0", answer]) as process:
        address = process.stdout.readline().strip()
        if not address:
            sys.exit("load-cpu: the echo did not start")
        yield Server(process.pid, address)


@contextmanager
def running(command: list[str | Path]) -> Iterator[subprocess.Popen[str]]:
    """A program whose output is read, and which ends with the block."""
    quiet = dict(os.environ, TIDEGATE_LOG_FILTER="warn")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=quiet)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def checked_answer(address: str) -> bytes:
    """The server's answer to the request, after Triton's client found it right."""
    python = ROOT / ".venv/bin/python"
    command = [python, ROOT / "loadtest/answer.py", address]
    asked = subprocess.run(command, input=infer_request(), stdout=subprocess.PIPE, timeout=LIMIT_S)
    if asked.returncode != 0:
        sys.exit("load-cpu: the server's answer is not right; see above")
    return asked.stdout


def infer_request() -> bytes:
    """A ModelInferRequest for one flower, field by field (proto/inference.proto)."""
    tensor = field(1, b"input") + field(2, b"FP32") + field(3, bytes([1, 4]))
    flower = struct.pack("<4f", 5.0, 3.4, 1.5, 0.2)
    return field(1, b"iris") + field(5, tensor) + field(7, flower)


def field(number: int, value: bytes) -> bytes:
    """A protobuf field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


def framed(message: bytes) -> bytes:
    """A message as it stands in a gRPC body: not compressed, its length, itself."""
    return struct.pack(">BI", 0, len(message)) + message


PORTS = ["http", "grpc", "metrics", "admin"]

if __name__ == "__main__":
    main()
