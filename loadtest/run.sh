#!/usr/bin/env bash
# Puts k6 (HTTP, JSON) and ghz (gRPC, typed and raw) on a server that runs on this machine.
#
#   make run             in one terminal
#   make load            in another; installs k6 and ghz into .tools the first time
#
# Bounded in clients and time. Starts no server, and asks no other machine. Fails if any request
# failed. All numbers go to loadtest/ in cargo's target folder.
#
#   TIDEGATE_HTTP, TIDEGATE_GRPC   addresses, if not 127.0.0.1:8000 and 127.0.0.1:8001
#   DURATION_S                     how long each of the four parts takes (15, at most 120)
#   CLIENTS                        how many ask at once (16, at most 256)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly ghz_version=v0.120.0
readonly http=${TIDEGATE_HTTP:-127.0.0.1:8000}
readonly grpc=${TIDEGATE_GRPC:-127.0.0.1:8001}
readonly duration_s=${DURATION_S:-15}
readonly clients=${CLIENTS:-16}
readonly reports=${CARGO_TARGET_DIR:-target}/loadtest
readonly tools=$PWD/.tools

main() {
  on_this_machine "$http"
  on_this_machine "$grpc"
  at_most DURATION_S "$duration_s" 120
  at_most CLIENTS "$clients" 256
  ready
  install_k6
  install_ghz
  mkdir -p "$reports"

  echo "== k6: iris, then digits, over HTTP with JSON"
  "$tools/k6/bin/k6" run --quiet --no-usage-report --address '' \
    --env TIDEGATE_HTTP="$http" --env DURATION_S="$duration_s" --env CLIENTS="$clients" \
    --env REPORT="$reports/k6.json" loadtest/k6.js

  echo "== ghz: iris over gRPC, typed contents"
  ghz typed
  echo "== ghz: iris over gRPC, raw contents"
  # The same row as in ghz.json: 5.0, 3.4, 1.5, 0.2 as little-endian FP32.
  ghz raw --name 'iris over gRPC, raw contents' --data '{
    "model_name": "iris",
    "inputs": [{ "name": "input", "datatype": "FP32", "shape": [1, 4] }],
    "raw_input_contents": ["AACgQJqZWUAAAMA/zcxMPg=="]
  }'
}

on_this_machine() {
  [[ $1 =~ ^(127(\.[0-9]+){3}|localhost|\[::1\]):[0-9]+$ ]] && return
  echo "load: $1 is not on this machine: only 127.0.0.1, localhost or [::1] may be put under load" >&2
  exit 1
}

# at_most NAME VALUE LIMIT: ends unless the value is a whole number from 1 to the limit.
at_most() {
  [[ $2 =~ ^[1-9][0-9]{0,3}$ ]] && (($2 <= $3)) && return
  echo "load: $1 is $2, but has to be a whole number from 1 to $3" >&2
  exit 1
}

install_k6() {
  python3 scripts/setup_python.py --venv .tools/k6 --requirements loadtest/requirements.txt
}

install_ghz() {
  local stamp=$tools/bin/ghz.version
  if [[ -x $tools/bin/ghz && -f $stamp && $(< "$stamp") == "$ghz_version" ]]; then
    return
  fi
  if ! command -v go > /dev/null; then
    echo 'load: there is no Go, which builds ghz (Debian and Ubuntu: apt-get install golang-go, Fedora: dnf install golang)' >&2
    exit 1
  fi
  echo "load: building ghz $ghz_version; the first time takes a minute or two" >&2
  GOBIN=$tools/bin go install "github.com/bojand/ghz/cmd/ghz@$ghz_version" || {
    echo "load: go could not build ghz $ghz_version: see above; Go 1.18 or newer and a network are needed" >&2
    exit 1
  }
  echo "$ghz_version" > "$stamp"
}

# ready: goes on only if a server answers that it is ready.
ready() {
  if ! command -v python3 > /dev/null; then
    echo 'load: there is no python3 (Debian and Ubuntu: apt-get install python3 python3-pip)' >&2
    exit 1
  fi
  python3 - "http://$http/v2/health/ready" << 'EOF' && return
import sys, urllib.request

try:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    sys.exit(opener.open(sys.argv[1], timeout=5).status != 200)
except OSError as error:
    sys.exit(f"load: {sys.argv[1]}: {error}")
EOF
  echo "load: no server is ready on $http: start one with \`make run\` in another terminal" >&2
  exit 1
}

# ghz NAME OPTION...: runs ghz.json with the options, and fails unless every answer was OK.
ghz() {
  local name=$1
  shift
  "$tools/bin/ghz" --config loadtest/ghz.json --duration "${duration_s}s" --concurrency "$clients" \
    --connections "$((clients < 4 ? clients : 4))" \
    --format json --output "$reports/ghz-$name.json" "$@" "$grpc"
  python3 - "$reports/ghz-$name.json" << 'EOF'
import json, sys

report = json.load(open(sys.argv[1]))
ms = {part["percentage"]: part["latency"] / 1e6 for part in report.get("latencyDistribution") or []}
print(
    f"iris: requests {report['count']} in {report['total'] / 1e9:.0f} s, {report['rps']:.0f}/s;"
    + " latency ms: "
    + ", ".join(f"p{share} {ms.get(share, float('nan')):.2f}" for share in (50, 95, 99))
    + f", max {report['slowest'] / 1e6:.2f}"
)
answers = report.get("statusCodeDistribution") or {}
if set(answers) != {"OK"}:
    sys.exit(f"load: not every answer was OK: {answers} {report.get('errorDistribution') or ''}")
EOF
}

main "$@"
