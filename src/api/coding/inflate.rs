//! Inflates the body of a request, in bounded steps.
//!
//! Inflating a body of 64 MiB keeps a thread busy for a tenth of a second or more, and the thread
//! is one that reads and answers for other connections too. So it is done in steps of at most
//! 256 KiB, about half a millisecond each, and between two of them everybody else has a turn. No
//! other thread is woken, and a caller who leaves ends it at the next step.
//!
//! Memory grows with what was really inflated, to the limit and one byte: a small body that would
//! become gigabytes is refused when it passes the limit.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use crate::api::coding::accept::Coding;
use crate::domain::failure::{Code, Failure};

/// Why a body cannot be inflated.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InflateError {
    /// More than a body may have.
    #[error("body has more than {most} bytes when it is inflated, expected at most {most}")]
    TooLarge {
        /// The limit.
        most: usize,
    },
    /// It is cut off.
    #[error("body ends before its {coding} data does")]
    Truncated {
        /// What it should be.
        coding: Coding,
    },
    /// It is something else, or damaged; a wrong checksum too.
    #[error("body is no {coding} data, or damaged: reading stopped at byte {at}")]
    Damaged {
        /// What it should be.
        coding: Coding,
        /// Bytes read before.
        at: usize,
    },
    /// Put together from very many parts, which cost more than the bytes they bring.
    #[error("body has more than {MOST_MEMBERS} gzip members, expected at most {MOST_MEMBERS}")]
    Members,
    /// Bytes that belong to nothing.
    #[error("{left} bytes follow the {coding} data of the body, expected none")]
    Trailing {
        /// What the body is.
        coding: Coding,
        /// How many.
        left: usize,
    },
}

impl Failure for InflateError {
    fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::Size,
            Self::Truncated { .. }
            | Self::Damaged { .. }
            | Self::Members
            | Self::Trailing { .. } => Code::Malformed,
        }
    }
}

/// Inflates a whole body; an empty one stays empty.
///
/// # Errors
///
/// [`InflateError`].
pub async fn inflate(coding: Coding, body: Bytes, most: usize) -> Result<Bytes, InflateError> {
    if body.is_empty() {
        return Ok(body);
    }
    let mut inflater = Inflater::new(coding, &body, most);
    while !inflater.step()? {
        tokio::task::yield_now().await;
    }
    Ok(inflater.out.into())
}

struct Inflater<'a> {
    coding: Coding,
    stream: Decompress,
    body: &'a [u8],
    /// Bytes of the body that are read.
    at: usize,
    out: Vec<u8>,
    most: usize,
    members: usize,
}

impl<'a> Inflater<'a> {
    fn new(coding: Coding, body: &'a [u8], most: usize) -> Self {
        Self {
            coding,
            stream: stream(coding, body),
            body,
            at: 0,
            out: Vec::new(),
            most,
            members: 1,
        }
    }

    // Inflates a little more; true at the end.
    fn step(&mut self) -> Result<bool, InflateError> {
        let (start, room) = (self.out.len(), self.room());
        self.out.resize(start + room, 0);
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let rest = self.body.get(self.at..).unwrap_or_default();
        let space = self.out.get_mut(start..).unwrap_or_default();
        let status = self.stream.decompress(rest, space, FlushDecompress::None);
        // Both are at most what was given.
        let read = usize::try_from(self.stream.total_in() - read).unwrap_or(usize::MAX);
        let written = usize::try_from(self.stream.total_out() - written).unwrap_or(usize::MAX);
        self.at += read;
        self.out.truncate(start + written);
        if self.out.len() > self.most {
            return Err(InflateError::TooLarge { most: self.most });
        }
        let coding = self.coding;
        match status {
            Err(_) => Err(InflateError::Damaged { coding, at: self.at }),
            Ok(Status::StreamEnd) => self.member_ended(),
            // With room left and nothing to read, or with no progress at all, more must come.
            Ok(_) if (written < room && self.at == self.body.len()) || read + written == 0 => {
                Err(InflateError::Truncated { coding })
            }
            Ok(_) => Ok(false),
        }
    }

    // RFC 1952, 2.2: gzip data may have several members, one after the other.
    fn member_ended(&mut self) -> Result<bool, InflateError> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(true);
        }
        if self.coding == Coding::Gzip && rest.starts_with(&GZIP_MAGIC) {
            if self.members == MOST_MEMBERS {
                return Err(InflateError::Members);
            }
            self.members += 1;
            self.stream = stream(self.coding, rest);
            return Ok(false);
        }
        Err(InflateError::Trailing { coding: self.coding, left: rest.len() })
    }

    // Bytes to offer in this step. Memory doubles as it is used up, but never past the limit; the
    // byte beyond it is how we learn of one byte too many.
    fn room(&mut self) -> usize {
        let left = (self.most + 1).saturating_sub(self.out.len());
        let likely = self.body.len().saturating_mul(LIKELY_RATIO);
        let room = likely.clamp(LEAST_STEP, STEP).min(left);
        if self.out.capacity() - self.out.len() < room {
            self.out.reserve_exact(room.max(self.out.capacity()).min(left));
        }
        room
    }
}

fn stream(coding: Coding, body: &[u8]) -> Decompress {
    match (coding, body) {
        (Coding::Gzip, _) => Decompress::new_gzip(WINDOW_BITS),
        (Coding::Deflate, &[first, second, ..]) => Decompress::new(is_zlib(first, second)),
        (Coding::Deflate, _) => Decompress::new(true),
    }
}

// RFC 1950, 2.2: method 8, and a check of the first two bytes. Data without this wrapper would
// begin with a stored block whose padding is not zero to look so, and no compressor writes that.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0F == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

/// Bytes inflated between two turns of others.
const STEP: usize = 256 << 10;

const LEAST_STEP: usize = 1 << 10;

/// JSON shrinks to a quarter, or less.
const LIKELY_RATIO: usize = 4;

/// Enough for a body of 64 MiB from a tool that writes a member every 64 KiB; each takes some
/// microseconds, also when it is empty.
const MOST_MEMBERS: usize = 4096;

const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// The largest window of the formats.
const WINDOW_BITS: u8 = 15;

#[cfg(test)]
mod tests {
    use super::{InflateError, Inflater, inflate};
    use crate::api::coding::accept::Coding;
    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(coding: Coding, body: Vec<u8>, most: usize) -> Result<Bytes, InflateError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(inflate(coding, body.into(), most))
    }

    #[test]
    fn a_bomb_is_refused_before_it_takes_more_memory_than_the_limit() {
        let bomb = gzip(&vec![0; 64 << 20]);
        let most = 1 << 20;
        let mut inflater = Inflater::new(Coding::Gzip, &bomb, most);
        let error = loop {
            match inflater.step() {
                Ok(end) => assert!(!end, "a bomb was inflated"),
                Err(error) => break error,
            }
            assert!(inflater.out.capacity() <= most + 1, "{}", inflater.out.capacity());
        };
        assert_eq!(error, InflateError::TooLarge { most });
        let said = "body has more than 1048576 bytes when it is inflated, expected at most 1048576";
        assert_eq!(error.to_string(), said);
        assert!(inflater.out.capacity() <= most + 1, "{}", inflater.out.capacity());
    }

    #[test]
    fn the_limit_itself_is_not_too_large() {
        for coded in [gzip(&[7; 1000]), [gzip(&[7; 999]), gzip(&[7])].concat()] {
            assert_eq!(read(Coding::Gzip, coded.clone(), 1000).unwrap(), vec![7; 1000]);
            let error = read(Coding::Gzip, coded, 999).unwrap_err();
            assert_eq!(error, InflateError::TooLarge { most: 999 });
        }
    }

    #[test]
    fn very_many_empty_members_are_refused() {
        assert!(read(Coding::Gzip, gzip(b"").repeat(4096), 10).unwrap().is_empty());
        let error = read(Coding::Gzip, gzip(b"").repeat(4097), 10).unwrap_err();
        assert_eq!(error, InflateError::Members);
    }

    #[test]
    fn damage_is_told_from_a_cut_and_from_what_follows() {
        let coding = Coding::Gzip;
        let whole = gzip(b"seven iris flowers, and some more");
        let mut wrong_sum = whole.clone();
        let place = whole.len() - 8;
        wrong_sum[place] ^= 1;
        let damaged = read(coding, wrong_sum, 100).unwrap_err();
        assert!(matches!(damaged, InflateError::Damaged { .. }), "{damaged}");
        let other = read(coding, b"{\"inputs\":[]}".to_vec(), 100).unwrap_err();
        assert!(matches!(other, InflateError::Damaged { at: 0.., .. }), "{other}");
        let trailing = read(coding, [whole, b"tail".to_vec()].concat(), 100).unwrap_err();
        assert_eq!(trailing, InflateError::Trailing { coding, left: 4 });
        let coding = Coding::Deflate;
        let trailing = read(coding, [zlib(b"x"), b"tail".to_vec()].concat(), 100).unwrap_err();
        assert_eq!(trailing, InflateError::Trailing { coding, left: 4 });
    }

    proptest! {
        #[test]
        fn every_form_comes_back_as_it_was_and_every_cut_is_noticed(
            text in prop::collection::vec(any::<u8>(), 0..3000),
            cut in any::<prop::sample::Index>(),
        ) {
            for (coding, coded) in [
                (Coding::Gzip, gzip(&text)),
                (Coding::Deflate, zlib(&text)),
                (Coding::Deflate, raw(&text)),
            ] {
                prop_assert_eq!(&read(coding, coded.clone(), 3000).unwrap()[..], &text[..]);
                let cut = cut.index(coded.len()).max(1);
                if cut < coded.len() {
                    let error = read(coding, coded[..cut].to_vec(), 3000).unwrap_err();
                    prop_assert_eq!(error, InflateError::Truncated { coding });
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            for coding in [Coding::Gzip, Coding::Deflate] {
                if let Ok(out) = read(coding, body.clone(), 100) {
                    prop_assert!(out.len() <= 100);
                }
            }
        }
    }
}
