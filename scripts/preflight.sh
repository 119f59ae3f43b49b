#!/usr/bin/env bash
# Says in one go what this machine lacks to run or test Tidegate, and what to do about it.
#
#   scripts/preflight.sh run          Rust, a C compiler, Python 3 with pip
#   scripts/preflight.sh test         the same, and a Python that the test packages have wheels for
#   scripts/preflight.sh --quiet ...  prints nothing when all is there
#
# Exits 1 when something is missing. What needs a slow look (pip, a trial compilation) is looked at
# only while it still has work to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly oldest_python=3.8
oldest_rust=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
readonly oldest_rust

missing=()
found=()

main() {
  local quiet=false
  if [[ ${1:-} == --quiet ]]; then
    quiet=true
    shift
  fi
  local purpose=${1:-}
  case $purpose in
    run | test) ;;
    *)
      echo "usage: scripts/preflight.sh [--quiet] run|test" >&2
      exit 2
      ;;
  esac

  check_rust
  check_c_compiler
  check_python "$purpose"

  if ((${#missing[@]} > 0)); then
    echo "To $purpose Tidegate, this machine lacks:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 1
  fi
  $quiet || printf '%s\n' "${found[@]}"
}

check_rust() {
  local version
  if ! command -v cargo > /dev/null; then
    local home=${CARGO_HOME:-$HOME/.cargo}
    if [[ -x $home/bin/cargo ]]; then
      missing+=("cargo on the PATH: it is in $home/bin, so run \`export PATH=\"$home/bin:\$PATH\"\`")
    else
      missing+=("Rust $oldest_rust or newer: there is no cargo on the PATH; install it with rustup (https://rustup.rs)")
    fi
    return
  fi
  if ! version=$(rustc --version 2>&1); then
    missing+=("a working Rust: \`rustc --version\` says: $(head -n 1 <<< "$version")")
    return
  fi
  version=$(awk '{ print $2 }' <<< "$version")
  if older "${version%%-*}" "$oldest_rust"; then
    missing+=("Rust $oldest_rust or newer: this is $version; run \`rustup update stable\`")
  fi
  found+=("rustc $version")
}

check_c_compiler() {
  local compiler=${CC:-cc}
  if ! command -v "${compiler%% *}" > /dev/null; then
    missing+=("a C compiler: there is no \`$compiler\` (Debian and Ubuntu: \`apt-get install build-essential\`, Fedora: \`dnf install gcc\`)")
  elif [[ ! -d ${CARGO_TARGET_DIR:-target} ]] && ! compiles "$compiler"; then
    missing+=("a C compiler that links: \`$compiler\` cannot build an empty program (Debian and Ubuntu: \`apt-get install build-essential\`)")
  else
    found+=("$compiler: $(command -v "${compiler%% *}")")
  fi
}

compiles() {
  # shellcheck disable=SC2086 # CC may carry options
  printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | $1 -x c -o /dev/null - 2> /dev/null
}

check_python() {
  local purpose=$1 version problem
  if ! command -v python3 > /dev/null; then
    missing+=("Python $oldest_python or newer with pip: there is no python3 on the PATH (Debian and Ubuntu: \`apt-get install python3 python3-pip python3-venv\`)")
    return
  fi
  if ! version=$(python3 -c 'import platform; print(platform.python_version())' 2>&1); then
    missing+=("a working Python 3: python3 says: $(tail -n 1 <<< "$version")")
    return
  fi
  if older "$version" "$oldest_python"; then
    missing+=("Python $oldest_python or newer: python3 is $version")
    return
  fi
  found+=("python3 $version")

  if [[ $purpose == test ]] && ! problem=$(python3 scripts/setup_python.py --check 2>&1); then
    missing+=("a Python for the tests: ${problem##*setup_python.py: }")
  elif ! compgen -G '.tools/onnxruntime/*/lib/libonnxruntime.so' > /dev/null \
    && ! python3 -m pip --version > /dev/null 2>&1; then
    missing+=("pip for python3, to fetch ONNX Runtime with (Debian and Ubuntu: \`apt-get install python3-pip\`, Fedora: \`dnf install python3-pip\`)")
  fi
}

# older A B: is version A before version B?
older() {
  [[ $1 != "$2" && $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]
}

main "$@"
