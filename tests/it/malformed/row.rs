//! A row of the table: what is sent, and what must come back.

use std::borrow::Cow;

use bytes::Bytes;
use tidegate::api::oip::pb::inference as pb;

/// One wrong request.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is wrong with it.
    pub what: Cow<'static, str>,
    /// What goes over the wire.
    pub sent: Sent,
    /// What must come back.
    pub answer: Answer,
}

/// What goes over the wire.
#[derive(Clone, Debug)]
pub enum Sent {
    /// A body to `/v2/models/<path>`, with whole header lines beside it.
    Infer(&'static str, &'static str, Body),
    /// Method, path and body of any call.
    Call(&'static str, &'static str, Body),
    /// A tensor for iris of that type and `data`, of one element.
    Value(&'static str, &'static str),
    /// A tensor for iris of that shape, of one value.
    Shape(&'static str),
    /// A binary tensor for iris of that type, announced as of that size, and its bytes.
    Sized(&'static str, &'static str, &'static [u8]),
    /// JSON, what follows it, and the header that says where it ends; empty for the right one.
    Binary(&'static str, Body, &'static str),
    /// All that is sent on a connection, which the caller then closes for writing.
    Raw(Body),
    /// The same, but the caller keeps it open and sends nothing more.
    Stalled(Body),
    /// A request that iris answers, changed.
    Grpc(fn(&mut pb::ModelInferRequest)),
    /// A call with bytes that need not be its message.
    GrpcCall(&'static str, Body),
    /// Path, header lines and body of an HTTP/2 request that need not be gRPC.
    GrpcHttp(&'static str, &'static [(&'static str, &'static str)], Body),
}

/// Bytes, written down or made.
#[derive(Clone, Debug)]
pub enum Body {
    /// As it stands.
    Text(&'static str),
    /// As it stands.
    Raw(&'static [u8]),
    /// Too long to stand here.
    Made(fn() -> Vec<u8>),
    /// One of many that were made.
    Of(Vec<u8>),
}

/// What must come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// HTTP status, code, and a part of the sentence.
    Http(u16, &'static str, &'static str),
    /// gRPC code, our code, and a part of the sentence.
    Grpc(tonic::Code, &'static str, &'static str),
    /// HTTP status of a gRPC port, and our code.
    GrpcHttp(u16, &'static str),
    /// It is not wrong after all: an answer.
    Fine,
    /// Nobody can be answered: the connection ends.
    Closed,
    /// `INVALID_ARGUMENT` or `NOT_FOUND`, whatever the code.
    Invalid,
    /// 100 first, then that status and code.
    Continue(u16, &'static str),
}

impl Row {
    /// A body to iris.
    pub const fn infer(what: &'static str, body: &'static str, answer: Answer) -> Self {
        Self::new(what, Sent::Infer("iris/infer", "", Body::Text(body)), answer)
    }

    /// Bytes to iris.
    pub const fn bytes(what: &'static str, body: &'static [u8], answer: Answer) -> Self {
        Self::new(what, Sent::Infer("iris/infer", "", Body::Raw(body)), answer)
    }

    /// A long body to iris.
    pub const fn made(what: &'static str, body: fn() -> Vec<u8>, answer: Answer) -> Self {
        Self::new(what, Sent::Infer("iris/infer", "", Body::Made(body)), answer)
    }

    /// A call without body.
    pub const fn call(
        what: &'static str,
        method: &'static str,
        path: &'static str,
        answer: Answer,
    ) -> Self {
        Self::new(what, Sent::Call(method, path, Body::Text("")), answer)
    }

    /// `data` of one element that does not fit its type.
    pub const fn value(dtype: &'static str, data: &'static str, answer: Answer) -> Self {
        Self::new(data, Sent::Value(dtype, data), answer)
    }

    /// A shape that one value does not fill.
    pub const fn shape(shape: &'static str, answer: Answer) -> Self {
        Self::new(shape, Sent::Shape(shape), answer)
    }

    /// Text as the whole of a connection.
    pub const fn raw(what: &'static str, text: &'static str, answer: Answer) -> Self {
        Self::new(what, Sent::Raw(Body::Text(text)), answer)
    }

    /// A changed message.
    pub const fn grpc(
        what: &'static str,
        change: fn(&mut pb::ModelInferRequest),
        answer: Answer,
    ) -> Self {
        Self::new(what, Sent::Grpc(change), answer)
    }

    /// Any row.
    pub const fn new(what: &'static str, sent: Sent, answer: Answer) -> Self {
        Self { what: Cow::Borrowed(what), sent, answer }
    }
}

impl Body {
    /// The bytes.
    pub fn bytes(&self) -> Bytes {
        match self {
            Self::Text(text) => Bytes::from_static(text.as_bytes()),
            Self::Raw(bytes) => Bytes::from_static(bytes),
            Self::Made(make) => make().into(),
            Self::Of(bytes) => bytes.clone().into(),
        }
    }
}

/// 400 with that code.
pub const fn invalid(code: &'static str, says: &'static str) -> Answer {
    Answer::Http(400, code, says)
}

/// 400, the JSON or HTTP is broken.
pub const fn malformed(says: &'static str) -> Answer {
    invalid("invalid.malformed", says)
}

/// 400, the input does not fit.
pub const fn misfit(says: &'static str) -> Answer {
    invalid("invalid.input", says)
}

/// `INVALID_ARGUMENT` with that code.
pub const fn argument(code: &'static str, says: &'static str) -> Answer {
    Answer::Grpc(tonic::Code::InvalidArgument, code, says)
}
