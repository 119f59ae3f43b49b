//! Exit codes, and the failures that have one of their own.

use std::process::ExitCode;

/// A failure that scripts tell apart from others by the exit code.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A server answers, and says that it or the model is not ready.
    #[error("not ready: {reason}")]
    NotReady {
        /// In the server's words.
        reason: String,
    },
    /// Nobody answers there.
    #[error(
        "no server answers at {url}: {reason}; start one with `tidegate serve`, or say where it is \
         with {flag}"
    )]
    Unreachable {
        /// Where it was expected.
        url: String,
        /// The system's reason.
        reason: String,
        /// The flag that names another place.
        flag: &'static str,
    },
}

/// The exit code of a command that failed.
pub fn code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<Ended>() {
        None => ExitCode::FAILURE,
        Some(Ended::NotReady { .. }) => ExitCode::from(3),
        Some(Ended::Unreachable { .. }) => ExitCode::from(4),
    }
}

/// What the codes mean, as `tidegate --help` says it.
pub const CODES: &str = "\
Exit codes: 0 done, 1 failed or refused, 2 wrong arguments, 3 not ready, 4 no server answers.";
