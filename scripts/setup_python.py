#!/usr/bin/env python3
"""Makes a Python environment from a list of pinned packages: .venv for the tests and scripts.

A stamp in the environment holds the hash of the list, so the second call only compares it. Another
list, another place or a vanished interpreter makes a new environment. The packages are put in by
the pip of the interpreter that runs this, so `ensurepip` need not be installed.

`onnxruntime` in this environment is what the tests compare answers with; the server loads its own
library, which setup_onnxruntime.py fetches.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

import fetching
from fetching import OLDEST_PIP_FOR_PYTHON_OPTION, ROOT, SetupError, say

# The pinned packages have wheels for these, and no others.
PYTHONS = ((3, 11), (3, 12), (3, 13))
STAMP = ".made-from"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", metavar="FOLDER")
    parser.add_argument(
        "--requirements", type=Path, default=ROOT / "tests" / "requirements.txt", metavar="FILE"
    )
    parser.add_argument(
        "--check", action="store_true", help="only say whether this machine has what it takes"
    )
    arguments = parser.parse_args()
    venv, stamp = arguments.venv.absolute(), stamp_of(arguments.requirements, arguments.venv)
    if is_current(venv, stamp):
        return
    continue_with_a_usable_python()
    check_this_python()
    if arguments.check:
        return
    with fetching.locked(ROOT / ".tools"):
        if not is_current(venv, stamp):
            make(venv, arguments.requirements, stamp)


def stamp_of(requirements: Path, venv: Path) -> str:
    """Returns what decides whether the environment is current: its packages and its place."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return "{}\n{}\n".format(digest, venv.absolute())


def is_current(venv: Path, stamp: str) -> bool:
    try:
        return os.access(str(venv / "bin" / "python"), os.X_OK) and (
            (venv / STAMP).read_text() == stamp
        )
    except OSError:
        return False


def continue_with_a_usable_python() -> None:
    """Starts this script again under another Python on the PATH if this one does not fit."""
    if sys.version_info[:2] in PYTHONS:
        return
    for major, minor in reversed(PYTHONS):
        other = working_python("python{}.{}".format(major, minor), (major, minor))
        if other is not None:
            os.execv(other, [other, *sys.argv])
    raise SetupError(
        "Python {} is needed, and python3 is {}: install one of them, with pip and venv".format(
            " or ".join("{}.{}".format(*version) for version in PYTHONS),
            platform.python_version(),
        )
    )


def working_python(name: str, version: tuple) -> Optional[str]:
    """Returns the path of `name` if it starts and is that version (a shim may be neither)."""
    path = shutil.which(name)
    if path is None:
        return None
    told = subprocess.run(
        [path, "-c", "import sys; print(sys.version_info[:2])"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return path if told.stdout.decode().strip() == str(version) else None


def check_this_python() -> None:
    pip = fetching.require_pip()
    if tuple(int(number) for number in pip.split(".")[:2]) < OLDEST_PIP_FOR_PYTHON_OPTION:
        raise SetupError(
            "pip {}.{} or newer is needed, and {} has {}: run `{} -m pip install --upgrade "
            "pip`".format(*OLDEST_PIP_FOR_PYTHON_OPTION, sys.executable, pip, sys.executable)
        )
    try:
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(
            "{} has no venv module: install it (Debian and Ubuntu: `apt-get install "
            "python3-venv`)".format(sys.executable)
        ) from None


def make(venv: Path, requirements: Path, stamp: str) -> None:
    say("{}: making it from {}".format(shown(venv), shown(requirements)))
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if made.returncode != 0:
        told = made.stdout.decode(errors="replace").strip()
        raise SetupError("`python3 -m venv` could not make {}: {}".format(venv, told))
    fetching.pip(
        "--python=" + str(venv / "bin" / "python"),
        "install",
        "--only-binary=:all:",
        "--requirement=" + str(requirements),
        what="the packages of " + shown(requirements),
    )
    (venv / STAMP).write_text(stamp)


def shown(path: Path) -> str:
    """Returns the path as a person in the repository writes it."""
    try:
        return str(path.absolute().relative_to(ROOT))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    fetching.run(main)
