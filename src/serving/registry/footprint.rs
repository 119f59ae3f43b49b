//! How much memory a version took at its load, and whether it came back.
//!
//! The system tells memory of the whole process only, so what is measured is believed only if no
//! other version was loaded or freed meanwhile. Requests go on: what a load took counts up to the
//! size of the version's files, which is what its weights take, and whatever else requests took
//! in the same moments does not count.

use parking_lot::Mutex;

use crate::platform::memory;

/// Watches over measurements, so that one does not count what belongs to another.
#[derive(Debug, Default)]
pub struct Footprints {
    works: Mutex<Works>,
}

#[derive(Debug, Default)]
struct Works {
    begun: u64,
    under_way: u64,
}

/// Private memory of the process around a piece of work that nothing else overlapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change {
    /// Bytes before.
    pub before: u64,
    /// Bytes after.
    pub after: u64,
}

/// Memory that a version took and, once freed, did not give back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unreturned {
    /// What its load took, in bytes, and its weights can account for.
    pub taken_bytes: u64,
    /// What came back, in bytes.
    pub returned_bytes: u64,
}

struct UnderWay<'a> {
    works: &'a Mutex<Works>,
    place: u64,
    alone: bool,
}

impl Footprints {
    /// Does a piece of work that loads or frees a version; tells what it changed, if that can be
    /// said.
    pub fn around<T>(&self, work: impl FnOnce() -> T) -> (T, Option<Change>) {
        let under_way = UnderWay::begin(&self.works);
        let before = memory::private_bytes();
        let done = work();
        let after = memory::private_bytes();
        let change = before.zip(after).map(|(before, after)| Change { before, after });
        (done, change.filter(|_| under_way.is_alone()))
    }
}

impl<'a> UnderWay<'a> {
    fn begin(works: &'a Mutex<Works>) -> Self {
        let mut held = works.lock();
        held.begun += 1;
        held.under_way += 1;
        Self { works, place: held.begun, alone: held.under_way == 1 }
    }

    // Nobody was there at the beginning, and nobody has come since.
    fn is_alone(&self) -> bool {
        self.alone && self.works.lock().begun == self.place
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.works.lock().under_way -= 1;
    }
}

/// What a version is expected to give back: what its load took, up to the size of its files.
pub fn taken(load: Change, files_bytes: u64) -> u64 {
    load.after.saturating_sub(load.before).min(files_bytes)
}

/// Judges a version that was freed; none if it gave back what can be expected.
pub fn unreturned(taken_bytes: u64, free: Change) -> Option<Unreturned> {
    let returned_bytes = free.before.saturating_sub(free.after);
    let kept = taken_bytes.saturating_sub(returned_bytes);
    let is_much = kept >= SLACK_BYTES && returned_bytes < taken_bytes / 2;
    is_much.then_some(Unreturned { taken_bytes, returned_bytes })
}

/// Less than this is lost in what allocators keep, and in what requests take in the same moment.
const SLACK_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::{Change, Footprints, Unreturned, taken, unreturned};

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_load_is_taken_for_what_it_took_but_for_no_more_than_the_files_hold() {
        let load = |before, after| Change { before: before * MIB, after: after * MIB };
        assert_eq!(taken(load(100, 140), 50 * MIB), 40 * MIB);
        // Requests took memory too.
        assert_eq!(taken(load(100, 400), 50 * MIB), 50 * MIB);
        // Requests gave memory back.
        assert_eq!(taken(load(100, 80), 50 * MIB), 0);
    }

    #[test]
    fn less_than_half_is_not_given_back_and_small_amounts_do_not_count() {
        // MiB that were taken, before and after, and whether it is worth a word.
        for (took, before, after, word) in [
            (100, 300, 200, false),
            (100, 300, 190, false),
            (100, 300, 250, false),
            (100, 300, 251, true),
            (100, 300, 300, true),
            // It grew meanwhile.
            (100, 300, 310, true),
            (3, 300, 300, false),
            (4, 300, 300, true),
            (8, 300, 297, true),
            (8, 300, 296, false),
            (0, 300, 300, false),
        ] {
            let free = Change { before: before * MIB, after: after * MIB };
            let returned_bytes = before.saturating_sub(after) * MIB;
            let expected = word.then_some(Unreturned { taken_bytes: took * MIB, returned_bytes });
            assert_eq!(unreturned(took * MIB, free), expected, "{took} {before} {after}");
        }
    }

    #[test]
    fn what_overlaps_says_nothing() {
        let footprints = Footprints::default();
        assert!(footprints.around(|| ()).1.is_some());
        let (inner, outer) = footprints.around(|| footprints.around(|| ()).1);
        assert_eq!((inner, outer), (None, None));
        assert!(footprints.around(|| ()).1.is_some(), "it is over");
    }
}
