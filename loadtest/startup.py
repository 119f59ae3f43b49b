"""Measures how long a start takes: with 200 small models until all are ready, and to a first answer.

    make load-startup    which builds the server and runs: python3 loadtest/startup.py TARGET

The 200 are copies of the four demo models, under 200 names. Each start is a new process on free
ports of 127.0.0.1 with the defaults that users have, the watch of the folder too. Times begin
before the process does. Every model must be ready at the end, and the first answer must be right.
The first start of each kind is not counted: it waits until files that were copied a moment ago are
at rest (`repository.settle_ms`). Takes about a quarter of a minute.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STARTS = 9
MODELS = 200
LIMIT_S = 120
# Aims, in seconds.
ALL_READY_S, FIRST_ANSWER_S = 10.0, 0.3


def main() -> None:
    """Measures and prints a table."""
    release = Path(sys.argv[1] if len(sys.argv) > 1 else "target") / "release"
    program = (release / "tidegate").absolute()
    with tempfile.TemporaryDirectory() as folder:
        many, one = Path(folder) / "many", Path(folder) / "one"
        demos = [model for model in sorted((ROOT / "models").iterdir()) if model.is_dir()]
        for place in range(MODELS):
            demo = demos[place % len(demos)]
            copy(demo, many / f"{demo.name}-{place:03}")
        copy(ROOT / "models/iris", one / "iris")
        print(f"{STARTS} starts each, of {program.stat().st_size >> 20} MiB of program\n")
        print("seconds from the start of the process            median  lowest  highest    aim")
        report("iris alone, to its first answer", FIRST_ANSWER_S, program, one, first_answer)
        report(f"{MODELS} small models, to all ready", ALL_READY_S, program, many, all_ready)


def copy(model: Path, to: Path) -> None:
    """Copies the newest version of a model, and what its owner says of it."""
    newest = max((entry for entry in model.iterdir() if entry.name.isdigit()), key=version)
    shutil.copytree(newest, to / newest.name)
    for said in model.glob("*.toml"):
        shutil.copy(said, to)


def version(folder: Path) -> int:
    """The number of a version's folder."""
    return int(folder.name)


def report(what, aim, program, models, measure) -> None:
    """Starts it several times, and prints a line of the table."""
    measure(program, models)
    took = sorted(measure(program, models) for _ in range(STARTS))
    median = statistics.median(took)
    print(f"{what:47}  {median:6.3f}  {took[0]:6.3f}  {took[-1]:7.3f}  {aim:5.1f}", flush=True)


def first_answer(program: Path, models: Path) -> float:
    """Seconds to the first right answer of `iris`."""
    began = time.perf_counter()
    with tidegate(program, models) as address:
        row = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [4.9, 2.5, 4.5, 1.7]}
        answer = ask(address, "POST", "/v2/models/iris/infer", {"inputs": [row]})
        took = time.perf_counter() - began
        if answer["outputs"][0]["data"] != [2]:
            sys.exit(f"load-startup: the first answer is wrong: {answer}")
        return took


def all_ready(program: Path, models: Path) -> float:
    """Seconds until every model is ready."""
    began = time.perf_counter()
    with tidegate(program, models) as address:
        index = ask(address, "POST", "/v2/repository/index", {})
        took = time.perf_counter() - began
        ready = sum(entry["state"] == "READY" for entry in index)
        if ready != MODELS:
            sys.exit(f"load-startup: {ready} of {MODELS} models are ready")
        return took


def ask(address: str, method: str, path: str, body: object) -> object:
    """One call, as JSON; ends the program unless it is answered with 200."""
    connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
    connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        sys.exit(f"load-startup: {path} answered {response.status}: {text[:200]!r}")
    return json.loads(text)


@contextmanager
def tidegate(program: Path, models: Path) -> Iterator[str]:
    """A server that says it is ready; its HTTP address."""
    ports = [word for port in PORTS for word in (f"--{port}", "127.0.0.1:0")]
    command = [program, "serve", "--models", models, "--ready-fd", "1", *ports]
    quiet = dict(os.environ, TIDEGATE_LOG_FILTER="warn")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=quiet)
    try:
        told = next((line for line in process.stdout if line.startswith("{")), None)
        if told is None:
            sys.exit("load-startup: the server did not start")
        yield json.loads(told)["http"]
    finally:
        process.terminate()
        process.wait(LIMIT_S)


PORTS = ["http", "grpc", "metrics", "admin"]

if __name__ == "__main__":
    main()
