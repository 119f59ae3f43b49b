"""Asks a server for one flower with Triton's own client, and checks what it answers.

    .venv/bin/python loadtest/answer.py HOST:PORT

Then sends the bytes of standard input as a ModelInfer message, and writes the message that comes
back, as it is. `loadtest/cpu.py` runs this.
"""

import sys

import grpc
import numpy as np
import tritonclient.grpc as triton

FLOWER = np.array([[5.0, 3.4, 1.5, 0.2]], np.float32)
SETOSA = 0


def main() -> None:
    """Fails unless both ways of asking are answered, and the flower is the right one."""
    address = sys.argv[1]
    client = triton.InferenceServerClient(address)
    flower = triton.InferInput("input", [1, 4], "FP32")
    flower.set_data_from_numpy(FLOWER)
    label = client.infer("iris", [flower]).as_numpy("label")
    if label.tolist() != [SETOSA]:
        sys.exit(f"answer: label is {label.tolist()}, expected [{SETOSA}]")
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        sys.stdout.buffer.write(ask(sys.stdin.buffer.read(), timeout=10))


if __name__ == "__main__":
    main()
