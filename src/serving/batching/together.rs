//! Requests that share a run: those that one core read in the same turn.
//!
//! A core's runtime reads what has come on all its connections, and then runs the tasks of the
//! requests, one after the other (decision 0002). The first one of a version to get here leads: it
//! goes to the end of the core's tasks once, so that the others get here too, then runs all rows at
//! once, and hands the answers out. Nobody waits for requests that are not there: alone, a request
//! runs at once, and under load a run has as many rows as came meanwhile.
//!
//! Who waits is first come, first served. What does not fit the leader's run (another shape, other
//! outputs, no room) stays in the line, and its first one leads next, before anything that comes
//! later: a request waits for at most as many runs as there are requests before it. A leader that
//! leaves (its caller is gone) hands on to the next. One bad request spoils no other: if a shared
//! run fails, each request is run once more, alone.
//!
//! Each core has a line of its own, so its lock is never waited for.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::signature::Tensors;
use crate::domain::tensor::buffer::Tensor;
use crate::domain::tensor::rows::{self, Split};
use crate::platform::cores;
use crate::serving::batching::in_place::{Ended, InPlace};
use crate::serving::batching::work::{Finished, QueueError, Ran, Work};
use crate::serving::runtime::engine::RunError;

/// The lines of one version, one for each core.
pub struct Together {
    lines: Box<[CachePadded<Mutex<Line>>]>,
    most_rows: i64,
    /// Set when outputs turned out not to have a row for each row of the inputs; never unset.
    given_up: AtomicBool,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Place of the next one to come; places only grow.
    next: u64,
}

struct Waiting {
    place: u64,
    work: Work,
    rows: i64,
    /// Where to answer; none for who leads.
    turn: Option<oneshot::Sender<Turn>>,
}

#[expect(clippy::large_enum_variant, reason = "moved once a request; a box would be allocated")]
enum Turn {
    Answer(Finished),
    Lead,
}

/// Takes a request out of the line if its caller leaves, and hands on what it was to do.
struct LeaveOnDrop<'a> {
    line: &'a Mutex<Line>,
    place: u64,
}

impl Together {
    /// Lines for so many cores; a run has at most so many rows.
    pub fn new(cores: usize, most_rows: u64) -> Self {
        Self {
            lines: (0..cores.max(1)).map(|_| CachePadded::default()).collect(),
            most_rows: i64::try_from(most_rows).unwrap_or(i64::MAX),
            given_up: AtomicBool::new(false),
        }
    }

    /// How many rows a shared run may have.
    pub fn most_rows(&self) -> u64 {
        self.most_rows.unsigned_abs()
    }

    /// Whether outputs turned out not to have a row for each row of the inputs.
    pub fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Runs the work with what else is there.
    ///
    /// # Errors
    ///
    /// The work, where it must run alone.
    pub async fn run(&self, here: &InPlace, work: Work) -> Result<Finished, Work> {
        let (Some(line), Some(rows)) = (self.line(), self.rows_to_share(&work)) else {
            return Err(work);
        };
        let (place, turn) = line.lock().enter(work, rows);
        let leave = LeaveOnDrop { line, place };
        match turn {
            None => go_behind().await,
            Some(turn) => match turn.await {
                Ok(Turn::Lead) => {}
                Ok(Turn::Answer(finished)) => return Ok(finished),
                Err(_) => return Ok(Finished::never(RunError::Lost.into())),
            },
        }
        let batch = line.lock().take(self.most_rows);
        // Not in the line any more.
        drop(leave);
        let finished = self.run_batch(here, batch);
        line.lock().hand_on();
        Ok(finished)
    }

    // Other threads than the cores' have no line, and nobody to share with.
    fn line(&self) -> Option<&Mutex<Line>> {
        let core = cores::current()?;
        self.lines.get(core % self.lines.len()).map(|line| &**line)
    }

    // Rows of the work; none if it must run alone.
    fn rows_to_share(&self, work: &Work) -> Option<i64> {
        let mut inputs = work.inputs.iter().flatten();
        let rows = rows::count(inputs.next()?)?;
        let agree = inputs.all(|input| rows::count(input) == Some(rows));
        let fits = rows >= 1 && rows < self.most_rows;
        (agree && fits && !self.has_given_up()).then_some(rows)
    }

    // What came of the first one's work; the others hear of theirs.
    fn run_batch(&self, here: &InPlace, mut batch: Vec<Waiting>) -> Finished {
        let now = here.clock().now();
        let mut own = None;
        batch.retain_mut(|waiting| {
            let is_late = waiting.work.deadline.is_some_and(|deadline| deadline <= now);
            if is_late {
                waiting.answer(Finished::never(QueueError::Deadline), &mut own);
            }
            !is_late
        });
        if batch.len() < 2 || !self.run_joined(here, &mut batch, &mut own) {
            for waiting in &mut batch {
                let finished = here.run_alone(&waiting.work);
                waiting.answer(finished, &mut own);
            }
        }
        own.unwrap_or_else(|| Finished::never(RunError::Lost.into()))
    }

    // False where each must run alone after all; nobody has heard anything then.
    fn run_joined(
        &self,
        here: &InPlace,
        batch: &mut [Waiting],
        own: &mut Option<Finished>,
    ) -> bool {
        let (Some(inputs), Some(first)) = (joined(batch), batch.first()) else { return false };
        let Ended { result, started, ended } = here.run(&inputs, &first.work.outputs);
        let Ok(outputs) = result else { return false };
        let Some(answers) = split(&outputs, batch) else {
            if !self.given_up.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "outputs do not have a row for each of the inputs: runs are not shared"
                );
            }
            return false;
        };
        let rows: i64 = batch.iter().map(|waiting| waiting.rows).sum();
        let mut run_of = Some(rows.unsigned_abs());
        for (waiting, outputs) in batch.iter_mut().zip(answers) {
            let ran = Some(Ran { started, ended, run_of: run_of.take() });
            waiting.answer(Finished { result: Ok(outputs), ran }, own);
        }
        true
    }
}

impl Line {
    /// At the end; whoever finds nobody leads, others get their turn.
    fn enter(&mut self, work: Work, rows: i64) -> (u64, Option<oneshot::Receiver<Turn>>) {
        let (sender, turn) = (!self.waiting.is_empty()).then(oneshot::channel).unzip();
        let place = self.next;
        self.next += 1;
        self.waiting.push_back(Waiting { place, work, rows, turn: sender });
        (place, turn)
    }

    /// The first one, and all that can share its run.
    fn take(&mut self, most_rows: i64) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::with_capacity(self.waiting.len());
        let (mut rest, mut rows) = (VecDeque::new(), 0);
        for waiting in self.waiting.drain(..) {
            let fits = batch.first().is_none_or(|first| {
                rows + waiting.rows <= most_rows && can_share(&first.work, &waiting.work)
            });
            if fits {
                rows += waiting.rows;
                batch.push(waiting);
            } else {
                rest.push_back(waiting);
            }
        }
        self.waiting = rest;
        batch
    }

    /// Lets the first one lead.
    fn hand_on(&mut self) {
        if let Some(turn) = self.waiting.front_mut().and_then(|first| first.turn.take()) {
            // Whoever has left is about to leave the line, and hands on.
            turn.send(Turn::Lead).ok();
        }
    }

    fn leave(&mut self, place: u64) {
        let found = self.waiting.binary_search_by_key(&place, |waiting| waiting.place);
        let left = found.ok().and_then(|index| self.waiting.remove(index));
        if left.is_some_and(|left| left.turn.is_none()) {
            self.hand_on();
        }
    }
}

impl Waiting {
    fn answer(&mut self, finished: Finished, own: &mut Option<Finished>) {
        match self.turn.take() {
            // Fails only if the caller has left meanwhile.
            Some(turn) => drop(turn.send(Turn::Answer(finished))),
            None => *own = Some(finished),
        }
    }
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.line.lock().leave(self.place);
    }
}

impl fmt::Debug for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").field("most_rows", &self.most_rows).finish_non_exhaustive()
    }
}

// Behind the tasks that the core has now; those that come later come later.
async fn go_behind() {
    let mut went = false;
    poll_fn(|context| {
        if std::mem::replace(&mut went, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn can_share(left: &Work, right: &Work) -> bool {
    let fit = |left: &Option<Tensor>, right: &Option<Tensor>| match (left, right) {
        (Some(left), Some(right)) => rows::fit(left, right),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    left.outputs == right.outputs
        && left.inputs.len() == right.inputs.len()
        && left.inputs.iter().zip(&right.inputs).all(|(left, right)| fit(left, right))
}

// Each input of all requests; what the first one leaves out, all leave out.
fn joined(batch: &[Waiting]) -> Option<Tensors> {
    let mut inputs = Tensors::new();
    for (index, input) in batch.first()?.work.inputs.iter().enumerate() {
        let all = batch.iter().filter_map(|waiting| waiting.work.inputs.get(index)?.as_ref());
        inputs.push(match input {
            Some(_) => Some(rows::join(all)?),
            None => None,
        });
    }
    Some(inputs)
}

// The outputs of each request; none if some output has no row for each row.
fn split(outputs: &Tensors, batch: &[Waiting]) -> Option<Vec<Tensors>> {
    let mut answers: Vec<Tensors> = batch.iter().map(|_| Tensors::new()).collect();
    for output in outputs {
        let mut rest = Split::new(output.as_ref()?);
        for (waiting, answer) in batch.iter().zip(&mut answers) {
            answer.push(Some(rest.next(waiting.rows)?));
        }
        if !rest.is_over() {
            return None;
        }
    }
    Some(answers)
}

#[cfg(test)]
mod tests {
    use super::Together;
    use crate::domain::signature::{Signature, Tensors};
    use crate::domain::tensor::buffer::Tensor;
    use crate::domain::tensor::dtype::DataType;
    use crate::domain::tensor::shape::Shape;
    use crate::platform::clock::System;
    use crate::platform::cores::CoreRuntimes;
    use crate::serving::batching::in_place::InPlace;
    use crate::serving::batching::work::{Finished, Work};
    use crate::serving::runtime::engine::{Engine, Facts, Job, Limits, Run, RunError, Switch};
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use smallvec::smallvec;
    use std::sync::{Arc, mpsc};

    /// Adds one to each value; refuses runs with a value of [`POISON`], and notes the rows of all runs.
    #[derive(Debug, Default)]
    struct Successor {
        runs: Mutex<Vec<i64>>,
        /// Whether it answers one row whatever it is asked.
        forgetful: bool,
    }

    impl Engine for Successor {
        fn signature(&self) -> &Arc<Signature> {
            unreachable!("nobody asks")
        }

        fn limits(&self) -> Limits {
            Limits { concurrency: 1, can_batch: true, elsewhere: false }
        }

        fn facts(&self) -> &Facts {
            unreachable!("nobody asks")
        }

        fn switch(&self) -> Option<Arc<dyn Switch>> {
            None
        }

        fn run(&self, job: Job<'_>) -> Run {
            let input = job.inputs[0].as_ref().unwrap();
            self.runs.lock().push(input.shape()[0]);
            let values: Vec<u8> = input.data().to_vec();
            if values.contains(&POISON) {
                let message = "poison".to_owned();
                return Run::Done(Err(RunError::Failed { message }));
            }
            let mut dims = input.shape().to_vec();
            let mut next: Vec<u8> = values.iter().map(|value| value + 1).collect();
            if self.forgetful {
                dims[0] = 1;
                next.truncate(usize::try_from(dims[1]).unwrap());
            }
            let shape = Shape::new(&dims).unwrap();
            let output = Tensor::new(DataType::Uint8, shape, next.into()).unwrap();
            Run::Done(Ok(smallvec![Some(output)]))
        }

        fn outstanding(&self) -> usize {
            0
        }
    }

    /// What one caller sends.
    #[derive(Clone, Copy, Debug)]
    struct Asked {
        rows: i64,
        width: i64,
        value: u8,
        /// Whether the caller leaves after it was let in.
        leaves: bool,
    }

    fn one(value: u8) -> Asked {
        Asked { rows: 1, width: 2, value, leaves: false }
    }

    fn work(asked: Asked) -> Work {
        let shape = Shape::new(&[asked.rows, asked.width]).unwrap();
        let data = vec![asked.value; shape.elements()];
        let input = Tensor::new(DataType::Uint8, shape, data.into()).unwrap();
        let inputs: Tensors = smallvec![Some(input)];
        Work { inputs, outputs: smallvec![0], rows: asked.rows.unsigned_abs(), deadline: None }
    }

    /// All of them come to one core at once; their answers in order, none for who left.
    fn ask(engine: &Arc<Successor>, asked: &[Asked]) -> Vec<Option<Finished>> {
        let (asked, engine) = (asked.to_vec(), Arc::clone(engine));
        let cores = CoreRuntimes::start("probe", 1).unwrap();
        let (tell, told) = mpsc::channel();
        cores.spawn(0, async move {
            let here = Arc::new(InPlace::new(engine, Arc::new(System)));
            let together = Arc::new(Together::new(1, MOST));
            let callers: Vec<_> = asked
                .into_iter()
                .map(|asked| {
                    let (here, together) = (Arc::clone(&here), Arc::clone(&together));
                    tokio::spawn(async move {
                        let run = together.run(&here, work(asked));
                        if !asked.leaves {
                            return Some(match run.await {
                                Ok(finished) => finished,
                                Err(work) => here.run_alone(&work),
                            });
                        }
                        // One turn in the line, and gone.
                        tokio::select! {
                            biased;
                            _ = run => {}
                            () = super::go_behind() => {}
                        }
                        None
                    })
                })
                .collect();
            for caller in callers {
                tell.send(caller.await.unwrap()).unwrap();
            }
        });
        let answers = told.iter().collect();
        cores.stop();
        answers
    }

    fn values(finished: &Finished) -> Result<Vec<u8>, String> {
        match &finished.result {
            Ok(outputs) => Ok(outputs[0].as_ref().unwrap().data().to_vec()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn those_who_come_at_once_share_a_run_and_get_their_own_rows() {
        let engine = Arc::new(Successor::default());
        let mut asked: Vec<Asked> = (1..=5).map(one).collect();
        asked[2].rows = 3;
        let answers = ask(&engine, &asked);
        assert_eq!(*engine.runs.lock(), [7]);
        for (asked, answer) in asked.iter().zip(&answers) {
            let length = usize::try_from(asked.rows * asked.width).unwrap();
            assert_eq!(values(answer.as_ref().unwrap()), Ok(vec![asked.value + 1; length]));
        }
        let counted = answers.iter().flatten().filter_map(|answer| answer.ran.unwrap().run_of);
        assert_eq!(counted.collect::<Vec<_>>(), [7], "one of them counts the run");
    }

    #[test]
    fn one_who_comes_alone_runs_alone() {
        let engine = Arc::new(Successor::default());
        let answers = ask(&engine, &[one(1)]);
        assert_eq!(values(answers[0].as_ref().unwrap()), Ok(vec![2, 2]));
        assert_eq!(*engine.runs.lock(), [1]);
    }

    #[test]
    fn a_bad_request_spoils_no_other() {
        let engine = Arc::new(Successor::default());
        let answers = ask(&engine, &[one(1), one(POISON), one(3)]);
        let found: Vec<_> = answers.iter().flatten().map(values).collect();
        let poisoned = Err("the model's run failed: poison".to_owned());
        assert_eq!(found, [Ok(vec![2, 2]), poisoned, Ok(vec![4, 4])]);
        assert_eq!(*engine.runs.lock(), [3, 1, 1, 1], "together, and then once each");
    }

    #[test]
    fn what_does_not_fit_leads_the_next_run() {
        let engine = Arc::new(Successor::default());
        let wide = |value| Asked { width: 3, ..one(value) };
        let asked = [one(1), wide(2), one(3), wide(4), Asked { rows: 7, ..one(5) }];
        let answers = ask(&engine, &asked);
        assert!(answers.iter().flatten().all(|answer| values(answer).is_ok()));
        assert_eq!(
            *engine.runs.lock(),
            [2, 2, 7],
            "two of a shape, twice, and one that had no room"
        );
    }

    #[test]
    fn outputs_without_a_row_for_each_end_the_sharing() {
        let engine = Arc::new(Successor { forgetful: true, ..Successor::default() });
        let answers = ask(&engine, &[one(1), one(2)]);
        let found: Vec<_> = answers.iter().flatten().map(values).collect();
        assert_eq!(found, [Ok(vec![2, 2]), Ok(vec![3, 3])]);
    }

    #[test]
    fn who_leaves_hands_on() {
        for leaver in 0..3 {
            let engine = Arc::new(Successor::default());
            let mut asked = [one(1), one(2), one(3)];
            asked[leaver].leaves = true;
            let answers = ask(&engine, &asked);
            let answered = answers.iter().flatten().filter(|answer| values(answer).is_ok());
            assert_eq!(answered.count(), 2, "without caller {leaver}");
        }
    }

    proptest! {
        #[test]
        fn everybody_who_stays_is_answered(
            asked in prop::collection::vec(
                (1_i64..5, 1_i64..3, prop_oneof![8 => 0_u8..100, 1 => Just(POISON)], 0_u8..5),
                1..24,
            ),
        ) {
            let asked: Vec<Asked> = asked
                .into_iter()
                .map(|(rows, width, value, leaves)| Asked { rows, width, value, leaves: leaves == 0 })
                .collect();
            let engine = Arc::new(Successor::default());
            let answers = ask(&engine, &asked);
            for (asked, answer) in asked.iter().zip(&answers) {
                prop_assert_eq!(answer.is_none(), asked.leaves);
                let Some(answer) = answer else { continue };
                let length = usize::try_from(asked.rows * asked.width).unwrap();
                let expected = (asked.value != POISON).then(|| vec![asked.value + 1; length]);
                prop_assert_eq!(values(answer).ok(), expected);
            }
            let most = i64::try_from(MOST).unwrap();
            prop_assert!(engine.runs.lock().iter().all(|&rows| rows <= most));
        }
    }

    const POISON: u8 = 255;
    const MOST: u64 = 8;
}
