//! gRPC frames and messages that cannot be read, and calls that there are not.

use prost::Message;

use super::ask::{Asker, right};
use super::row::{Answer, Body, Row, Sent, argument};

#[test]
fn frames_and_calls_that_cannot_be_read_are_refused() {
    Asker::new("").ask_all(ROWS);
}

#[test]
fn a_message_that_breaks_off_is_never_a_fault_of_the_server() {
    let asker = Asker::new("");
    let whole = right().encode_to_vec();
    for length in 0..whole.len() {
        let cut = Body::Of(whole[..length].to_vec());
        let complaint = asker.ask(&Row {
            what: format!("the first {length} bytes of a right message").into(),
            sent: Sent::GrpcCall("ModelInfer", cut),
            // Cut between two fields it is a message, of something else.
            answer: Answer::Invalid,
        });
        assert_eq!(complaint, None);
    }
}

/// The rows.
pub const ROWS: &[Row] = &[
    // Messages.
    message("an endless varint", b"\xff\xff\xff", "invalid varint"),
    message("a varint of 11 bytes", b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "invalid"),
    message("field 0", b"\0\0", "invalid tag"),
    message("wire type 6", b"\x0e", "wire type"),
    message("wire type 7", b"\x0f", "wire type"),
    message("a length past the end", b"\x0a\x7fshort", "model_name"),
    message(
        "a length of 2^63",
        b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        "failed to decode",
    ),
    message("a length of 4 GiB", b"\x0a\xff\xff\xff\xff\x0f", "failed to decode"),
    message("a name that is not UTF-8", b"\x0a\x02\xff\xfe", "not UTF-8"),
    message("a name that is a number", b"\x08\x01", "wire type"),
    message("an input that is a number", b"\x28\x01", "wire type"),
    message("an input that breaks off", b"\x2a\x02\x0a\x7f", "failed to decode"),
    message("half a fixed32", b"\x2a\x06\x2a\x04\x35\0\0", "failed to decode"),
    message("fp32_contents of 3 bytes", b"\x2a\x07\x2a\x05\x32\x03\0\0\0", "failed to decode"),
    message("a group that does not end", b"\x5b", "failed to decode"),
    message("the end of a group", b"\x5c", "failed to decode"),
    message("JSON", b"{\"inputs\":[]}", "failed to decode"),
    message("a lone tag", b"\x0a", "failed to decode"),
    Row::new("10,000 groups", Sent::GrpcCall(INFER, Body::Made(|| vec![0x5b; 10_000])), NOT_READ),
    Row::new(
        "10,000 parameters in one another",
        Sent::GrpcCall(INFER, Body::Made(nested)),
        NOT_READ,
    ),
    Row::new("metadata", Sent::GrpcCall("ModelMetadata", BROKEN), NOT_READ),
    Row::new("readiness", Sent::GrpcCall("ModelReady", BROKEN), NOT_READ),
    Row::new("configuration", Sent::GrpcCall("ModelConfig", BROKEN), NOT_READ),
    Row::new("statistics", Sent::GrpcCall("ModelStatistics", BROKEN), NOT_READ),
    Row::new("index", Sent::GrpcCall("RepositoryIndex", BROKEN), NOT_READ),
    Row::new("load", Sent::GrpcCall("RepositoryModelLoad", BROKEN), NOT_READ),
    Row::new("unload", Sent::GrpcCall("RepositoryModelUnload", BROKEN), NOT_READ),
    Row::new("liveness", Sent::GrpcCall("ServerLive", BROKEN), NOT_READ),
    // Calls of models that are not there.
    Row::new("metadata of nope", Sent::GrpcCall("ModelMetadata", NOPE), NO_MODEL),
    Row::new("readiness of nope", Sent::GrpcCall("ModelReady", NOPE), NO_MODEL),
    Row::new("configuration of nope", Sent::GrpcCall("ModelConfig", NOPE), NO_MODEL),
    Row::new("statistics of nope", Sent::GrpcCall("ModelStatistics", NOPE), NO_MODEL),
    Row::new("load of nope", Sent::GrpcCall("RepositoryModelLoad", NOPE_2), NO_MODEL),
    Row::new("unload of nope", Sent::GrpcCall("RepositoryModelUnload", NOPE_2), NO_MODEL),
    Row::new(
        "load of dot-dot",
        Sent::GrpcCall("RepositoryModelLoad", Body::Raw(b"\x12\x02..")),
        NAME,
    ),
    Row::new("metadata of nothing", Sent::GrpcCall("ModelMetadata", Body::Text("")), NAME),
    Row::new(
        "index of another place",
        Sent::GrpcCall("RepositoryIndex", Body::Raw(b"\x0a\x01x")),
        NOT_OFFERED,
    ),
    // Calls that are named as not offered, and those that nobody named.
    Row::new(
        "SystemSharedMemoryStatus",
        Sent::GrpcCall("SystemSharedMemoryStatus", EMPTY),
        NOT_OFFERED,
    ),
    Row::new(
        "SystemSharedMemoryRegister",
        Sent::GrpcCall("SystemSharedMemoryRegister", EMPTY),
        NOT_OFFERED,
    ),
    Row::new(
        "SystemSharedMemoryUnregister",
        Sent::GrpcCall("SystemSharedMemoryUnregister", EMPTY),
        NOT_OFFERED,
    ),
    Row::new(
        "CudaSharedMemoryStatus",
        Sent::GrpcCall("CudaSharedMemoryStatus", EMPTY),
        NOT_OFFERED,
    ),
    Row::new(
        "CudaSharedMemoryRegister",
        Sent::GrpcCall("CudaSharedMemoryRegister", EMPTY),
        NOT_OFFERED,
    ),
    Row::new(
        "CudaSharedMemoryUnregister",
        Sent::GrpcCall("CudaSharedMemoryUnregister", EMPTY),
        NOT_OFFERED,
    ),
    Row::new("TraceSetting", Sent::GrpcCall("TraceSetting", EMPTY), NOT_OFFERED),
    Row::new("LogSettings", Sent::GrpcCall("LogSettings", EMPTY), NOT_OFFERED),
    Row::new("an unknown call", Sent::GrpcCall("Predict", EMPTY), NO_CALL),
    Row::new("a call in lower case", Sent::GrpcCall("modelinfer", EMPTY), NO_CALL),
    Row::new("an empty call", Sent::GrpcCall("", EMPTY), NO_CALL),
    frame(
        "another service",
        "/tensorflow.serving.PredictionService/Predict",
        GRPC,
        b"\0\0\0\0\0",
        NO_CALL,
    ),
    frame("the root", "/", GRPC, b"\0\0\0\0\0", NO_CALL),
    frame(
        "a service with more to its name",
        "/inference.GRPCInferenceServiceX/ModelInfer",
        GRPC,
        b"\0\0\0\0\0",
        NO_CALL,
    ),
    frame("an HTTP path", "/v2/models/iris/infer", GRPC, b"\0\0\0\0\0", NO_CALL),
    // Frames.
    frame("no frame", PATH, GRPC, b"", NOT_READ),
    frame("half a frame's head", PATH, GRPC, b"\0\0\0", NOT_READ),
    frame("a length that lies", PATH, GRPC, b"\0\0\0\0\x64abc", NOT_READ),
    frame("a length too short", PATH, GRPC, b"\0\0\0\0\x01\x0a\x04iris", NOT_READ),
    frame("a length of 4 GiB", PATH, GRPC, b"\0\xff\xff\xff\xff", TOO_LARGE),
    frame("a length of 64 MiB and 1", PATH, GRPC, b"\0\x04\0\0\x01", TOO_LARGE),
    frame("flag 2", PATH, GRPC, b"\x02\0\0\0\0", NOT_READ),
    frame("flag 255", PATH, GRPC, b"\xff\0\0\0\0", NOT_READ),
    frame("compressed, and no encoding", PATH, GRPC, b"\x01\0\0\0\x01a", NOT_READ),
    frame("JSON", PATH, GRPC, b"{\"inputs\":[]}", NOT_READ),
    // Content types.
    frame("no content type", PATH, &[], b"\0\0\0\0\0", NOT_GRPC),
    frame("JSON by its type", PATH, &[("content-type", "application/json")], b"{}", NOT_GRPC),
    frame("text", PATH, &[("content-type", "text/plain")], b"\0\0\0\0\0", NOT_GRPC),
    frame("a form", PATH, &[("content-type", "multipart/form-data")], b"\0\0\0\0\0", NOT_GRPC),
    frame("HTTP at the gRPC port", "/v2", &[], b"", NOT_GRPC),
];

const fn message(what: &'static str, bytes: &'static [u8], says: &'static str) -> Row {
    Row::new(what, Sent::GrpcCall(INFER, Body::Raw(bytes)), argument("invalid.malformed", says))
}

const fn frame(
    what: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    bytes: &'static [u8],
    answer: Answer,
) -> Row {
    Row::new(what, Sent::GrpcHttp(path, headers, Body::Raw(bytes)), answer)
}

// Groups within groups of a field that the message does not have.
fn nested() -> Vec<u8> {
    [vec![0x5b; 10_000], vec![0x5c; 10_000]].concat()
}

const INFER: &str = "ModelInfer";
const PATH: &str = "/inference.GRPCInferenceService/ModelInfer";
const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];
const EMPTY: Body = Body::Text("");
const BROKEN: Body = Body::Raw(b"\xff\xff\xff");
/// Field 1 and field 2, where these messages have the model's name.
const NOPE: Body = Body::Raw(b"\x0a\x04nope");
const NOPE_2: Body = Body::Raw(b"\x12\x04nope");
const NOT_READ: Answer = argument("invalid.malformed", "");
const NAME: Answer = argument("invalid.name", "is not valid: expected");
const NO_MODEL: Answer = Answer::Grpc(tonic::Code::NotFound, "not_found.model", "'nope'");
const NOT_OFFERED: Answer =
    Answer::Grpc(tonic::Code::Unimplemented, "unsupported.call", "not offered");
const NO_CALL: Answer = Answer::Grpc(tonic::Code::Unimplemented, "unsupported.call", "");
const TOO_LARGE: Answer = Answer::Grpc(tonic::Code::ResourceExhausted, "too_large.message", "");
const NOT_GRPC: Answer = Answer::GrpcHttp(415, "unsupported_media.encoding");
