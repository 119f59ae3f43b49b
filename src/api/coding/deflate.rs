//! Compresses an answer whose caller likes it better so.
//!
//! Fast and not small: the answer waits for it. As with inflating, others of the thread have a turn
//! after every 128 KiB, half a millisecond at the fastest level.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::api::coding::accept::Coding;

/// Compresses chunks into one; none if that would save nothing.
pub async fn deflate(coding: Coding, chunks: &[Bytes]) -> Option<Bytes> {
    let whole: usize = chunks.iter().map(Bytes::len).sum();
    if whole < LEAST {
        return None;
    }
    let mut stream = match coding {
        Coding::Gzip => Compress::new_gzip(Compression::fast(), WINDOW_BITS),
        Coding::Deflate => Compress::new(Compression::fast(), true),
    };
    let mut out = Vec::with_capacity((whole / 2).clamp(LEAST, STEP));
    for slice in chunks.iter().flat_map(|chunk| chunk.chunks(STEP)) {
        push(&mut stream, slice, &mut out)?;
        if out.len() >= whole {
            return None;
        }
        tokio::task::yield_now().await;
    }
    finish(&mut stream, &mut out)?;
    (out.len() < whole).then(|| out.into())
}

fn push(stream: &mut Compress, mut slice: &[u8], out: &mut Vec<u8>) -> Option<()> {
    while !slice.is_empty() {
        out.reserve(LEAST);
        let before = stream.total_in();
        stream.compress_vec(slice, out, FlushCompress::None).ok()?;
        let read = usize::try_from(stream.total_in() - before).ok()?;
        slice = slice.get(read..)?;
    }
    Some(())
}

fn finish(stream: &mut Compress, out: &mut Vec<u8>) -> Option<()> {
    loop {
        out.reserve(LEAST);
        match stream.compress_vec(&[], out, FlushCompress::Finish).ok()? {
            Status::StreamEnd => return Some(()),
            Status::Ok | Status::BufError => {}
        }
    }
}

/// Bytes of an answer that is worth it: less fits one packet as it is, and to begin a stream costs
/// more than to send them.
const LEAST: usize = 1 << 10;

/// Bytes compressed between two turns of others.
const STEP: usize = 128 << 10;

/// The largest window of the format.
const WINDOW_BITS: u8 = 15;

#[cfg(test)]
mod tests {
    use super::{LEAST, deflate};
    use crate::api::coding::accept::Coding;
    use crate::api::coding::inflate::inflate;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn what_would_not_become_smaller_is_left_as_it_is() {
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..300_000).map(|_| random.u8(..)).collect();
        let zeros = Bytes::from(vec![0; 300_000]);
        for coding in [Coding::Gzip, Coding::Deflate] {
            assert!(block_on(deflate(coding, &[noise.clone().into()])).is_none());
            assert!(block_on(deflate(coding, &[vec![0; LEAST - 1].into()])).is_none());
            let small = block_on(deflate(coding, &[zeros.clone(), zeros.clone()])).unwrap();
            assert!(small.len() < 6_000, "{}", small.len());
        }
    }

    proptest! {
        #[test]
        fn inflating_undoes_deflating(
            lengths in prop::collection::vec(0_usize..200_000, 1..4),
            gzip in any::<bool>(),
        ) {
            let coding = if gzip { Coding::Gzip } else { Coding::Deflate };
            let chunks: Vec<Bytes> = lengths
                .iter()
                .map(|&length| (0..=250).flat_map(|value: u8| [value; 9]).cycle().take(length).collect())
                .collect();
            let whole = chunks.concat();
            let coded = block_on(deflate(coding, &chunks));
            prop_assert!(coded.is_some() || whole.len() < 2 * LEAST);
            if let Some(coded) = coded {
                prop_assert!(block_on(inflate(coding, coded, whole.len())).unwrap() == whole);
            }
        }
    }
}
