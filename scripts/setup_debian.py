#!/usr/bin/env python3
"""Puts a program of Debian 12 into .tools/, for the tests: setup_debian.py prometheus|haproxy

apt fetches the packages and checks their signatures; they are only unpacked, never installed, and
nobody need be root. Where this system's package lists do not know them (a bare container), lists
are fetched into the same folder first. Prints the folder of the programs; libraries that a bare
system lacks are in `lib` below it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import fetching
from fetching import ROOT, SetupError, say


class Tool(NamedTuple):
    """What is taken of Debian: its main package first, then those of libraries."""

    # Debian fixes an upstream version for as long as it keeps Debian 12; which fix is left to it,
    # old ones go away.
    packages: Tuple[Tuple[str, str], ...]
    programs: Tuple[str, ...]
    size: str

    @property
    def version(self) -> str:
        return self.packages[0][1]


TOOLS: Dict[str, Tool] = {
    "prometheus": Tool(
        packages=(("prometheus", "2.42.0"),),
        programs=("usr/bin/prometheus", "usr/bin/promtool"),
        size="19 MB",
    ),
    "haproxy": Tool(
        packages=(
            ("haproxy", "2.6.12"),
            ("liblua5.3-0", "5.3.6"),
            ("libopentracing-c-wrapper0", "1.1.3"),
            ("libopentracing1", "1.6.0"),
        ),
        programs=("usr/sbin/haproxy",),
        size="2 MB",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(TOOLS), help="what to fetch")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="where the folder of its version goes (default: .tools/<name>)",
    )
    arguments = parser.parse_args()
    name, tool = arguments.name, TOOLS[arguments.name]
    into = (arguments.into or ROOT / ".tools" / name).absolute()
    home = into / tool.version
    if not is_there(tool, home):
        with fetching.locked(into):
            if not is_there(tool, home):
                fetch(name, tool, home)
    print(home)


def is_there(tool: Tool, home: Path) -> bool:
    programs = (home / Path(program).name for program in tool.programs)
    return all(os.access(str(program), os.X_OK) for program in programs)


def fetch(name: str, tool: Tool, home: Path) -> None:
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise SetupError("there is no {}: {} is fetched on Debian 12 only".format(program, name))
    say("{} {}: fetching Debian's package (about {})".format(name, tool.version, tool.size))
    for left_over in home.parent.glob(".new-*"):
        shutil.rmtree(str(left_over), ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=str(home.parent)))
    try:
        download(tool, work)
        unpacked, new = work / "unpacked", work / "home"
        for package in sorted(work.glob("*.deb")):
            told = call(["dpkg", "--extract", str(package), str(unpacked)], work)
            if told is not None:
                raise SetupError("dpkg could not unpack {}: {}".format(package.name, told))
        (new / "lib").mkdir(parents=True)
        # `*` is the processor's name, as Debian spells it.
        for library in unpacked.glob("usr/lib/*/*.so.*"):
            library.rename(new / "lib" / library.name)
        for program in tool.programs:
            (unpacked / program).rename(new / Path(program).name)
        if home.exists():
            home.rename(work / "old")
        new.rename(home)
    finally:
        shutil.rmtree(str(work), ignore_errors=True)


def download(tool: Tool, work: Path) -> None:
    """Fetches the packages with the system's lists or, where those do not do, with new ones."""
    if ask_apt(tool, work, []) is None:
        return
    lists = work / "lists"
    own = ["-oDir::State::Lists={}".format(lists), "-oDir::Cache={}".format(work / "cache")]
    (lists / "partial").mkdir(parents=True)
    told = call(["apt-get", "--quiet", *as_ourselves(), *own, "update"], work)
    told = told or ask_apt(tool, work, own)
    if told is not None:
        raise SetupError(
            "apt-get could not get {} {} (it is in Debian 12; is this one, and does apt reach its "
            "mirror?): {}".format(tool.packages[0][0], tool.version, told)
        )


def ask_apt(tool: Tool, work: Path, options: List[str]):
    packages = ["{}={}*".format(*package) for package in tool.packages]
    return call(["apt-get", "--quiet", *as_ourselves(), *options, "download", *packages], work)


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
