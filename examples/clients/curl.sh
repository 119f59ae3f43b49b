#!/usr/bin/env bash
# Asks iris over HTTP with curl and jq: curl.sh [HOST:PORT]
set -euo pipefail

readonly address=${1:-127.0.0.1:8000}

# A refusal has a body that says why. Without outputs, all come.
answer=$(
  curl --silent --show-error --fail-with-body --max-time 10 \
    --header 'Content-Type: application/json' \
    --data '{
      "inputs": [
        {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [4.9, 2.5, 4.5, 1.7]}
      ],
      "outputs": [{"name": "label"}]
    }' \
    "http://$address/v2/models/iris/infer"
) || {
  echo "$answer" >&2
  exit 1
}
jq --raw-output '"iris version \(.model_version) says \(.outputs[0].data[0])"' <<< "$answer"
