//! The shape of JSON values is how their arrays are nested.

use smallvec::SmallVec;

use crate::domain::json::{JsonError, Next, Scanner};

/// Sizes, outermost first.
pub type Sizes = SmallVec<[i64; 8]>;

/// Why values have no shape.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NestingError {
    /// Broken JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Arrays of one depth that differ in length.
    #[error("values are nested unevenly at byte {at}")]
    Uneven {
        /// Where.
        at: usize,
    },
}

#[derive(Default)]
struct Measure {
    /// By depth, of the arrays that have ended.
    sizes: SmallVec<[Option<i64>; 8]>,
    /// Where values are; arrays deeper than that are uneven.
    rank: Option<usize>,
}

/// Measures the value that comes next, and leaves the scanner before it.
///
/// # Errors
///
/// [`NestingError::Uneven`], if arrays of one depth differ in length; broken JSON.
pub fn measure(scanner: &Scanner<'_>) -> Result<Sizes, NestingError> {
    let mut measure = Measure::default();
    measure.walk(&mut scanner.clone(), 0)?;
    Ok(measure.sizes.into_iter().flatten().collect())
}

impl Measure {
    fn walk(&mut self, scanner: &mut Scanner<'_>, depth: usize) -> Result<(), NestingError> {
        let is_array = scanner.peek()? == Next::Array;
        let at = scanner.offset();
        let fits = match self.rank {
            Some(rank) if is_array => depth < rank,
            Some(rank) => depth == rank,
            None => true,
        };
        if !fits {
            return Err(NestingError::Uneven { at });
        }
        if !is_array {
            self.rank = Some(depth);
            scanner.skip()?;
            return Ok(());
        }
        let mut size = 0;
        scanner.array(|scanner| {
            size += 1;
            self.walk(scanner, depth + 1)
        })?;
        if size == 0 {
            self.rank.get_or_insert(depth + 1);
        }
        if self.sizes.len() <= depth {
            self.sizes.resize(depth + 1, None);
        }
        match self.sizes.get_mut(depth) {
            Some(known) if known.is_none_or(|known| known == size) => *known = Some(size),
            _ => return Err(NestingError::Uneven { at }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::measure;
    use crate::domain::json::Scanner;

    fn sizes(text: &str) -> Result<Vec<i64>, String> {
        let measured = measure(&Scanner::new(text.as_bytes()));
        measured.map(|sizes| sizes.to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn nesting_is_the_shape() {
        for (text, expected) in [
            ("7", vec![]),
            ("\"a\"", vec![]),
            ("[]", vec![0]),
            ("[[], []]", vec![2, 0]),
            ("[1, 2, 3]", vec![3]),
            ("[[[1], [2]], [[3], [4]], [[5], [6]]]", vec![3, 2, 1]),
            ("[{\"b64\": \"AA==\"}]", vec![1]),
        ] {
            assert_eq!(sizes(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn arrays_of_different_length_or_depth_have_no_shape() {
        for (text, at) in [
            ("[[1, 2], [3]]", 9),
            ("[[1], [2, 3], []]", 6),
            ("[1, [2]]", 4),
            ("[[1], 2]", 6),
            ("[[], [1]]", 5),
            ("[[[1]], [2]]", 9),
        ] {
            let error = sizes(text).unwrap_err();
            assert_eq!(error, format!("values are nested unevenly at byte {at}"), "{text}");
        }
    }
}
