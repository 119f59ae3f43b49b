//! Which of a model's versions should serve.

use serde::{Deserialize, Serialize};

use crate::serving::repository::manifest::Versions;

/// The rule by which versions on disk are chosen to serve.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The highest numbers, at most this many.
    Latest(usize),
    /// Every version.
    All,
    /// Exactly these, where they exist.
    Specific(Vec<u64>),
}

impl Default for Policy {
    fn default() -> Self {
        Self::Latest(1)
    }
}

impl From<&Versions> for Policy {
    fn from(said: &Versions) -> Self {
        match said {
            Versions::Latest(count) => Self::Latest(*count),
            Versions::All(_) => Self::All,
            Versions::Specific(numbers) => Self::Specific(numbers.clone()),
        }
    }
}

impl Policy {
    /// The versions to try, best first, and how many of them are wanted.
    ///
    /// More are named than wanted where a lower number may stand in for one that cannot be loaded:
    /// a broken newest version must not take a model out of service.
    pub fn candidates(&self, mut available: Vec<u64>) -> (Vec<u64>, usize) {
        available.sort_unstable_by(|left, right| right.cmp(left));
        match self {
            Self::Latest(count) => (available, (*count).max(1)),
            Self::All => {
                let wanted = available.len();
                (available, wanted)
            }
            Self::Specific(numbers) => {
                available.retain(|number| numbers.contains(number));
                let wanted = available.len();
                (available, wanted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    #[test]
    fn the_newest_comes_first_and_older_ones_stand_in() {
        assert_eq!(Policy::default().candidates(vec![2, 10, 1]), (vec![10, 2, 1], 1));
        assert_eq!(Policy::Latest(0).candidates(vec![3]), (vec![3], 1));
        assert_eq!(Policy::All.candidates(vec![1, 2]), (vec![2, 1], 2));
    }

    #[test]
    fn a_specific_policy_never_takes_another_version() {
        assert_eq!(Policy::Specific(vec![2, 7]).candidates(vec![1, 2, 3]), (vec![2], 1));
        assert_eq!(Policy::Specific(vec![7]).candidates(vec![1]), (vec![], 0));
    }
}
