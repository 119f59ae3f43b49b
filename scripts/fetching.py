"""What the set-up scripts share: one-sentence errors, a lock, and pip.

Standard library only, and readable by Python 3.8, so that an old interpreter is refused in words
and not with a syntax error.
"""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator, List, NoReturn

ROOT = Path(__file__).resolve().parent.parent

# The oldest pip that takes `--python` and so fills an environment that has no pip of its own.
OLDEST_PIP_FOR_PYTHON_OPTION = (22, 3)

_HASH_SIGNS = ("DO NOT MATCH THE HASHES", "Hashes are required")
_NETWORK_SIGNS = (
    "(from versions: none)",
    "Connection",
    "Max retries exceeded",
    "ProxyError",
    "SSLError",
    "Temporary failure in name resolution",
    "timed out",
)


class SetupError(Exception):
    """One sentence for the person at the terminal: what is missing and what to do."""


def say(line: str) -> None:
    """Tells the person what is going on; standard output is kept for answers."""
    print(line, file=sys.stderr, flush=True)


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a script's `main` and turns what can go wrong into one sentence and exit status 1."""
    leave_our_environment()
    try:
        main()
    except SetupError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted; start it again and it begins anew")
    except OSError as error:
        fail("{}; nothing was put in place, so mend that and start again".format(error))
    sys.exit(0)


def leave_our_environment() -> None:
    """Starts again under the Python that .venv was made from, if .venv is what runs this.

    .venv has no pip, and cannot make itself anew.
    """
    base = getattr(sys, "_base_executable", None)
    if Path(sys.prefix) == ROOT / ".venv" and base and base != sys.executable:
        os.execv(base, [base, *sys.argv])


def fail(sentence: str) -> NoReturn:
    """Prints the sentence under the script's name and ends with status 1."""
    say("{}: {}".format(Path(sys.argv[0]).name, sentence))
    sys.exit(1)


def sha256_of(path: Path) -> str:
    """Hashes a file without holding it in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one set-up at a time work in `folder`; the second waits and finds the work done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up in {}".format(folder))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def require_pip() -> str:
    """Returns the version of this interpreter's pip.

    Raises SetupError if it has none.
    """
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "--version"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    words = asked.stdout.decode(errors="replace").split()
    if asked.returncode != 0 or len(words) < 2:
        raise SetupError(
            "{} has no pip: install it (Debian and Ubuntu: `apt-get install python3-pip`, "
            "Fedora: `dnf install python3-pip`, others: `python3 -m ensurepip`)".format(
                sys.executable
            )
        )
    return words[1]


def pip(*arguments: str, what: str) -> None:
    """Runs this interpreter's pip quietly; `what` names the thing to be had in the error.

    Raises SetupError that tells a missing network from a wrong file, with pip's last words.
    """
    command: List[str] = [sys.executable, "-m", "pip"]
    command += ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2"]
    # An environment's own habits must not send the files elsewhere.
    environment = dict(os.environ, PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0")
    done = subprocess.run(
        command + list(arguments),
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode == 0:
        return
    told = done.stdout.decode(errors="replace")
    if any(sign in told for sign in _HASH_SIGNS):
        sentence = (
            "what pip found as {} is not the file that is pinned here: look at the package index "
            "that pip is set to (`python3 -m pip config list`)".format(what)
        )
    elif any(sign in told for sign in _NETWORK_SIGNS):
        sentence = (
            "pip could not reach a package index for {}: check the network, or the proxy or index "
            "that pip is set to (`python3 -m pip config list`), and start again".format(what)
        )
    else:
        sentence = "pip could not get {}: its last words are above".format(what)
    for line in told.strip().splitlines()[-6:]:
        say("  pip: " + line)
    raise SetupError(sentence)
