//! The few kinds of failure a caller can act on, and every code we answer with.
//!
//! Errors say *what* went wrong in their own words; a [`Code`] says what a program can do about
//! it. `api/status` alone turns kinds into HTTP and gRPC; `docs/errors.md` is written from here.

use std::error::Error;
use std::fmt;

/// What a caller can do about a failure.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// The request is malformed or does not fit the model: change it.
    Invalid,
    /// We do not know who asks: send credentials.
    Unauthenticated,
    /// We know who asks, and they may not.
    Denied,
    /// There is no such model, version or route.
    NotFound,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// Headers or body came too slowly.
    HeaderTimeout,
    /// Somebody else changed it first: look again.
    Conflict,
    /// A gate or an approval said no.
    Vetoed,
    /// The body or message is over the limit.
    TooLarge,
    /// A content type or encoding that we do not read.
    UnsupportedMedia,
    /// A queue or quota is full: come back later.
    Overloaded,
    /// The headers are over the limit.
    HeaderTooLarge,
    /// The caller left before the answer.
    Cancelled,
    /// Our fault, or the model's run failed.
    Internal,
    /// A call of the protocol that we name as not offered.
    Unsupported,
    /// Known, but not ready to answer.
    Unavailable,
    /// The deadline passed.
    Timeout,
}

impl Kind {
    /// Every kind, in the order of the table of failures.
    pub const ALL: [Self; 17] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Denied,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::HeaderTimeout,
        Self::Conflict,
        Self::Vetoed,
        Self::TooLarge,
        Self::UnsupportedMedia,
        Self::Overloaded,
        Self::HeaderTooLarge,
        Self::Cancelled,
        Self::Internal,
        Self::Unsupported,
        Self::Unavailable,
        Self::Timeout,
    ];

    /// The name in snake case, as in codes and metric labels (`not_found`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::HeaderTimeout => "header_timeout",
            Self::Conflict => "conflict",
            Self::Vetoed => "vetoed",
            Self::TooLarge => "too_large",
            Self::UnsupportedMedia => "unsupported_media",
            Self::Overloaded => "overloaded",
            Self::HeaderTooLarge => "header_too_large",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
        }
    }

    /// Whether the server could not do what was rightly asked, rather than the caller asking wrongly.
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::Internal | Self::Unsupported | Self::Unavailable | Self::Timeout)
    }
}

/// The beginning of a text that a caller chose: it may be 64 MiB long, a message about it may not.
pub fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// An error that can reach a caller.
pub trait Failure: Error + Send + Sync + 'static {
    /// The code that callers see and programs act on.
    fn code(&self) -> Code;

    /// What a caller can do about it.
    fn kind(&self) -> Kind {
        self.code().kind()
    }
}

macro_rules! codes {
    ($(#[doc = $meaning:literal] $name:ident = $kind:ident . $detail:literal, $remedy:literal;)*) => {
        /// One way to fail, as callers see it: `not_found.version`.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What a caller can do about it.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// The part after the dot.
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)* }
            }

            /// What went wrong, as one sentence for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning.trim_ascii(),)* }
            }

            /// What to do, as one sentence for the documentation.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    /// The request could not be read: broken JSON, protobuf, or UTF-8.
    Malformed = Invalid."malformed", "Send a well-formed request; the text says where reading stopped.";
    /// A model name, version or alias that cannot be one.
    Name = Invalid."name", "Use a model name of letters, digits, `.`, `_`, `-`, and a version that is a positive integer.";
    /// Inputs that do not fit the model's signature.
    Input = Invalid."input", "Compare the request with the model's metadata; the text names the input, what was found and what was expected.";
    /// An output that the model does not have, or that has no value.
    Output = Invalid."output", "Ask for outputs that the model's metadata lists, each once, or for none by name.";
    /// A parameter that cannot act, or has the wrong type.
    Parameter = Invalid."parameter", "Leave the parameter out or correct it; the text says why it cannot act.";
    /// The model's own code refused the values.
    Rejected = Invalid."rejected_by_model", "The values are of the right shape and type, but the model cannot take them; the text is the model's.";
    /// Nobody may do this with the credentials sent.
    Scope = Denied."scope", "Use the admin port of the server's own machine or container, or bind the listener to loopback.";
    /// A web page of another machine asks for a change.
    Origin = Denied."origin", "Call the admin endpoint from this machine, not from a page of another one.";
    /// No model of that name.
    Model = NotFound."model", "List the models with the repository index; a name is its folder's name.";
    /// The model has no such version.
    Version = NotFound."version", "List the model's versions on the admin API.";
    /// No such path.
    Path = NotFound."path", "Compare the path with docs/api.md.";
    /// The path exists, but not with this method.
    Method = MethodNotAllowed."method", "Use the method that the `Allow` header names.";
    /// The head of the request came too slowly.
    SlowHead = HeaderTimeout."head", "Send the whole head at once; the limit is in the configuration.";
    /// The body came too slowly.
    SlowBody = HeaderTimeout."body", "Send the body at once; the limit is in the configuration.";
    /// Another change of this model is under way.
    Busy = Conflict."busy", "Wait for the change that the text names, then ask again.";
    /// The expected generation is not the present one.
    Generation = Conflict."generation", "Read the model again, look at what changed, and send the generation found.";
    /// The version's state does not allow the change.
    State = Conflict."state", "Read the version's state; the text says which state the change needs.";
    /// A version was not let in: broken files or a failed check.
    Load = Invalid."load", "Repair the version's files; the text is the reason. What served before still serves.";
    /// A version does not answer its own golden cases.
    Golden = Vetoed."golden", "Repair the model or its golden.json; the text names the case and the first difference. What served before still serves.";
    /// The body or message is over the limit.
    Size = TooLarge."message", "Send less at once, or raise `limits.message_bytes`.";
    /// The head of the request is over the limit.
    Head = HeaderTooLarge."head", "Send fewer or shorter headers, or raise `limits.header_bytes`.";
    /// A content encoding or type that is not read here.
    Encoding = UnsupportedMedia."encoding", "Send the body as it is, or compressed with gzip or deflate.";
    /// The version's queue is full.
    Queue = Overloaded."queue", "Come back after the time in `Retry-After`, or add capacity.";
    /// The caller left before the answer.
    Left = Cancelled."caller", "Nothing to do: nobody waits for the answer.";
    /// The model's run failed.
    Run = Internal."run", "Look for the inference id in the server's log; the model's run failed.";
    /// Our own fault.
    Bug = Internal."bug", "Look for the inference id in the server's log, and report it.";
    /// A call of the protocol that is not offered.
    NotOffered = Unsupported."call", "Use another way; the server's metadata lists the extensions it offers.";
    /// The model is known, but no version of it is ready.
    NotReady = Unavailable."model", "Wait until the model is ready; the text says what it is doing.";
    /// The server is shutting down.
    Draining = Unavailable."draining", "Send the request to another instance.";
    /// The deadline passed before the answer.
    Deadline = Timeout."deadline", "Allow more time, or send less work at once.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind().name(), self.detail())
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Kind};
    use std::collections::BTreeSet;

    #[test]
    fn no_two_codes_read_alike() {
        let names: BTreeSet<String> = Code::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(names.contains("not_found.version"));
    }

    #[test]
    fn kinds_are_listed_once_and_in_order() {
        assert!(Kind::ALL.is_sorted());
        assert_eq!(Kind::ALL.iter().collect::<BTreeSet<_>>().len(), Kind::ALL.len());
    }
}
