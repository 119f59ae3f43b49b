"""Asks for inferences from within spans of the OpenTelemetry SDK, which sends its own ones too.

    traced.py <http address> <grpc address> <collector address>

Asks over each protocol once in a trace that is kept and once in one that is not. Prints one JSON
line a question: the protocol, whether the trace is kept, and the ids of trace and span.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor


def main(http: str, grpc: str, collector: str) -> None:
    for kept in (True, False):
        sampler = sampling.ALWAYS_ON if kept else sampling.ALWAYS_OFF
        provider = TracerProvider(sampler=sampler)
        exporter = OTLPSpanExporter(endpoint=f"http://{collector}", insecure=True)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("traced.py")
        for protocol, ask in (("http", ask_http), ("grpc", ask_grpc)):
            with tracer.start_as_current_span("ask") as span:
                headers: dict[str, str] = {}
                inject(headers)
                ask({"http": http, "grpc": grpc}[protocol], headers)
                context = span.get_span_context()
            line = {
                "protocol": protocol,
                "kept": kept,
                "trace_id": f"{context.trace_id:032x}",
                "span_id": f"{context.span_id:016x}",
            }
            print(json.dumps(line), flush=True)
        provider.shutdown()


def ask_http(address: str, headers: dict[str, str]) -> None:
    with http_client.InferenceServerClient(address) as client:
        client.infer("iris", [probe(http_client)], headers=headers)


def ask_grpc(address: str, headers: dict[str, str]) -> None:
    with grpc_client.InferenceServerClient(address) as client:
        client.infer("iris", [probe(grpc_client)], headers=headers)


def probe(library):
    tensor = library.InferInput("input", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([[4.9, 2.5, 4.5, 1.7]], dtype=np.float32))
    return tensor


if __name__ == "__main__":
    main(*sys.argv[1:])
