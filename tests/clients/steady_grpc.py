"""Keeps asking for `iris` over gRPC until standard input ends: steady_grpc.py ADDRESS CALLERS

Each caller has a connection of its own. Triton's client retries nothing; gRPC itself sends a call
again only if it knows that no server took it. Says `asking` when every caller has had an answer,
and at the end, as JSON, how many answers there were and what every failed call said.
"""

import json
import struct
import sys
import threading

import numpy
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

FLOWER = numpy.array([[4.9, 2.5, 4.5, 1.7]], dtype=numpy.float32)
# What versions 1 and 2 answer, as bytes of the first probability.
FIRST = {"1": 0.019760532, "2": 6.895553e-5}


class Caller(threading.Thread):
    """Asks over one connection, one request after the other."""

    def __init__(self, address, stop):
        super().__init__()
        # Otherwise all callers of a process share one connection.
        own = [("grpc.use_local_subchannel_pool", 1)]
        self.client = triton.InferenceServerClient(address, channel_args=own)
        self.stop = stop
        self.answered = threading.Event()
        self.answers = 0
        self.failures = []

    def run(self):
        while not self.stop.is_set():
            try:
                self.ask()
                self.answers += 1
            except (InferenceServerException, ValueError) as error:
                self.failures.append(str(error))
            self.answered.set()

    def ask(self):
        flower = triton.InferInput("input", list(FLOWER.shape), "FP32")
        flower.set_data_from_numpy(FLOWER)
        answer = self.client.infer("iris", [flower])
        version = answer.get_response().model_version
        found = answer.as_numpy("probabilities")[0, 0]
        if struct.pack("<f", FIRST[version]) != found.tobytes():
            raise ValueError(f"version {version} answered {found}")


def main():
    stop = threading.Event()
    callers = [Caller(sys.argv[1], stop) for _ in range(int(sys.argv[2]))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.answered.wait()
    print("asking", flush=True)
    sys.stdin.read()
    stop.set()
    for caller in callers:
        caller.join()
    failures = [failure for caller in callers for failure in caller.failures]
    print(json.dumps({"answers": [caller.answers for caller in callers], "failures": failures}))


if __name__ == "__main__":
    main()
