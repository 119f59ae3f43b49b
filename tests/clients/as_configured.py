"""Asks every model with the shapes that its configuration shows, as Triton's tools do.

    as_configured.py <http address> <grpc address>

A tool such as perf_analyzer reads `max_batch_size` and `dims`, puts a batch dimension before the
dims, and sends random values of that shape. Answers must have the shapes that the outputs show.
"""

import sys

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import triton_to_np_dtype

MODELS = ["iris", "digits", "wine", "topics"]


def values(datatype: str, shape: list[int]) -> np.ndarray:
    random = np.random.default_rng(7)
    if datatype == "BYTES":
        return np.full(shape, b"chemical analysis", dtype=np.object_)
    return random.uniform(0, 9, shape).astype(triton_to_np_dtype(datatype))


def ask(client, module, name: str, config: dict) -> None:
    batch = config["max_batch_size"]
    assert batch == 4, f"{name}: max_batch_size {batch}"
    inputs = []
    for tensor in config["input"]:
        datatype = tensor["data_type"].removeprefix("TYPE_").replace("STRING", "BYTES")
        shape = [batch] + [int(size) for size in tensor["dims"]]
        sent = module.InferInput(tensor["name"], shape, datatype)
        sent.set_data_from_numpy(values(datatype, shape))
        inputs.append(sent)
    answer = client.infer(name, inputs)
    for tensor in config["output"]:
        expected = [batch] + [int(size) for size in tensor["dims"]]
        found = list(answer.as_numpy(tensor["name"]).shape)
        assert found == expected, f"{name}: {tensor['name']} is {found}, expected {expected}"


def main(http: str, grpc: str) -> None:
    over_http = httpclient.InferenceServerClient(http)
    over_grpc = grpcclient.InferenceServerClient(grpc)
    assert over_http.is_server_live() and over_http.is_server_ready()
    for name in MODELS:
        assert over_http.is_model_ready(name)
        ask(over_http, httpclient, name, over_http.get_model_config(name))
        config = over_grpc.get_model_config(name, as_json=True)["config"]
        ask(over_grpc, grpcclient, name, config)
    print(f"{len(MODELS)} models answered over both protocols")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
