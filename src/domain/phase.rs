//! The eight phases of a request, and how long it spent in each.
//!
//! The same words are used in code, metrics, traces and documents.

use std::time::{Duration, Instant};

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Bytes become tensors.
    Decode,
    /// May it come in: who asks, is there room.
    Admit,
    /// Which version answers.
    Choose,
    /// The version is held for as long as the answer takes.
    Lease,
    /// Waiting for a turn.
    Queue,
    /// The model runs.
    Run,
    /// Tensors become bytes, and leave.
    Encode,
    /// Observers are told.
    Observe,
}

impl Phase {
    /// Every phase, in the order of the way.
    pub const ALL: [Self; 8] = [
        Self::Decode,
        Self::Admit,
        Self::Choose,
        Self::Lease,
        Self::Queue,
        Self::Run,
        Self::Encode,
        Self::Observe,
    ];

    /// The word used everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Admit => "admit",
            Self::Choose => "choose",
            Self::Lease => "lease",
            Self::Queue => "queue",
            Self::Run => "run",
            Self::Encode => "encode",
            Self::Observe => "observe",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// How long one request spent in each phase so far.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    started: Instant,
    entered: Instant,
    current: Phase,
    /// One bit a phase that was entered.
    entered_bits: u8,
    spent: [Duration; Phase::ALL.len()],
}

impl Timeline {
    /// Starts in [`Phase::Decode`].
    pub fn start(now: Instant) -> Self {
        Self {
            started: now,
            entered: now,
            current: Phase::Decode,
            entered_bits: Phase::Decode.bit(),
            spent: [Duration::ZERO; Phase::ALL.len()],
        }
    }

    /// Leaves the current phase for another one; coming back to a phase adds to it.
    pub fn enter(&mut self, phase: Phase, now: Instant) {
        if let Some(spent) = self.spent.get_mut(self.current as usize) {
            *spent += now.saturating_duration_since(self.entered);
        }
        self.entered = now;
        self.current = phase;
        self.entered_bits |= phase.bit();
    }

    /// Time spent in a phase that was left.
    pub fn spent(&self, phase: Phase) -> Duration {
        self.spent.get(phase as usize).copied().unwrap_or_default()
    }

    /// Every phase that was entered, in the order of the way, with the time spent in it.
    pub fn passed(&self) -> impl Iterator<Item = (Phase, Duration)> {
        let passed = Phase::ALL.into_iter().filter(|phase| self.entered_bits & phase.bit() != 0);
        passed.map(|phase| (phase, self.spent(phase)))
    }

    /// From the start to the last change of phase.
    pub fn total(&self) -> Duration {
        self.entered.saturating_duration_since(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Timeline};
    use std::time::Duration;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    fn the_phases_add_up_to_the_total() {
        let start = std::time::Instant::now();
        let mut timeline = Timeline::start(start);
        for (step, phase) in (1..).zip(Phase::ALL.into_iter().skip(1)) {
            timeline.enter(phase, start + Duration::from_micros(10 * step));
        }
        let sum: Duration = Phase::ALL.into_iter().map(|phase| timeline.spent(phase)).sum();
        assert_eq!(sum, timeline.total());
        assert_eq!(timeline.spent(Phase::Run), Duration::from_micros(10));
        assert_eq!(timeline.spent(Phase::Observe), Duration::ZERO);
        assert_eq!(timeline.passed().count(), 8);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    fn a_phase_that_was_left_out_was_not_passed() {
        let start = std::time::Instant::now();
        let mut timeline = Timeline::start(start);
        timeline.enter(Phase::Observe, start + Duration::from_micros(3));
        let passed: Vec<_> = timeline.passed().collect();
        assert_eq!(
            passed,
            [(Phase::Decode, Duration::from_micros(3)), (Phase::Observe, Duration::ZERO)]
        );
    }
}
