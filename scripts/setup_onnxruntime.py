#!/usr/bin/env python3
"""Puts the ONNX Runtime library that the server loads into .tools/onnxruntime/.

It comes from the PyPI wheel, pinned by SHA-256 twice: the wheel before it is opened, the library
each time this script runs. The new folder is built beside the old one and renamed into place, so a
set-up that is cut off leaves nothing half done, and a server that runs keeps the file it loaded.
No virtual environment is needed: the wheel is only unpacked, never installed or run.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import fetching
from fetching import ROOT, SetupError, say

VERSION = "1.32.0"
LIBRARY = "libonnxruntime.so." + VERSION
OLDEST_GLIBC = (2, 28)


class Pin(NamedTuple):
    """The wheel for one kind of machine, and the library in it."""

    tag: str
    wheel_sha256: str
    library_sha256: str


# Any wheel of the version has the same library; the one for CPython 3.11 is taken everywhere.
WHEEL_PYTHON = "3.11"
PINS = {
    "x86_64": Pin(
        tag="manylinux_2_28_x86_64",
        wheel_sha256="5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
        library_sha256="6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    ),
    "aarch64": Pin(
        tag="manylinux_2_28_aarch64",
        wheel_sha256="2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        library_sha256="49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print-path", action="store_true", help="print the library's path")
    parser.add_argument(
        "--into",
        type=Path,
        default=ROOT / ".tools" / "onnxruntime",
        metavar="FOLDER",
        help="where the folder %s goes (default: .tools/onnxruntime)" % VERSION,
    )
    arguments = parser.parse_args()

    own = os.environ.get("ORT_DYLIB_PATH", "")
    if own and Path(own).is_file():
        path = Path(own)
        say("ONNX Runtime: using {} (ORT_DYLIB_PATH)".format(path))
    else:
        path = set_up(arguments.into)
    if arguments.print_path:
        print(path)


def set_up(into: Path) -> Path:
    """Returns the path of the library under `into`, after fetching it if it is not there."""
    pin = pin_of_this_machine()
    home = into / VERSION
    path = home / "lib" / "libonnxruntime.so"
    if not is_there(home, pin):
        with fetching.locked(into):
            if not is_there(home, pin):
                fetch(home, pin)
    return path


def pin_of_this_machine() -> Pin:
    system, machine = platform.system(), platform.machine()
    pin = PINS.get({"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine))
    own = "set ORT_DYLIB_PATH to an ONNX Runtime {} library of your own".format(VERSION)
    if system != "Linux" or pin is None:
        raise SetupError(
            "ONNX Runtime is fetched for Linux on x86_64 and aarch64 only, and this is {} on {}: "
            "{}".format(system, machine, own)
        )
    found = glibc()
    if found < OLDEST_GLIBC:
        raise SetupError(
            "ONNX Runtime needs glibc {}.{} or newer, and this machine has {}: {}".format(
                *OLDEST_GLIBC, ".".join(map(str, found)) or "none (musl?)", own
            )
        )
    return pin


def glibc() -> tuple:
    """Returns the version of the C library as numbers, or an empty tuple if it is not glibc."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return tuple(int(number) for number in version.split(".")[:2]) if name == "glibc" else ()
    except (ValueError, OSError):
        return ()


def is_there(home: Path, pin: Pin) -> bool:
    library, link = home / "lib" / LIBRARY, home / "lib" / "libonnxruntime.so"
    try:
        return link.samefile(library) and fetching.sha256_of(library) == pin.library_sha256
    except OSError:
        return False


def fetch(home: Path, pin: Pin) -> None:
    fetching.require_pip()
    say("ONNX Runtime {}: fetching the library (about 27 MB)".format(VERSION))
    for left_over in home.parent.glob(".new-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=str(home.parent)))
    try:
        unpack(download(work, pin), work / "home", pin)
        if home.exists():
            home.rename(work / "old")
        (work / "home").rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def download(work: Path, pin: Pin) -> Path:
    requirements = work / "requirements.txt"
    requirements.write_text("onnxruntime=={} --hash=sha256:{}\n".format(VERSION, pin.wheel_sha256))
    fetching.pip(
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=" + WHEEL_PYTHON,
        "--implementation=cp",
        "--platform=" + pin.tag,
        "--require-hashes",
        "--dest=" + str(work),
        "--requirement=" + str(requirements),
        what="the wheel of onnxruntime " + VERSION,
    )
    return next(work.glob("*.whl"))


def unpack(wheel: Path, home: Path, pin: Pin) -> None:
    (home / "lib").mkdir(parents=True)
    library = home / "lib" / LIBRARY
    with zipfile.ZipFile(str(wheel)) as files:
        for member, target in (
            ("capi/" + LIBRARY, library),
            ("LICENSE", home / "LICENSE"),
            ("ThirdPartyNotices.txt", home / "ThirdPartyNotices.txt"),
        ):
            with files.open("onnxruntime/" + member) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
    found = fetching.sha256_of(library)
    if found != pin.library_sha256:
        raise SetupError(
            "the library in the wheel has SHA-256 {}, but {} is pinned here".format(
                found, pin.library_sha256
            )
        )
    (home / "lib" / "libonnxruntime.so").symlink_to(LIBRARY)


if __name__ == "__main__":
    if sys.version_info < (3, 8):
        fetching.fail("Python 3.8 or newer is needed, and this is " + platform.python_version())
    fetching.run(main)
