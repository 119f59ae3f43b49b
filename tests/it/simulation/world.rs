//! Operators, a folder and callers at random, and the laws that hold after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Weak};

use tidegate::control::action::{Action, ChangeError, Follow};
use tidegate::domain::model::{Digest, VersionNumber};
use tidegate::serving::registry::lease::Lease;
use tidegate::serving::registry::state::State;
use tidegate::serving::registry::version::Version;
use tidegate::serving::repository::settle::Found;

use super::files::{Content, Files, MODEL};
use super::house::{House, SETTLE};

/// A house, all that happens to it, and what should have come of it.
#[derive(Debug)]
pub struct World {
    // Dropped first: the house waits for the last of them.
    leases: Vec<Lease>,
    house: House,
    files: Files,
    dice: fastrand::Rng,
    said: Said,
    /// Versions that were published and are not known to be free.
    alive: Vec<Weak<Version>>,
    tally: Tally,
}

/// What operators have said, as far as it holds.
#[derive(Debug, Default)]
struct Said {
    pinned: Option<BTreeSet<u64>>,
    held: bool,
    held_versions: BTreeSet<u64>,
    previous: Option<u64>,
}

/// What callers and operators see of the model.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    generation: u64,
    default: Option<(u64, Digest)>,
    ready: BTreeMap<u64, Digest>,
    listed: BTreeMap<u64, State>,
}

#[derive(Debug, Default)]
struct Tally {
    made: usize,
    refused: usize,
    conflicts: usize,
    swaps: usize,
    freed: usize,
    outlived: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut files = Files::new();
        files.write(1, Content::Iris(1));
        let house = House::on(files.root(), MODEL);
        let (said, tally) = (Said::default(), Tally::default());
        let dice = fastrand::Rng::with_seed(seed);
        let (leases, alive) = (Vec::new(), Vec::new());
        let mut world = Self { leases, house, files, dice, said, alive, tally };
        world.rest();
        world
    }

    /// Something happens; then the laws must hold.
    pub fn step(&mut self, step: usize) {
        let before = self.view();
        let deed = self.dice.u8(..100);
        let number = self.dice.u64(1..=NUMBERS);
        match deed {
            0..12 => {
                let content = self.content();
                self.files.write(number, content);
            }
            12..22 => self.drop_in(number),
            22..29 => self.files.remove(number),
            29..47 => self.watch(),
            47..50 => self.follow_what_is_superseded(),
            50..57 => self.load(number),
            57..64 => self.promote(number),
            64..68 => self.unload(number),
            68..71 => self.rollback(),
            71..73 => self.pin(),
            73..77 => self.unpin(),
            77..79 => self.unload_all(),
            79..83 => self.reconcile(),
            83..90 => self.leases.extend(self.house.lease()),
            90..96 => self.give_back(),
            _ => self.rest(),
        }
        let after = self.view();
        if before.default.is_some() && after.default.is_none() {
            assert!(self.said.held, "step {step}, deed {deed}: nothing serves, unasked");
        }
        self.check(&after, &format!("step {step}, deed {deed}, version {number}"));
    }

    /// Whether enough happened for the laws to mean something.
    pub fn is_lively(&self) -> bool {
        let Tally { made, refused, conflicts, swaps, freed, outlived } = self.tally;
        println!("{:?}", self.tally);
        [made, refused, swaps, freed].iter().all(|&count| count > 20)
            && conflicts > 3
            && outlived > 3
    }

    fn check(&mut self, view: &View, when: &str) {
        let snapshot = self.house.published.snapshot();
        assert!(snapshot.started && snapshot.ready, "{when}: the server is ready all the time");
        drop(snapshot);
        let is_ready = |(number, state): (&u64, &State)| state.is_ready().then_some(*number);
        let ready: BTreeSet<u64> = view.listed.iter().filter_map(is_ready).collect();
        assert!(ready.iter().eq(view.ready.keys()), "{when}: {view:?}");
        match (self.house.lease(), view.default) {
            (Ok(lease), Some((number, _))) => {
                assert_eq!(lease.number().get(), number, "{when}");
                self.check_answer(&lease, when);
            }
            (Err(_), None) => {}
            (lease, _) => panic!("{when}: {lease:?} where {view:?}"),
        }
        self.reap(view, when);
        for lease in &self.leases {
            self.check_answer(lease, when);
        }
        for (number, state) in &self.view().listed {
            let is_leased = self.leases.iter().any(|lease| lease.number().get() == *number);
            assert!(*state != State::Draining || is_leased, "{when}: {number} drains, of what?");
        }
    }

    fn check_answer(&self, lease: &Lease, when: &str) {
        let content = self.files.of(&lease.origin().digest);
        let answer = self.house.ask(lease).map(Content::Iris);
        assert_eq!(answer, Ok(content), "{when}: version {}", lease.number());
    }

    /// Waits for all that nobody holds any more, and for nothing else.
    fn reap(&mut self, view: &View, when: &str) {
        let snapshot = self.house.published.snapshot();
        let ready = snapshot.entry(MODEL).map(|entry| entry.ready.clone()).unwrap_or_default();
        drop(snapshot);
        for version in &ready {
            if !self.alive.iter().any(|known| known.as_ptr() == Arc::as_ptr(version)) {
                self.alive.push(Arc::downgrade(version));
            }
        }
        let is_held = |version: &Weak<Version>| {
            let leased =
                self.leases.iter().any(|lease| std::ptr::eq(&raw const **lease, version.as_ptr()));
            leased || ready.iter().any(|ready| Arc::as_ptr(ready) == version.as_ptr())
        };
        let (held, gone): (Vec<_>, Vec<_>) =
            mem::take(&mut self.alive).into_iter().partition(is_held);
        self.alive = held;
        drop(ready);
        for _ in &gone {
            self.house.wait_for_the_reaper();
        }
        assert!(gone.iter().all(|version| version.strong_count() == 0), "{when}: {view:?}");
        self.tally.freed += gone.len();
    }

    fn drop_in(&mut self, number: u64) {
        let content = self.content();
        self.files.drop_in(number, content);
        if let Some(found) = self.house.watch(SETTLE / 10, VersionNumber::new(number)) {
            self.follow(found, false);
        }
    }

    fn watch(&mut self) {
        let time = SETTLE * self.dice.u32(1..15) / 10;
        if let Some(found) = self.house.watch(time, None) {
            self.follow(found, false);
        }
    }

    fn follow_what_is_superseded(&mut self) {
        let versions = self.house.sighting();
        self.follow(Found { model: self.house.model.clone(), versions }, true);
    }

    fn follow(&mut self, found: Found, superseded: bool) {
        let follow = Follow::new(found);
        if superseded {
            follow.supersede();
        }
        self.make(Action::Follow(Arc::new(follow)));
    }

    /// Files at rest, all found and followed: now it is known what must serve.
    fn rest(&mut self) {
        for _ in 0..2 {
            if let Some(found) = self.house.watch(SETTLE, None) {
                self.follow(found, false);
            }
        }
        let before = self.view();
        let versions = self.house.sighting();
        self.follow(Found { model: self.house.model.clone(), versions }, false);
        if !self.said.held {
            self.check_choice(&before);
        }
    }

    /// What serves after policy and folder were made to agree.
    fn check_choice(&self, before: &View) {
        let (after, said) = (self.view(), &self.said);
        let allowed = |number: &u64| {
            let pinned = said.pinned.as_ref().is_none_or(|pinned| pinned.contains(number));
            pinned && !said.held_versions.contains(number)
        };
        let is_good =
            |number: u64| self.files.at(number).is_some_and(|(content, _)| content.is_good());
        let numbers = self.files.numbers().into_iter().filter(allowed);
        // Of a good version whose files were overwritten with a bad one, the copy in memory stays.
        let best = numbers
            .into_iter()
            .find(|&number| is_good(number) || before.ready.contains_key(&number));
        let last = before.default.map(|(number, _)| number);
        let (number, digest) = after.default.unzip();
        assert_eq!(number, best.or(last), "{before:?} then {after:?}, {said:?}, {:?}", self.files);
        let on_disk = best.filter(|&best| is_good(best)).and_then(|best| self.files.at(best));
        if let Some((_, expected)) = on_disk {
            assert_eq!(digest, Some(expected), "{after:?}");
        }
    }

    fn load(&mut self, number: u64) {
        let before = self.view();
        if self.make_or_leave(Action::Load(of(number)), self.can_load(&before, number)) {
            let after = self.view();
            assert!(after.ready.contains_key(&number), "{after:?}");
            assert_eq!(after.default, before.default);
            self.said.held = false;
            self.said.held_versions.remove(&number);
        }
    }

    fn promote(&mut self, number: u64) {
        let can = self.can_load(&self.view(), number);
        self.take_over(Action::Promote(of(number)), Some(number).filter(|_| can));
    }

    fn rollback(&mut self) {
        let view = self.view();
        let previous = self.said.previous.filter(|&previous| self.can_load(&view, previous));
        self.take_over(Action::Rollback, previous);
    }

    fn take_over(&mut self, action: Action, by: Option<u64>) {
        if self.make_or_leave(action, by.is_some()) {
            let view = self.view();
            assert_eq!(view.default.map(|(number, _)| number), by, "{view:?}");
            self.said.pinned = by.map(|number| [number].into());
            self.said.held = false;
            self.said.held_versions.retain(|&held| Some(held) != by);
        }
    }

    fn unload(&mut self, number: u64) {
        let can = self.view().listed.get(&number) == Some(&State::Standby);
        if self.make_or_leave(Action::Unload(of(number)), can) {
            assert!(!self.view().ready.contains_key(&number));
            self.said.held_versions.insert(number);
        }
    }

    fn pin(&mut self) {
        let view = self.view();
        let serving = view.listed.iter().filter(|(_, state)| **state == State::Serving);
        let serving: BTreeSet<u64> = serving.map(|(&number, _)| number).collect();
        if self.make_or_leave(Action::Pin, !serving.is_empty()) {
            self.said.pinned = Some(serving);
        }
    }

    fn unpin(&mut self) {
        let before = self.view();
        if !self.make(Action::Unpin).is_some_and(|error| is_conflict(&error)) {
            self.said.pinned = None;
            if !self.said.held {
                self.check_choice(&before);
            }
        }
    }

    fn unload_all(&mut self) {
        if self.make_or_leave(Action::UnloadAll, true) {
            assert!(self.view().ready.is_empty());
            self.said.held = true;
        }
    }

    fn reconcile(&mut self) {
        let before = self.view();
        if !self.make(Action::Reconcile).is_some_and(|error| is_conflict(&error)) {
            self.said.held = false;
            self.check_choice(&before);
        }
    }

    fn give_back(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let lease = self.leases.swap_remove(self.dice.usize(..self.leases.len()));
        let is_ready = self.view().ready.get(&lease.number().get()) == Some(&lease.origin().digest);
        self.tally.outlived += usize::from(!is_ready);
    }

    /// Makes a change that must be made if it can be, and must else leave all as it was; whether it
    /// was made.
    fn make_or_leave(&mut self, action: Action, can: bool) -> bool {
        let (before, name) = (self.view(), action.name());
        match self.make(action) {
            None => {
                assert!(can, "{name} was made of {before:?}, {:?}", self.files);
                true
            }
            Some(error) => {
                assert!(!can || is_conflict(&error), "{name}: {error} of {before:?}");
                let after = self.view();
                let served = |view: &View| (view.generation, view.default, view.ready.clone());
                assert_eq!(served(&before), served(&after), "{name}: {error}");
                false
            }
        }
    }

    /// Makes a change on some reading of the generation, an old one now and then.
    fn make(&mut self, action: Action) -> Option<ChangeError> {
        let before = self.view();
        let expected = match self.dice.u8(..10) {
            _ if matches!(action, Action::Follow(_)) => None,
            0 => Some(before.generation.wrapping_sub(1)),
            1..4 => Some(before.generation),
            _ => None,
        };
        let is_old = expected.is_some_and(|expected| expected != before.generation);
        let made = self.house.make(action, expected);
        assert_eq!(made.as_ref().is_err_and(is_conflict), is_old, "{made:?}");
        let after = self.view();
        assert!([0, 1].contains(&(after.generation - before.generation)), "{before:?} {after:?}");
        let numbers = [&before, &after].map(|view| view.default.map(|(number, _)| number));
        if let [before, Some(after)] = numbers
            && before != Some(after)
        {
            self.said.previous = before.or(self.said.previous);
        }
        if let Ok(receipt) = &made {
            assert_eq!(receipt.generation, after.generation);
        }
        self.tally.made += usize::from(made.is_ok());
        self.tally.conflicts += usize::from(is_old);
        self.tally.refused += usize::from(made.is_err());
        self.tally.swaps += usize::from(before.default != after.default);
        // Between two steps more than one version may go.
        self.reap(&after, "after a change");
        made.err()
    }

    fn can_load(&self, view: &View, number: u64) -> bool {
        let is_good = self.files.at(number).is_some_and(|(content, _)| content.is_good());
        is_good || view.ready.contains_key(&number)
    }

    fn content(&mut self) -> Content {
        match self.dice.u8(..10) {
            0..2 => Content::Broken,
            2 => Content::Wrong,
            _ => Content::Iris(self.dice.u64(1..=2)),
        }
    }

    fn view(&self) -> View {
        let snapshot = self.house.published.load();
        let Some(entry) = snapshot.entry(MODEL) else { return View::default() };
        let one = |version: &Arc<Version>| (version.number().get(), version.origin().digest);
        View {
            generation: entry.generation,
            default: entry.default.as_ref().map(one),
            ready: entry.ready.iter().map(one).collect(),
            listed: entry
                .listed
                .iter()
                .map(|(number, state)| (number.get(), state.clone()))
                .collect(),
        }
    }
}

fn is_conflict(error: &ChangeError) -> bool {
    matches!(error, ChangeError::Generation { .. })
}

fn of(number: u64) -> VersionNumber {
    VersionNumber::new(number).expect("a positive number")
}

/// Versions that there may be.
const NUMBERS: u64 = 4;
