//! What the watch finds while something loads: the newest wins, and nothing older is loaded for it.

use std::sync::mpsc;

use tidegate::control::follow::Follower;
use tidegate::domain::model::VersionNumber;
use tidegate::serving::registry::state::State;
use tidegate::serving::repository::settle::Found;

use super::files::{Content, Files, MODEL};
use super::house::House;
use crate::harness::apart::apart;

#[test]
fn a_newer_version_that_appears_while_one_loads_supersedes_it() {
    apart(
        "simulation::follower::a_newer_version_that_appears_while_one_loads_supersedes_it",
        || {
            let mut files = Files::new();
            files.write(1, Content::Iris(1));
            let house = House::on(files.root(), MODEL);
            let found = || Found { model: house.model.clone(), versions: house.sighting() };
            let follower = Follower::new(house.changes.clone());
            // The one thread that loads is busy, so that both are found before either is loaded.
            let (open, opened) = mpsc::channel::<()>();
            house.crew.threads().take(0, move || opened.recv().unwrap());
            follower.follow(found());
            files.drop_in(2, Content::Iris(2));
            follower.follow(found());
            open.send(()).unwrap();
            let state = |number| {
                let snapshot = house.published.snapshot();
                let number = VersionNumber::new(number).unwrap();
                snapshot.entry(MODEL).and_then(|entry| entry.state(number).cloned())
            };
            house.runtime.block_on(async {
                while state(2) != Some(State::Serving) {
                    let released = house.changes.released();
                    if state(2) != Some(State::Serving) {
                        released.await;
                    }
                }
            });
            let reason = "a newer version was found before this one was ready".to_owned();
            assert_eq!(state(1), Some(State::Failed { reason }));
            let generation = house.published.snapshot().entry(MODEL).unwrap().generation;
            assert_eq!(generation, 1, "one change was made, not two");
        },
    );
}
