#!/usr/bin/env bash
# Asks iris over gRPC with grpcurl and jq: grpcurl.sh [HOST:PORT]
#
# The server describes itself (reflection), so no .proto file is needed. grpcurl:
#   go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4
set -euo pipefail

readonly address=${1:-127.0.0.1:8001}

# Without outputs, all come.
answer=$(
  grpcurl -plaintext -max-time 10 \
    -d '{
      "model_name": "iris",
      "inputs": [
        {
          "name": "input",
          "datatype": "FP32",
          "shape": [1, 4],
          "contents": {"fp32_contents": [4.9, 2.5, 4.5, 1.7]}
        }
      ],
      "outputs": [{"name": "label"}]
    }' \
    "$address" inference.GRPCInferenceService/ModelInfer
)

# Answers are raw, here in base64: INT64 is 8 bytes, little-endian as this machine is.
version=$(jq --raw-output '.modelVersion' <<< "$answer")
label=$(jq --raw-output '.rawOutputContents[0]' <<< "$answer" | base64 -d | od -An -t d8 | tr -d ' ')
echo "iris version $version says $label"
