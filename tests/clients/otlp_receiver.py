"""Stands in for a collector: takes spans over OTLP/gRPC and writes them down.

    otlp_receiver.py [--refuse N]

Prints its port as one JSON line, then each span as one. The first N exports are refused with
UNAVAILABLE. Ends when its standard input does. The messages are those of the published package
opentelemetry-proto, so what arrives here is what every collector reads.
"""

import argparse
import json
import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Writes each span to standard output before it thanks for it."""

    def __init__(self, refuse: int) -> None:
        self.left_to_refuse = refuse

    def Export(self, request, context):
        if self.left_to_refuse > 0:
            self.left_to_refuse -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        for source in request.resource_spans:
            for scope in source.scope_spans:
                for span in scope.spans:
                    say(described(source, span))
        return trace_service_pb2.ExportTraceServiceResponse()


def described(source: ResourceSpans, span: Span) -> dict:
    return {
        "service": values(source.resource.attributes).get("service.name"),
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "state": span.trace_state,
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": values(span.attributes),
        "status": Status.StatusCode.Name(span.status.code),
    }


def values(attributes: list[KeyValue]) -> dict:
    named = ((attribute.key, attribute.value) for attribute in attributes)
    return {key: getattr(value, value.WhichOneof("value")) for key, value in named}


def say(line: dict) -> None:
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--refuse", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    # One worker: spans of two exports are not mixed up on standard output.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    receiver = Receiver(arguments.refuse)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say({"port": port})
    sys.stdin.read()
    server.stop(grace=None)


if __name__ == "__main__":
    main()
