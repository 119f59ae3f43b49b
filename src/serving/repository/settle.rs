//! When files at rest count as complete: after nobody touched them for a while.
//!
//! Pure: what was seen goes in with the time, what became complete comes out. A copy that is under
//! way touches its files again and again, so that it is never taken for a whole; what was touched
//! last before we first looked counts from then, so that a start waits for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use crate::domain::model::{ModelName, VersionNumber};
use crate::serving::repository::sighting::{Fingerprint, Sighting};

/// The complete versions of a model, where they are others than before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The model.
    pub model: ModelName,
    /// Its complete versions, as they were when they became so.
    pub versions: Sighting,
}

/// What was seen of all models.
#[derive(Debug)]
pub struct Settling {
    settle: Duration,
    models: BTreeMap<ModelName, Model>,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For spans.
    pub now: Instant,
    /// For comparing with the files' times.
    pub wall: SystemTime,
}

#[derive(Debug, Default)]
struct Model {
    versions: BTreeMap<VersionNumber, Seen>,
    told: Sighting,
}

#[derive(Debug)]
struct Seen {
    last: Option<Fingerprint>,
    since: Instant,
    complete: Option<Fingerprint>,
}

impl Settling {
    /// Files are complete after nobody touched them for `settle`.
    pub fn new(settle: Duration) -> Self {
        Self { settle, models: BTreeMap::new() }
    }

    /// Takes in what lies in a model's folder, and says what became of it; versions in `whole` are
    /// known to be complete, because they were put there by one rename.
    pub fn look(
        &mut self,
        model: &ModelName,
        sighting: &Sighting,
        whole: &BTreeSet<VersionNumber>,
        at: Moment,
    ) -> Option<Found> {
        let settle = self.settle;
        let known = self.models.entry(model.clone()).or_default();
        for &number in sighting.keys() {
            let seen = Seen { last: None, since: at.now, complete: None };
            known.versions.entry(number).or_insert(seen);
        }
        for (number, seen) in &mut known.versions {
            seen.look(sighting.get(number), at, (settle, whole.contains(number)));
        }
        known.versions.retain(|_, seen| seen.last.is_some() || seen.complete.is_some());
        let complete = known.versions.iter();
        let complete: Sighting =
            complete.filter_map(|(&number, seen)| Some((number, seen.complete?))).collect();
        let news = complete != known.told;
        if news {
            known.told.clone_from(&complete);
        }
        if known.versions.is_empty() {
            self.models.remove(model);
        }
        news.then(|| Found { model: model.clone(), versions: complete })
    }

    /// Models of which something is known.
    pub fn models(&self) -> impl Iterator<Item = &ModelName> {
        self.models.keys()
    }

    /// Models whose files were touched too short a time ago to count.
    pub fn unsettled(&self) -> impl Iterator<Item = &ModelName> {
        let unsettled = |model: &Model| model.versions.values().any(|seen| !seen.is_settled());
        self.models.iter().filter(move |(_, model)| unsettled(model)).map(|(name, _)| name)
    }
}

impl Seen {
    fn look(&mut self, print: Option<&Fingerprint>, at: Moment, (settle, whole): (Duration, bool)) {
        if self.last.as_ref() != print {
            self.last = print.copied();
            self.since = at.now;
        }
        let untouched = |print: &Fingerprint| {
            at.wall.duration_since(print.touched).is_ok_and(|since| since >= settle)
        };
        let still = at.now.saturating_duration_since(self.since) >= settle;
        if still || whole || print.is_some_and(untouched) {
            self.complete = self.last;
        }
    }

    fn is_settled(&self) -> bool {
        self.last == self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::{Moment, Settling};
    use crate::domain::model::{ModelName, VersionNumber};
    use crate::platform::clock::{Clock, System};
    use crate::serving::repository::layout::Repository;
    use crate::serving::repository::sighting;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    const SETTLE: Duration = Duration::from_secs(1);

    struct Bench {
        root: tempfile::TempDir,
        settling: Settling,
        at: Moment,
    }

    impl Bench {
        fn new() -> Self {
            let at = Moment { now: System.now(), wall: System.wall() };
            let root = tempfile::tempdir().unwrap();
            Self { root, settling: Settling::new(SETTLE), at }
        }

        fn put(&self, file: &str, text: &str) {
            let path = self.root.path().join("m").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        // The numbers of the complete versions, if there is news of them after that time.
        fn after(&mut self, time: Duration, whole: &[u64]) -> Option<Vec<u64>> {
            self.at.now += time;
            let repository = Repository::open(self.root.path(), None).unwrap();
            let model = ModelName::parse("m").unwrap();
            let seen = sighting::look(&repository, &model);
            let whole: BTreeSet<_> =
                whole.iter().map(|&number| VersionNumber::new(number).unwrap()).collect();
            let found = self.settling.look(&model, &seen, &whole, self.at)?;
            Some(found.versions.keys().map(|number| number.get()).collect())
        }

        fn folder(&self, name: &str) -> std::path::PathBuf {
            self.root.path().join("m").join(name)
        }
    }

    #[test]
    fn a_copy_under_way_is_not_found_until_it_rests() {
        let mut bench = Bench::new();
        for size in 1..5 {
            bench.put("1/model.onnx", &"x".repeat(size));
            assert_eq!(bench.after(SETTLE * 9 / 10, &[]), None);
        }
        assert_eq!(bench.settling.unsettled().count(), 1);
        assert_eq!(bench.after(SETTLE, &[]), Some(vec![1]));
        assert_eq!(bench.settling.unsettled().count(), 0);
        assert_eq!(bench.after(SETTLE, &[]), None, "nothing new");
    }

    #[test]
    fn a_version_rewritten_in_place_counts_as_it_was_until_it_rests() {
        let mut bench = Bench::new();
        bench.put("1/model.onnx", "old");
        bench.after(Duration::ZERO, &[]);
        assert_eq!(bench.after(SETTLE, &[]), Some(vec![1]));
        bench.put("1/model.onnx", "new and longer");
        assert_eq!(bench.after(SETTLE / 2, &[]), None);
        bench.put("2/model.onnx", "beside it");
        assert_eq!(bench.after(SETTLE / 2, &[2]), Some(vec![1, 2]), "2 came by one rename");
        assert_eq!(bench.after(SETTLE, &[]), Some(vec![1, 2]), "1 is another one now");
    }

    #[test]
    fn a_version_that_goes_for_a_moment_is_not_gone() {
        let mut bench = Bench::new();
        bench.put("1/model.onnx", "x");
        bench.after(Duration::ZERO, &[1]);
        fs::rename(bench.folder("1"), bench.folder("away")).unwrap();
        assert_eq!(bench.after(SETTLE / 2, &[]), None);
        fs::rename(bench.folder("away"), bench.folder("1")).unwrap();
        bench.after(SETTLE / 2, &[]);
        fs::remove_dir_all(bench.folder("1")).unwrap();
        assert_eq!(bench.after(SETTLE / 2, &[]), None);
        assert_eq!(bench.after(SETTLE, &[]), Some(vec![]));
        assert_eq!(bench.settling.models().count(), 0);
    }

    #[test]
    fn files_that_rest_since_before_the_first_look_count_at_once() {
        let mut bench = Bench::new();
        bench.put("1/model.onnx", "x");
        bench.at.wall = System.wall() + SETTLE;
        assert_eq!(bench.after(Duration::ZERO, &[]), Some(vec![1]));
    }

    #[test]
    fn a_changed_setting_makes_every_version_another_one() {
        let mut bench = Bench::new();
        bench.put("1/model.onnx", "x");
        assert_eq!(bench.after(Duration::ZERO, &[1]), Some(vec![1]));
        bench.put("model.toml", "schema = 1");
        bench.after(Duration::ZERO, &[]);
        assert_eq!(bench.after(SETTLE, &[]), Some(vec![1]));
        assert!(Path::new(&bench.folder("model.toml")).exists());
    }
}
