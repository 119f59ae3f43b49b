//! Makes spans of an answer's record: one for it, one below for each phase.

use std::time::{Duration, SystemTime};

use crate::domain::compat::Compat;
use crate::domain::failure::Code;
use crate::domain::prediction::Prediction;
use crate::domain::trace::{SpanId, Status, Trace};
use crate::platform::telemetry::otlp::messages::{self, KeyValue, Span};
use crate::platform::telemetry::traces::{self, Answered};

/// The spans of one request, the server's first; none if its trace is not kept. Statuses are those
/// that callers meet under `compat`.
pub fn of(answered: &Answered, compat: Compat) -> Vec<Span> {
    let Some(trace) = answered.prediction.trace.as_deref() else { return Vec::new() };
    let ended = since_epoch(answered.ended);
    let began = ended.saturating_sub(answered.prediction.timeline.total());
    let attributes = attributes(trace, &answered.prediction, compat);
    let server = Span { attributes, ..server(trace, &answered.prediction, (began, ended)) };
    let mut spans = vec![server];
    let mut at = began;
    for (phase, spent) in answered.prediction.timeline.passed() {
        let until = at + spent;
        spans.push(Span {
            trace_id: trace.id.bytes().to_vec(),
            span_id: traces::new_span_id().bytes().to_vec(),
            parent_span_id: trace.span_id.bytes().to_vec(),
            name: phase.name().to_owned(),
            kind: messages::INTERNAL,
            start_time_unix_nano: nanos(at),
            end_time_unix_nano: nanos(until),
            flags: messages::FLAG_SAMPLED | messages::FLAG_HAS_IS_REMOTE,
            ..Span::default()
        });
        at = until;
    }
    spans
}

fn server(trace: &Trace, prediction: &Prediction, (began, ended): (Duration, Duration)) -> Span {
    let remote = if trace.parent.is_some() { messages::FLAG_IS_REMOTE } else { 0 };
    let fault = prediction.failure.filter(|code| code.kind().is_fault());
    Span {
        trace_id: trace.id.bytes().to_vec(),
        span_id: trace.span_id.bytes().to_vec(),
        trace_state: trace.state.clone(),
        parent_span_id: trace.parent.map(SpanId::bytes).map_or_else(Vec::new, Vec::from),
        name: NAME.to_owned(),
        kind: messages::SERVER,
        start_time_unix_nano: nanos(began),
        end_time_unix_nano: nanos(ended),
        // What a caller did wrong is no error of the server's span (semantic conventions).
        status: fault
            .map(|code| messages::Status { message: code.to_string(), code: messages::ERROR }),
        flags: messages::FLAG_SAMPLED | messages::FLAG_HAS_IS_REMOTE | remote,
        ..Span::default()
    }
}

fn attributes(trace: &Trace, prediction: &Prediction, compat: Compat) -> Vec<KeyValue> {
    let wire = trace.wire;
    let mut attributes: Vec<KeyValue> =
        wire.attributes.iter().map(|&(name, value)| KeyValue::text(name, value)).collect();
    attributes.push(match (wire.status)(prediction.failure.map(Code::kind), compat) {
        Status::Number(number) => KeyValue::number(wire.status_name, number.into()),
        Status::Name(name) => KeyValue::text(wire.status_name, name),
    });
    if let Some(code) = prediction.failure {
        attributes.push(KeyValue::text("error.type", code.to_string()));
    }
    attributes.push(KeyValue::text("tidegate.inference_id", prediction.id.to_string()));
    attributes.push(KeyValue::text("ml.model.variant", prediction.variant));
    if let Some(origin) = &prediction.origin {
        attributes.push(KeyValue::text("ml.model.name", origin.model.as_str()));
        attributes.push(KeyValue::text("ml.model.version", origin.labels.version.clone()));
        attributes.push(KeyValue::text("ml.model.digest", origin.labels.digest.clone()));
    }
    attributes
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn nanos(since_epoch: Duration) -> u64 {
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// What every server span is called: names are for grouping, models are attributes.
const NAME: &str = "infer";

#[cfg(test)]
mod tests {
    use super::of;
    use crate::domain::compat::Compat;
    use crate::domain::failure::Code;
    use crate::domain::inference::{DEFAULT_VARIANT, InferenceId, Purpose};
    use crate::domain::phase::{Phase, Timeline};
    use crate::domain::prediction::Prediction;
    use crate::domain::trace::{SpanId, Status, Trace, TraceId, Wire};
    use crate::platform::clock::{Clock, Manual};
    use crate::platform::telemetry::otlp::messages::{self, Span};
    use crate::platform::telemetry::traces::Answered;
    use std::sync::Arc;
    use std::time::Duration;
    use ulid::Ulid;

    static WIRE: Wire = Wire {
        attributes: &[("rpc.system.name", "grpc")],
        status_name: "rpc.response.status_code",
        status: |failure, _| Status::Name(failure.map_or("OK", |kind| kind.name())),
    };

    // Ten microseconds in each of these phases, then observed at once.
    fn answered(phases: &[Phase], failure: Option<Code>) -> Answered {
        let clock = Manual::new();
        let mut timeline = Timeline::start(clock.now());
        for &phase in phases {
            clock.advance(Duration::from_micros(10));
            timeline.enter(phase, clock.now());
        }
        let trace = Trace {
            id: TraceId::new([1; 16]).unwrap(),
            span_id: SpanId::new([2; 8]).unwrap(),
            parent: SpanId::new([3; 8]),
            state: "vendor=1".to_owned(),
            wire: &WIRE,
        };
        let prediction = Arc::new(Prediction {
            id: InferenceId(Ulid::from_parts(1, 2)),
            origin: None,
            variant: DEFAULT_VARIANT,
            purpose: Purpose::Live,
            failure,
            timeline,
            trace: Some(Box::new(trace)),
        });
        Answered { prediction, ended: clock.wall() }
    }

    fn told(spans: &[Span]) -> Vec<(&str, u64, u64)> {
        let times = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
        spans.iter().map(|span| (span.name.as_str(), times(span).0, times(span).1)).collect()
    }

    #[test]
    fn phases_follow_each_other_below_the_span_of_the_request() {
        let spans = of(&answered(&Phase::ALL[1..], None), Compat::None);
        let (server, phases) = spans.split_first().unwrap();
        assert_eq!(
            told(&spans)[..3],
            [("infer", 0, 70_000), ("decode", 0, 10_000), ("admit", 10_000, 20_000)]
        );
        let names: Vec<&str> = phases.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, Phase::ALL.map(Phase::name));
        for pair in phases.windows(2) {
            assert_eq!(pair[0].end_time_unix_nano, pair[1].start_time_unix_nano);
        }
        assert!(phases.iter().all(|span| span.parent_span_id == server.span_id));
        assert!(spans.iter().all(|span| span.trace_id == [1; 16]));
        assert_eq!(
            (server.parent_span_id.as_slice(), server.kind),
            (&[3; 8][..], messages::SERVER)
        );
        assert_eq!((server.trace_state.as_str(), server.flags), ("vendor=1", 0x301));
        assert_eq!(server.status, None);
    }

    #[test]
    fn only_the_servers_own_faults_are_errors_and_phases_not_passed_are_left_out() {
        let refused = of(&answered(&[Phase::Observe], Some(Code::Input)), Compat::None);
        assert_eq!(
            told(&refused),
            [("infer", 0, 10_000), ("decode", 0, 10_000), ("observe", 10_000, 10_000)]
        );
        assert_eq!(refused[0].status, None);
        let failed = of(&answered(&[Phase::Observe], Some(Code::Run)), Compat::None);
        assert_eq!(failed[0].status.as_ref().unwrap().code, messages::ERROR);
    }
}
