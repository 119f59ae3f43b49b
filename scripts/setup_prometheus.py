#!/usr/bin/env python3
"""Puts Debian's Prometheus and its promtool into .tools/prometheus/, for the tests.

apt fetches the package of Debian 12 and checks its signature; it is only unpacked, never installed,
and nobody need be root. Where this system's package lists do not know it (a bare container), lists
are fetched into the same folder first. Prints the folder of the two programs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

import fetching
from fetching import ROOT, SetupError, say

# Debian fixes 2.42 for as long as it keeps Debian 12; which fix is left to it, old ones go away.
VERSION = "2.42.0"
PROGRAMS = ("prometheus", "promtool")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--into",
        type=Path,
        default=ROOT / ".tools" / "prometheus",
        metavar="FOLDER",
        help="where the folder %s goes (default: .tools/prometheus)" % VERSION,
    )
    into = parser.parse_args().into.absolute()
    home = into / VERSION
    if not is_there(home):
        with fetching.locked(into):
            if not is_there(home):
                fetch(home)
    print(home)


def is_there(home: Path) -> bool:
    return all(os.access(str(home / program), os.X_OK) for program in PROGRAMS)


def fetch(home: Path) -> None:
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise SetupError("there is no {}: Prometheus is fetched on Debian 12 only".format(program))
    say("Prometheus {}: fetching Debian's package (about 19 MB)".format(VERSION))
    for left_over in home.parent.glob(".new-*"):
        shutil.rmtree(str(left_over), ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=str(home.parent)))
    try:
        package = download(work)
        told = call(["dpkg", "--extract", str(package), str(work / "unpacked")], work)
        if told is not None:
            raise SetupError("dpkg could not unpack {}: {}".format(package.name, told))
        new = work / "home"
        new.mkdir()
        for program in PROGRAMS:
            (work / "unpacked" / "usr" / "bin" / program).rename(new / program)
        if home.exists():
            home.rename(work / "old")
        new.rename(home)
    finally:
        shutil.rmtree(str(work), ignore_errors=True)


def download(work: Path) -> Path:
    """Returns the package, fetched with the system's lists or, where those do not do, with new ones."""
    if ask_apt(work, []) is not None:
        lists = work / "lists"
        own = ["-oDir::State::Lists={}".format(lists), "-oDir::Cache={}".format(work / "cache")]
        (lists / "partial").mkdir(parents=True)
        told = call(["apt-get", "--quiet", *as_ourselves(), *own, "update"], work) or ask_apt(work, own)
        if told is not None:
            raise SetupError(
                "apt-get could not get prometheus {} (it is in Debian 12; is this one, and does "
                "apt reach its mirror?): {}".format(VERSION, told)
            )
    return next(work.glob("prometheus_*.deb"))


def ask_apt(work: Path, options: List[str]):
    package = "prometheus={}*".format(VERSION)
    return call(["apt-get", "--quiet", *as_ourselves(), *options, "download", package], work)


def as_ourselves() -> List[str]:
    """Options by which apt neither locks the system's folders nor changes to a user of its own."""
    return ["-oDebug::NoLocking=1", "-oAPT::Sandbox::User="]


def call(command: List[str], work: Path):
    """Runs a command in `work`; returns its last line if it failed, and None if it did not."""
    done = subprocess.run(
        command,
        check=False,
        cwd=str(work),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return None if done.returncode == 0 else (lines or ["it said nothing"])[-1]


if __name__ == "__main__":
    if sys.version_info < (3, 8):
        fetching.fail("Python 3.8 or newer is needed")
    fetching.run(main)
