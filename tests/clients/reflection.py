"""Calls the server knowing nothing of its protocol but what reflection and its greeting say.

    reflection.py <grpc address> <text of the greeting>

Asks by both versions of the reflection protocol, then runs the two examples of the greeting: the
curl line as it stands, the grpcurl line as grpcurl does, by reflection. Exits with 0 if all work.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from reference import array_of, wire
from tritonclient.grpc import service_pb2

SERVICE = "inference.GRPCInferenceService"


def main(address: str, greeting: str) -> int:
    with grpc.insecure_channel(address) as channel:
        for version in ("v1", "v1alpha"):
            check_protocol(channel, version)
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        check_service(pool)
        answer = run_grpcurl_line(channel, pool, address, greeting)
    check_equal(answer, run_curl_line(greeting))
    print("reflection and both examples of the greeting work")
    return 0


def check_protocol(channel: grpc.Channel, version: str) -> None:
    """Asks everything that grpcurl asks; the versions differ in the service's name alone."""
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    services, described = call(iter(questions))
    names = [service.name for service in services.list_services_response.service]
    if SERVICE not in names:
        raise AssertionError(f"{version}: services are {names}, expected {SERVICE} among them")
    files = [
        FileDescriptorProto.FromString(file)
        for file in described.file_descriptor_response.file_descriptor_proto
    ]
    found = {f"{file.package}.{service.name}" for file in files for service in file.service}
    if SERVICE not in found:
        raise AssertionError(f"{version}: the file of {SERVICE} has the services {found}")
    unknown = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.Nothing")
    try:
        code = next(call(iter([unknown]))).error_response.error_code
    except grpc.RpcError as error:
        # Ours ends the stream with the code; others say it in a message. Clients read both.
        code = error.code().value[0]
    if code != grpc.StatusCode.NOT_FOUND.value[0]:
        raise AssertionError(f"{version}: an unknown symbol is answered with code {code}")


def check_service(pool: DescriptorPool) -> None:
    """Compares the described calls with those that tritonclient was built with."""
    calls = {
        name: [
            (method.name, method.input_type.full_name, method.output_type.full_name)
            for method in service.methods
        ]
        for name, service in (
            ("described", pool.FindServiceByName(SERVICE)),
            ("expected", service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]),
        )
    }
    if sorted(calls["described"]) != sorted(calls["expected"]):
        raise AssertionError(f"calls differ: {calls}")


def run_grpcurl_line(
    channel: grpc.Channel, pool: DescriptorPool, address: str, greeting: str
) -> Message:
    """Does what grpcurl does with the line of the greeting."""
    words = shlex.split(example(greeting, "grpcurl"))
    options, (request, target, call) = words[1:3], words[3:]
    if options != ["-plaintext", "-d"] or target != address:
        raise AssertionError(f"{words}: expected -plaintext -d JSON {address} CALL")
    service, method = call.split("/")
    described = pool.FindServiceByName(service).methods_by_name[method]
    message = json_format.Parse(request, GetMessageClass(described.input_type)())
    ask = channel.unary_unary(
        f"/{call}",
        type(message).SerializeToString,
        GetMessageClass(described.output_type).FromString,
    )
    return ask(message)


def run_curl_line(greeting: str) -> dict:
    """Runs the line of the greeting by curl, or reads it as curl would where there is none."""
    words = shlex.split(example(greeting, "curl"))
    if shutil.which("curl"):
        done = subprocess.run(words, check=True, capture_output=True, timeout=30)
        return json.loads(done.stdout)
    url, option, body = words[2:]
    if option != "-d":
        raise AssertionError(f"{words}: expected curl -s URL -d JSON")
    with urllib.request.urlopen(url, body.encode(), timeout=30) as answer:
        return json.load(answer)


def example(greeting: str, program: str) -> str:
    line = re.search(rf"^ *({program} .*)$", greeting, re.MULTILINE)
    if line is None:
        raise AssertionError(f"no {program} line in the greeting:\n{greeting}")
    return line[1]


def check_equal(by_grpc: Message, by_http: dict) -> None:
    """Compares the examples' answers: both ask for the same row."""
    raw = {
        output.name: content
        for output, content in zip(by_grpc.outputs, by_grpc.raw_output_contents, strict=True)
    }
    data = {output["name"]: wire(array_of(output)) for output in by_http["outputs"]}
    if not raw or raw != data:
        raise AssertionError(f"the examples' answers differ: {by_grpc} and {by_http}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
