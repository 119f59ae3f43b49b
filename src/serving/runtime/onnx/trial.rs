//! Opens a model in a process of its own first, which may crash instead.
//!
//! ONNX Runtime is C++: a model can end the process that opens it, by a stack that overflows or a
//! division that traps, and no error comes back. The trial is this same program, told to open one
//! file, on a thread with the stack of those that load here. Only opening is tried: a model that
//! crashes in a run is not found.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::serving::runtime::onnx::library::Library;
use crate::serving::runtime::onnx::session::{self, SessionError};

/// How models are tried.
#[derive(Clone, Debug)]
pub struct Trial {
    program: PathBuf,
    library: PathBuf,
    limit: Duration,
}

/// Why a model is not to be opened in this process.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// It ended the process that opened it.
    #[error(
        "ONNX Runtime crashed (signal {signal}) while it opened the model in a trial process{said}"
    )]
    Crashed {
        /// What the system ended it with.
        signal: i32,
        /// Its last words.
        said: Said,
    },
    /// It ended in a way that is neither success nor refusal.
    #[error("the trial process ended with {status} while it opened the model{said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its last words.
        said: Said,
    },
    /// It did not end in time.
    #[error("the trial process did not open the model within {} s", limit.as_secs_f64())]
    Slow {
        /// What it was allowed.
        limit: Duration,
    },
    /// There could be no trial.
    #[error("the trial process cannot be started: {0}")]
    Start(#[from] io::Error),
}

/// What a process wrote to standard error, cut; may be nothing.
#[derive(Debug)]
pub struct Said(String);

impl Trial {
    /// Trials in processes of this program, with that library, which may take so long.
    pub fn new(library: &Library, limit: Duration) -> Self {
        // What runs now, also when an upgrade has replaced the file.
        let program = PathBuf::from("/proc/self/exe");
        Self { program, library: library.path().to_path_buf(), limit }
    }

    /// Opens the model in a process of its own, and returns when that has ended.
    ///
    /// A model that ONNX Runtime refuses passes: opening it here says why. Blocks; takes as long as
    /// opening the model does, and as much memory again meanwhile.
    ///
    /// # Errors
    ///
    /// [`TrialError`].
    pub fn open(&self, model: &Path) -> Result<(), TrialError> {
        #[expect(clippy::disallowed_methods, reason = "the trial load")]
        let mut child = Command::new(&self.program)
            .arg(COMMAND)
            .arg(model)
            .arg("--library")
            .arg(&self.library)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = child.stderr.take().map(listen);
        // Standard error ends with the process.
        let said = said.and_then(|said| said.recv_timeout(self.limit).ok());
        let Some(said) = said else {
            child.kill()?;
            child.wait()?;
            return Err(TrialError::Slow { limit: self.limit });
        };
        let status = child.wait()?;
        match (status.signal(), status.code()) {
            (_, Some(0 | REFUSED)) => Ok(()),
            (Some(signal), _) => Err(TrialError::Crashed { signal, said }),
            (None, _) => Err(TrialError::Ended { status, said }),
        }
    }
}

/// The other side of a trial: opens the model, and is gone if that crashes.
///
/// # Errors
///
/// As [`session::inspect`].
pub fn open_here(library: &Library, model: &Path) -> Result<(), SessionError> {
    let opened = thread::scope(|scope| {
        // A thread has the stack of those that load in a server; a main thread may have more.
        scope.spawn(|| session::inspect(library, model).map(drop)).join()
    });
    opened.unwrap_or_else(|_| Err(SessionError::Refused { reason: "it panicked".to_owned() }))
}

// Reads to the end, keeps the beginning.
fn listen(mut from: ChildStderr) -> mpsc::Receiver<Said> {
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        from.by_ref().take(MOST_SAID).read_to_end(&mut kept).ok();
        io::copy(&mut from, &mut io::sink()).ok();
        let kept = String::from_utf8_lossy(&kept);
        let words: Vec<&str> = kept.split_whitespace().collect();
        told.send(Said(words.join(" "))).ok();
    });
    heard
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(said) = self;
        if said.is_empty() { Ok(()) } else { write!(f, ": {said}") }
    }
}

/// The command of this program that is the other side of a trial.
pub const COMMAND: &str = "__try-load";

/// How that command ends when the model is refused.
pub const REFUSED: i32 = 1;

/// Bytes of its last words that are kept.
const MOST_SAID: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::{Trial, TrialError};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::Duration;

    // A program that does what the script says instead of opening a model.
    fn try_with(script: &str, limit: Duration) -> Result<(), TrialError> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Trial { program, library: "libonnxruntime.so".into(), limit }.open(Path::new("m.onnx"))
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_model_passes_that_is_opened_or_refused() {
        try_with("exit 0", LONG).unwrap();
        try_with("exit 1", LONG).unwrap();
        try_with("[ \"$*\" = '__try-load m.onnx --library libonnxruntime.so' ]", LONG).unwrap();
    }

    #[test]
    fn a_crash_and_any_other_end_are_told_with_the_last_words() {
        let crash = try_with("echo oh no >&2; kill -SEGV $$", LONG).unwrap_err().to_string();
        let place = "while it opened the model in a trial process";
        assert_eq!(crash, format!("ONNX Runtime crashed (signal 11) {place}: oh no"));
        let ended = try_with("exit 7", LONG).unwrap_err().to_string();
        assert!(ended.contains("ended with exit status: 7 while it opened"), "{ended}");
    }

    #[test]
    fn a_process_that_does_not_end_is_killed_and_one_that_never_stops_talking_is_cut() {
        let slow = try_with("exec tail -f /dev/null", Duration::from_millis(50)).unwrap_err();
        assert!(slow.to_string().contains("did not open the model within 0.05 s"), "{slow}");
        let loud = try_with("head -c 1000000 /dev/zero >&2; exit 7", LONG).unwrap_err();
        assert!(loud.to_string().len() < 2_000, "{}", loud.to_string().len());
    }
}
