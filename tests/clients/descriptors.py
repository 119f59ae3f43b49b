"""Compares our messages and service with those inside tritonclient, and prints every difference.

    descriptors.py <encoded FileDescriptorSet>

Exits with 0 if there is none but those in `ADDED`.
"""

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from tritonclient.grpc import model_config_pb2, service_pb2

# What we have and tritonclient has not, each with its reason.
ADDED = {
    "field inference.ModelMetadataResponse.properties": "Open Inference Protocol",
    "field inference.RepositoryModelLoadResponse.model_name": "KServe",
    "field inference.RepositoryModelLoadResponse.isLoaded": "KServe",
    "field inference.RepositoryModelUnloadResponse.model_name": "KServe",
    "field inference.RepositoryModelUnloadResponse.isUnloaded": "KServe",
}


def main(path: str) -> int:
    ours = facts(FileDescriptorSet.FromString(Path(path).read_bytes()).file)
    theirs = facts(
        FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for module in (model_config_pb2, service_pb2)
    )
    found = list(differences(ours, theirs))
    for line in found:
        print(line)
    print(f"{len(ours)} facts of ours, {len(theirs)} of tritonclient's, {len(found)} differences")
    return 1 if found else 0


def differences(ours: dict[str, str], theirs: dict[str, str]):
    """Yields one line per difference, in either direction."""
    for name in sorted(ours.keys() | theirs.keys() | ADDED.keys()):
        if name in ADDED:
            # An addition that is not there, or no longer one, does not stay in the list.
            if name not in ours:
                yield f"{name}: listed as added, but missing in ours"
            elif name in theirs:
                yield f"{name}: listed as added, but tritonclient has it: {theirs[name]}"
        elif name not in theirs:
            yield f"{name}: only in ours: {ours[name]}"
        elif name not in ours:
            yield f"{name}: only in tritonclient's: {theirs[name]}"
        elif ours[name] != theirs[name]:
            yield f"{name}: ours is {ours[name]}, tritonclient's is {theirs[name]}"


def facts(files) -> dict[str, str]:
    """Flattens descriptors to what the wire depends on: what a thing is called, and what it is."""
    found: dict[str, str] = {}
    for file in files:
        for message in file.message_type:
            add_message(found, file.syntax, file.package, message)
        for enum in file.enum_type:
            add_enum(found, file.package, enum)
        for service in file.service:
            add_service(found, file.package, service)
    return found


def add_message(found: dict[str, str], syntax: str, scope: str, message: DescriptorProto) -> None:
    name = f"{scope}.{message.name}"
    entries = {
        f".{name}.{nested.name}": nested
        for nested in message.nested_type
        if nested.options.map_entry
    }
    # The syntax decides whether fields have presence, and whether lists are packed.
    found[f"message {name}"] = f"{syntax} {message.options}".strip()
    for field in message.field:
        found[f"field {name}.{field.name}"] = describe(field, message, entries)
    for nested in message.nested_type:
        if not nested.options.map_entry:
            add_message(found, syntax, name, nested)
    for enum in message.enum_type:
        add_enum(found, name, enum)


def describe(
    field: FieldDescriptorProto, message: DescriptorProto, entries: dict[str, DescriptorProto]
) -> str:
    """Says number, label, type, oneof and options of a field, much as a .proto would."""
    if field.type_name in entries:
        key, value = entries[field.type_name].field
        kind = f"map<{type_of(key)}, {type_of(value)}>"
    elif field.label == FieldDescriptorProto.LABEL_REPEATED:
        kind = f"repeated {type_of(field)}"
    else:
        kind = type_of(field)
    parts = [kind, f"= {field.number}"]
    if field.HasField("oneof_index"):
        parts.append(f"in oneof {message.oneof_decl[field.oneof_index].name}")
    if field.proto3_optional:
        parts.append("optional")
    if options := str(field.options).strip():
        parts.append(f"[{options}]")
    return " ".join(parts)


def type_of(field: FieldDescriptorProto) -> str:
    return field.type_name or FieldDescriptorProto.Type.Name(field.type)


def add_enum(found: dict[str, str], scope: str, enum: EnumDescriptorProto) -> None:
    name = f"{scope}.{enum.name}"
    found[f"enum {name}"] = f"enum {enum.options}".strip()
    for value in enum.value:
        found[f"value {name}.{value.name}"] = f"= {value.number}"


def add_service(found: dict[str, str], scope: str, service: ServiceDescriptorProto) -> None:
    name = f"{scope}.{service.name}"
    found[f"service {name}"] = "service"
    for method in service.method:
        asked = f"{'stream ' if method.client_streaming else ''}{method.input_type}"
        answered = f"{'stream ' if method.server_streaming else ''}{method.output_type}"
        found[f"method {name}.{method.name}"] = f"({asked}) returns ({answered})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
