#!/usr/bin/env bash
# Puts NVIDIA's perf_analyzer, unchanged and without a flag made for us, on a server that runs here.
#
#   make run                       in one terminal
#   loadtest/perf_analyzer.sh      in another: iris, over gRPC and over HTTP
#
# Triton's Python client carries the program up to 2.37. It needs a library of Debian's and one of
# CUDA's, though no GPU; all three are fetched into a temporary folder (16 MB) that goes with the
# script, and nothing is installed. Debian or Ubuntu on x86_64. Asks only this machine; each part
# ends within a minute.
#
#   TIDEGATE_HTTP, TIDEGATE_GRPC   addresses, if not 127.0.0.1:8000 and 127.0.0.1:8001
#   CLIENTS                        how many ask at once (4, at most 64)
#   MODEL                          which model (iris); wine needs a server with --compat triton, which
#                                  shows values of a row as this program sends them
set -euo pipefail

readonly http=${TIDEGATE_HTTP:-127.0.0.1:8000}
readonly grpc=${TIDEGATE_GRPC:-127.0.0.1:8001}
readonly clients=${CLIENTS:-4}
readonly model=${MODEL:-iris}

# Not local: the trap runs after main has returned.
folder=$(mktemp -d)
readonly folder
trap 'rm -rf "$folder"' EXIT

main() {
  on_this_machine "$http"
  on_this_machine "$grpc"
  if ! [[ $clients =~ ^[1-9][0-9]?$ ]] || ((clients > 64)); then
    echo "perf_analyzer: CLIENTS is $clients, but has to be a whole number from 1 to 64" >&2
    exit 1
  fi
  fetch
  echo "== $model over gRPC"
  analyze -i grpc -u "$grpc"
  echo "== $model over HTTP"
  analyze -i http -u "$http"
}

on_this_machine() {
  [[ $1 =~ ^(127(\.[0-9]+){3}|localhost|\[::1\]):[0-9]+$ ]] && return
  echo "perf_analyzer: $1 is not on this machine: only 127.0.0.1, localhost or [::1] may be put under load" >&2
  exit 1
}

fetch() {
  cat > "$folder/requirements.txt" << 'END'
tritonclient==2.37.0.9383150 --hash=sha256:50811e0b6fe24e47d0d91999566a56b37c79d233da414d566ad2653c87c07d1e
nvidia-cuda-runtime-cu12==12.9.79 --hash=sha256:25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3
END
  cd "$folder"
  python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
    --requirement requirements.txt
  local wheel package
  for wheel in *.whl; do python3 -m zipfile --extract "$wheel" .; done
  # apt's own user may not write here, which it says at length.
  apt-get --quiet --quiet --option APT::Sandbox::User=root download libb64-0d
  for package in *.deb; do dpkg --extract "$package" .; done
  chmod +x tritonclient-*.data/data/bin/perf_analyzer
}

# analyze OPTION...: one line of its table, after at most ten windows of a second.
analyze() {
  LD_LIBRARY_PATH=$folder/nvidia/cuda_runtime/lib:$folder/usr/lib/x86_64-linux-gnu \
    timeout 60 "$folder"/tritonclient-*.data/data/bin/perf_analyzer -m "$model" "$@" \
    --concurrency-range "$clients" --measurement-interval 1000 --stability-percentage 50
}

main "$@"
