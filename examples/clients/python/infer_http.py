"""Asks iris over HTTP: infer_http.py [HOST:PORT]"""

import sys

import numpy as np
import tritonclient.http as triton

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000"

# One row; the first dimension is the number of rows.
flower = triton.InferInput("input", [1, 4], "FP32")
flower.set_data_from_numpy(np.array([[4.9, 2.5, 4.5, 1.7]], np.float32))

# Keep one client for many requests: it holds the connections. A refusal raises
# tritonclient.utils.InferenceServerException with the server's message.
with triton.InferenceServerClient(address, network_timeout=10) as client:
    # Without outputs, all come; without a version, the one that serves answers.
    answer = client.infer("iris", [flower], outputs=[triton.InferRequestedOutput("label")])

version = answer.get_response()["model_version"]
label = answer.as_numpy("label")[0]
print(f"iris version {version} says {label}")
