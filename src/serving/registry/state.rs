//! The states of a version, and the only steps between them.

use std::fmt;

/// Where a version is in its life.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Its files are on disk.
    Found,
    /// Its files were read and its digest is known.
    Verified,
    /// Its session is being made.
    Loading,
    /// It runs for the first times.
    Warming,
    /// It is ready, and gets only requests that name it.
    Standby,
    /// It takes requests that name no version.
    Serving,
    /// It takes no new requests, and answers those it has.
    Draining,
    /// Its memory is free again.
    Retired,
    /// A gate refused it.
    Rejected {
        /// Which gate.
        gate: String,
        /// Why.
        reason: String,
    },
    /// It could not be loaded.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What happens to a version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Its files were read.
    Verify,
    /// Its session is to be made.
    Load,
    /// Its session is there.
    Warm,
    /// It is ready.
    Ready,
    /// It takes over.
    Promote,
    /// Another took over, and it stays warm.
    Replace,
    /// It is to go.
    Drain,
    /// Its last answer is written and its memory is free.
    Free,
    /// A gate said no.
    Reject {
        /// Which gate.
        gate: String,
        /// Why.
        reason: String,
    },
    /// It cannot be loaded.
    Fail {
        /// Why.
        reason: String,
    },
    /// Somebody asks for it again.
    Ask,
}

/// A step that a state does not allow.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a version that is {from} cannot {step:?}")]
pub struct IllegalStep {
    /// Where it is.
    pub from: State,
    /// What was asked.
    pub step: Step,
}

impl State {
    /// The state after the step.
    ///
    /// # Errors
    ///
    /// [`IllegalStep`] for everything that is not listed here.
    pub fn next(self, step: Step) -> Result<Self, IllegalStep> {
        Ok(match (self, step) {
            (Self::Found, Step::Verify) => Self::Verified,
            (Self::Verified, Step::Load) => Self::Loading,
            (Self::Loading, Step::Warm) => Self::Warming,
            (Self::Warming, Step::Ready) | (Self::Serving, Step::Replace) => Self::Standby,
            (Self::Standby, Step::Promote) => Self::Serving,
            // Straight from serving: no rollback window keeps it, or it is to be unloaded.
            (Self::Serving | Self::Standby, Step::Drain) => Self::Draining,
            (Self::Draining, Step::Free) => Self::Retired,
            (
                Self::Found | Self::Verified | Self::Loading | Self::Warming | Self::Standby,
                Step::Reject { gate, reason },
            ) => Self::Rejected { gate, reason },
            (
                Self::Found | Self::Verified | Self::Loading | Self::Warming,
                Step::Fail { reason },
            ) => Self::Failed { reason },
            (Self::Retired | Self::Rejected { .. } | Self::Failed { .. }, Step::Ask) => Self::Found,
            (from, step) => return Err(IllegalStep { from, step }),
        })
    }

    /// The name used everywhere, without reasons.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Verified => "verified",
            Self::Loading => "loading",
            Self::Warming => "warming",
            Self::Standby => "standby",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Retired => "retired",
            Self::Rejected { .. } => "rejected",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why it is so, for a version that was refused; empty otherwise.
    pub fn reason(&self) -> &str {
        match self {
            Self::Rejected { reason, .. } | Self::Failed { reason } => reason,
            Self::Found
            | Self::Verified
            | Self::Loading
            | Self::Warming
            | Self::Standby
            | Self::Serving
            | Self::Draining
            | Self::Retired => "",
        }
    }

    /// Whether it answers requests that name it.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Standby | Self::Serving)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { gate, reason } => write!(f, "rejected by {gate}: {reason}"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Found
            | Self::Verified
            | Self::Loading
            | Self::Warming
            | Self::Standby
            | Self::Serving
            | Self::Draining
            | Self::Retired => f.write_str(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{State, Step};

    fn states() -> Vec<State> {
        let reason = || "r".to_owned();
        vec![
            State::Found,
            State::Verified,
            State::Loading,
            State::Warming,
            State::Standby,
            State::Serving,
            State::Draining,
            State::Retired,
            State::Rejected { gate: "golden".into(), reason: reason() },
            State::Failed { reason: reason() },
        ]
    }

    fn steps() -> Vec<Step> {
        let reason = || "r".to_owned();
        vec![
            Step::Verify,
            Step::Load,
            Step::Warm,
            Step::Ready,
            Step::Promote,
            Step::Replace,
            Step::Drain,
            Step::Free,
            Step::Reject { gate: "golden".into(), reason: reason() },
            Step::Fail { reason: reason() },
            Step::Ask,
        ]
    }

    // One row a state, one column a step; `.` is refused.
    const TABLE: [(&str, [&str; 11]); 10] = [
        ("found", ["verified", ".", ".", ".", ".", ".", ".", ".", "rejected", "failed", "."]),
        ("verified", [".", "loading", ".", ".", ".", ".", ".", ".", "rejected", "failed", "."]),
        ("loading", [".", ".", "warming", ".", ".", ".", ".", ".", "rejected", "failed", "."]),
        ("warming", [".", ".", ".", "standby", ".", ".", ".", ".", "rejected", "failed", "."]),
        ("standby", [".", ".", ".", ".", "serving", ".", "draining", ".", "rejected", ".", "."]),
        ("serving", [".", ".", ".", ".", ".", "standby", "draining", ".", ".", ".", "."]),
        ("draining", [".", ".", ".", ".", ".", ".", ".", "retired", ".", ".", "."]),
        ("retired", [".", ".", ".", ".", ".", ".", ".", ".", ".", ".", "found"]),
        ("rejected", [".", ".", ".", ".", ".", ".", ".", ".", ".", ".", "found"]),
        ("failed", [".", ".", ".", ".", ".", ".", ".", ".", ".", ".", "found"]),
    ];

    #[test]
    fn every_pair_of_state_and_step_is_as_the_table_says() {
        for (state, (name, row)) in states().into_iter().zip(TABLE) {
            assert_eq!(state.name(), name);
            for (step, expected) in steps().into_iter().zip(row) {
                let next = state.clone().next(step.clone());
                let found = next.as_ref().map_or(".", State::name);
                assert_eq!(found, expected, "{state} then {step:?}");
            }
        }
    }
}
