#!/usr/bin/env python3
"""Runs tests/it/devices.rs on a device: `test_devices.py cuda` or `test_devices.py openvino`.

The library with that provider is unpacked below .tools/devices/ from PyPI wheels that are pinned by
SHA-256 (scripts/devices/*.txt), together with what it loads; nothing is installed. Status 3: there
is no such device here, and nothing was tested.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import fetching
from fetching import ROOT, SetupError, say

LISTS = ROOT / "scripts" / "devices"
STAMP = ".made-from"
NO_DEVICE = 3

# As setup_onnxruntime.py: the wheel of one Python is as good as another's, it is only unpacked.
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014", "manylinux1")
WHEEL_PYTHON = "3.11"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("provider", choices=sorted(path.stem for path in LISTS.glob("*.txt")))
    parser.add_argument("arguments", nargs="*", help="more for the test binary, after --")
    arguments = parser.parse_args()
    provider = arguments.provider
    if provider == "cuda":
        say_which_gpu_or_end()
    home = set_up(provider)
    environment = dict(
        os.environ,
        TIDEGATE_TEST_PROVIDER=provider,
        ORT_DYLIB_PATH=str(library(home)),
        LD_LIBRARY_PATH=":".join(loaded_from(home)),
    )
    command = ["cargo", "test", "--all-features", "--locked", "--test", "it", "devices::", "--"]
    command += ["--ignored", "--nocapture", "--test-threads=1", *arguments.arguments]
    sys.exit(subprocess.run(command, check=False, cwd=str(ROOT), env=environment).returncode)


def say_which_gpu_or_end() -> None:
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        told = asked.stdout.decode(errors="replace").strip()
        found = asked.returncode == 0 and bool(told)
    except OSError as error:
        told, found = str(error), False
    if not found:
        say("no NVIDIA GPU found, nothing was tested: nvidia-smi: {}".format(told or "no word"))
        sys.exit(NO_DEVICE)
    say("GPU: " + told)


def set_up(provider: str) -> Path:
    """Returns the folder of the unpacked wheels, after fetching them if they are not there."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError("the wheels with devices are for Linux on x86_64 only")
    wanted = LISTS / (provider + ".txt")
    stamp = hashlib.sha256(wanted.read_bytes()).hexdigest()
    into = ROOT / ".tools" / "devices"
    home = into / provider
    with fetching.locked(into):
        if not is_there(home, stamp):
            fetch(home, wanted, stamp)
    return home


def is_there(home: Path, stamp: str) -> bool:
    try:
        return (home / STAMP).read_text() == stamp
    except OSError:
        return False


def fetch(home: Path, wanted: Path, stamp: str) -> None:
    fetching.require_pip()
    say("{}: fetching what {} lists; the first time takes minutes".format(home.name, wanted.name))
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=str(home.parent)))
    try:
        fetching.pip(
            "install",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version=" + WHEEL_PYTHON,
            "--implementation=cp",
            *("--platform={}_x86_64".format(name) for name in PLATFORMS),
            "--require-hashes",
            "--no-compile",
            "--target=" + str(work / "home"),
            "--requirement=" + str(wanted),
            what="the libraries of " + wanted.name,
        )
        (work / "home" / STAMP).write_text(stamp)
        shutil.rmtree(str(home), ignore_errors=True)
        (work / "home").rename(home)
    finally:
        shutil.rmtree(str(work), ignore_errors=True)


def library(home: Path) -> Path:
    found = sorted((home / "onnxruntime" / "capi").glob("libonnxruntime.so.*"))
    if not found:
        raise SetupError("{} has no libonnxruntime.so: remove it and start again".format(home))
    return found[0]


def loaded_from(home: Path) -> list:
    """Returns where the system's loader finds what the library asks for."""
    folders = {str(path.parent) for path in (home / "nvidia").rglob("lib*.so.*")}
    return sorted(folders) + [path for path in [os.environ.get("LD_LIBRARY_PATH")] if path]


if __name__ == "__main__":
    fetching.run(main)
