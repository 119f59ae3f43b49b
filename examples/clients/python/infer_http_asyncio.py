"""Asks iris over HTTP with asyncio: infer_http_asyncio.py [HOST:PORT]"""

import asyncio
import sys

import numpy as np
import tritonclient.http.aio as triton


async def main(address: str) -> None:
    # One row; the first dimension is the number of rows.
    flower = triton.InferInput("input", [1, 4], "FP32")
    flower.set_data_from_numpy(np.array([[4.9, 2.5, 4.5, 1.7]], np.float32))

    # Keep one client for many requests, and gather them: it opens connections as they are needed.
    async with triton.InferenceServerClient(address) as client:
        request = client.infer("iris", [flower], outputs=[triton.InferRequestedOutput("label")])
        answer = await asyncio.wait_for(request, timeout=10)

    version = answer.get_response()["model_version"]
    label = answer.as_numpy("label")[0]
    print(f"iris version {version} says {label}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000"))
