#!/usr/bin/env bash
# Proves the cold road: .ci/run in a new clone with nothing kept from before.
#
# The clone, cargo's home, pip's cache, the Python environment and the build folder are new and go
# away at the end (KEEP=1 leaves them). Only committed work is cloned. Takes about 10 GB in
# ${TMPDIR:-/tmp} and as long as a first build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -n $(git status --porcelain) ]]; then
  echo "fresh: note: the changes that are not committed are not in the clone" >&2
fi

place=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-fresh.XXXXXX")
leave() {
  if [[ -n ${KEEP:-} ]]; then
    echo "fresh: kept in $place"
  else
    rm -rf "$place"
  fi
}
trap leave EXIT

git clone --quiet --no-hardlinks . "$place/tidegate"

# The way to the registries is the machine's, not something kept: cargo's settings come along.
mkdir -p "$place/cargo"
kept=${CARGO_HOME:-$HOME/.cargo}
for settings in config.toml config; do
  [[ ! -f $kept/$settings ]] || cp "$kept/$settings" "$place/cargo/"
done

cd "$place/tidegate"
unset CARGO_TARGET_DIR VIRTUAL_ENV ORT_DYLIB_PATH MAKEFLAGS MAKELEVEL MFLAGS
export CI=true
export CARGO_HOME=$place/cargo
export PIP_CACHE_DIR=$place/pip
export XDG_CACHE_HOME=$place/cache
export TIDEGATE_CI_TARGET=$place/target
bash .ci/run < /dev/null
